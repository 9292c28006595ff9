"""What train.py adds to TRL's GRPOTrainer, and what a run needs around it.

    trainer.py, callback.py, progress.py  the trainer; what prints, records and stops; a line a step and warnings
    micro_batches.py, shared_prompts.py   a step's rows in micro-batches filled by tokens; the prompt of a group computed once
    sampling_mismatch.py                  vLLM's log-probs against those of the training forward
    grading_ahead.py                      the judge's process, which grades while vLLM still samples
    group_sampling.py, task_record.py     which prompts are drawn, how large a group gets, which groups are trained on
    several_updates.py                    updates that share what was sampled: their rows, and the log-probs of the policy before them
    second_turn.py, curriculum.py         a second try in the same completion; failed programs come back as tasks
    iterations.py                         evaluation within a run, and the best adapter kept
    gpu_memory.py, run_lock.py            whether it fits, and that nobody else writes into the folder
"""
