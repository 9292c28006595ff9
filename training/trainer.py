"""The trainer: TRL's GRPOTrainer that traces, times its phases and trains on micro-batches of our cut. Imports torch and TRL."""

from __future__ import annotations

import contextlib
import sys
import time

import torch
from peft.helpers import disable_input_dtype_casting
from trl import GRPOTrainer
from trl.trainer.utils import RepeatSampler

import kinds
from judge.errors import library_reads_settings
from rewards import RewardSet, batch_metrics
from traces import TraceWriter
from training import micro_batches, shared_prompts
from training.curriculum import Curriculum, columns_of
from training.grading_ahead import finished_answers, finished_requests
from training.group_sampling import GroupSampling
from training.iterations import Iterations
from training.iterations import line as evaluation_line
from training.sampling_mismatch import Mismatch, of_what_was_sampled
from training.second_turn import SecondTurn, longest_row
from training.several_updates import SeveralUpdates

TOKEN_MEAN_LOSSES = ("dapo", "cispo", "vespo")  # TRL's losses that divide by the tokens of the whole batch: no division by rows


class ShuffledByEpoch(RepeatSampler):
    """TRL's sampler with an order that follows from seed and epoch, so that a resumed run goes on with the order of its epoch."""

    def set_epoch(self, epoch: int) -> None:
        if self.shuffle:
            self.generator.manual_seed(self.seed + epoch)


class TracedGRPOTrainer(SecondTurn, Curriculum, GroupSampling, SeveralUpdates, GRPOTrainer):
    """GRPOTrainer that writes graded completions with their advantages and logs seconds per phase.

    Args: `reward_set` whose functions it is given, `trace` to write to, `attempt` (0, one more at every resume),
    `script` (train.py's ScriptArguments), `iterations` for evaluations while it trains.
    """

    def __init__(self, *args, reward_set: RewardSet, trace: TraceWriter, attempt: int, script,
                 iterations: Iterations | None = None, **kwargs):  # fmt: skip
        self.reward_set, self.trace, self.attempt, self.grade_ahead = reward_set, trace, attempt, script.grade_ahead
        self.iterations = iterations
        self.token_budget, self._waiting = script.tokens_per_micro_batch, []
        self._corrected, self._mismatch = None, Mismatch()  # the micro-batch whose ratio the training forward gives
        self._seconds = {"generate": 0.0, "grade": 0.0, "wait": 0.0}  # since the last log
        self._tasks, self._first_finished = [], None  # of the batch being sampled; when its first completion was
        self._shared = None  # with shared prompts: the micro-batch being trained on, and which of its rows share a sequence
        super().__init__(*args, script=script, **kwargs)
        if self.use_vllm and self.vllm_mode == "colocate" and "stop" not in self.vllm_generation.generation_kwargs:
            self.vllm_generation.generation_kwargs.setdefault("detokenize", False)  # vLLM would write out every token: a third of sampling
        self.shares_prompts = script.share_prompts and shared_prompts.can_share(self.accelerator.unwrap_model(self.model).config)
        if script.chooses_checkpointing and self.accelerator.device.type == "cuda":
            self._choose_checkpointing(script.max_prompt_length + longest_row(self.max_completion_length, script.repair_turns))

    def _choose_checkpointing(self, longest_row: int) -> None:
        """Without gradient checkpointing, a third less to compute, where the memory holds a micro-batch: ours or one of TRL's."""
        needed = self.args.per_device_train_batch_size * longest_row
        if self._cuts_anew():
            needed = max(longest_row, self.token_budget or micro_batches.ROWS_WITHOUT_CHECKPOINTING * longest_row)
        fits = self._fitting_tokens(checkpointing=False) >= needed
        self.args.gradient_checkpointing = not fits
        if fits:
            self.accelerator.unwrap_model(self.model).gradient_checkpointing_disable()
        n_tokens = self._budget() if self._cuts_anew() else needed  # asked for on every process: they agree on it
        if self.accelerator.is_main_process:
            layers = ", fused layers" if self.args.use_liger_kernel else ""
            print(f" micro-batch  up to {n_tokens} tokens, gradient checkpointing {'off' if fits else 'on'}{layers}", flush=True)

    def create_optimizer(self, *args, **kwargs):
        with library_reads_settings():
            return super().create_optimizer(*args, **kwargs)

    def _generate(self, prompts):
        started, self._first_finished = time.perf_counter(), None
        result = super()._generate(prompts)
        self._seconds["generate"] += time.perf_counter() - started
        return result

    def _tokenize_prompts(self, prompts):
        if not any(map(kinds.is_raw, prompts)):
            return super()._tokenize_prompts(prompts)
        of_chats = lambda chats: GRPOTrainer._tokenize_prompts(self, chats)[0]
        return kinds.tokenized(prompts, self.processing_class, of_chats), None, {}

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        is_server = self.use_vllm and self.vllm_mode == "server"
        if not (self.grade_ahead and self.use_vllm and self.model.training) or is_server and not self.accelerator.is_main_process:
            return super()._generate_single_turn(prompt_ids, *args, **kwargs)
        tasks = {tuple(ids): task for ids, task in zip(prompt_ids, self._tasks, strict=True)}

        def start_grading(prompt: list[int], completion: list[int]) -> None:
            if (task := tasks.get(tuple(prompt))) is None:
                return  # another process's, which the client in this one asks for, too
            self._first_finished = self._first_finished or time.perf_counter()
            text = self.processing_class.decode(completion, skip_special_tokens=True)
            self.reward_set.reader.start(task, text)

        vllm = self.vllm_generation
        finished = finished_answers(vllm.vllm_client, start_grading) if is_server else finished_requests(vllm.llm.llm_engine, start_grading)
        with finished:
            return super()._generate_single_turn(prompt_ids, *args, **kwargs)

    # Training on the tokens there are. The Trainer asks for gradient_accumulation_steps micro-batches a step, each padded as
    # the whole generation batch is: all but the last are kept back, and the last trains on the rows of all of them.

    def _cuts_anew(self) -> bool:
        """Whether rows may share a micro-batch as their lengths suggest; not where TRL's division is part of the loss."""
        if self.token_budget == 0:
            return False
        divides_by_tokens = self.loss_type in TOKEN_MEAN_LOSSES and self.top_entropy_quantile == 1.0
        fewer, more = sorted((self.args.steps_per_generation, self.args.gradient_accumulation_steps))
        has_other_terms = self.aux_loss_enabled or self.off_policy_mask_threshold is not None
        return divides_by_tokens and not has_other_terms and not self._is_vlm and more % fewer == 0

    def _slots(self) -> int:
        """Micro-batches of TRL's that are cut anew together, 0 for none."""
        return min(self.args.steps_per_generation, self.args.gradient_accumulation_steps) if self._cuts_anew() else 0

    def _budget(self) -> int:
        if self.token_budget is None:
            is_cuda = self.accelerator.device.type == "cuda"
            fitting = self._fitting_tokens(self.args.gradient_checkpointing) if is_cuda else micro_batches.CPU_TOKENS
            self.token_budget = micro_batches.token_budget(fitting)
        return self.token_budget

    def _fitting_tokens(self, checkpointing: bool) -> int:
        model = self.accelerator.unwrap_model(self.model)
        fitting = micro_batches.fitting_tokens(model.config, unclaimed_bytes(model), checkpointing, fused=self.args.use_liger_kernel)
        return self._over_processes(fitting, "MIN")

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        n_slots = self._slots() if self.model.training else 0
        if n_slots:
            self._waiting.append(inputs)
            if (self._step + 1) % n_slots:
                return torch.zeros((), device=self.accelerator.device, requires_grad=True)  # its rows are trained on with the last
        # PEFT casts what goes into an adapter to fp32, and autocast would cast it back
        with disable_input_dtype_casting(model, active=self.accelerator.mixed_precision != "no"):
            if not n_slots:
                return super().compute_loss(model, self.only_trained(inputs, may_shrink=False), return_outputs, num_items_in_batch)
            batch = self.only_trained(micro_batches.joined(self._waiting), may_shrink=True)
            self._waiting = []
            return self._train_on(model, batch).requires_grad_()  # what backward had to do is done

    def _train_on(self, model, batch: dict):
        """Forward and backward of every row, in micro-batches of one length -> the detached loss.

        One process that runs out of memory starts over with half the budget, down to a row at a time.
        """
        while True:
            self._mismatch = Mismatch()
            parts = self._micro_batches(batch)
            seen = {name: len(values) for name, values in self._metrics["train"].items()}
            try:
                with micro_batches.unequal_rows(self.accelerator):
                    loss = sum(self._forward_backward(model, batch, part, part is parts[-1]) for part in parts)
                rows_of_parts = [[row for rows in part for row in rows] for part in parts]
                self._weigh_metrics(seen, rows_of_parts, micro_batches.mask_of_model(batch))
                self._log_mismatch()
                return loss
            except torch.OutOfMemoryError:
                is_whole_step = self.args.steps_per_generation >= self.args.gradient_accumulation_steps
                if self.accelerator.num_processes > 1 or not is_whole_step or len(parts) == len(batch["prompt_ids"]):
                    raise
            model.zero_grad()  # of the parts that went well
            for name, values in self._metrics["train"].items():
                del values[seen.get(name, 0) :]
            torch.cuda.empty_cache()
            self.token_budget //= 2
            print(f"out of GPU memory: --tokens_per_micro_batch is {self.token_budget} from here on", file=sys.stderr, flush=True)

    def _weigh_metrics(self, seen: dict[str, int], parts: list[list[int]], mask) -> None:
        """TRL takes the mean of what each micro-batch logs, a mean over all processes' tokens (or rows): here they differ in size."""
        sizes = torch.tensor([[int(mask[rows].sum()), len(rows)] for rows in parts], device=mask.device)
        of_tokens, of_rows = self.accelerator.reduce(sizes, "sum").T.tolist()
        are_of_rows = ("vespo/", "clip_ratio/", "cispo_") if self.importance_sampling_level == "sequence" else ("vespo/",)
        for name, values in self._metrics["train"].items():
            new, sizes = values[seen.get(name, 0) :], of_rows if name.startswith(are_of_rows) else of_tokens
            if len(new) == len(parts) and not name.endswith(("_min", "_max")):
                values[seen.get(name, 0) :] = [sum(value * n for value, n in zip(new, sizes, strict=True)) / max(1, sum(sizes))]

    def _micro_batches(self, batch: dict) -> list[list[list[int]]]:
        """Each a list of sequences, each the rows in it: one, or several of one prompt."""
        lengths = [batch[mask].sum(dim=1).tolist() for mask in ("prompt_mask", "completion_mask")]
        budget = self._budget()
        if self.shares_prompts:
            prompts = list(zip(map(tuple, batch["prompt_ids"].tolist()), lengths[0], strict=True))  # padding may be a token, too
            found = shared_prompts.sequences(prompts, *lengths, min(budget, shared_prompts.SEQUENCE_TOKENS))
            tokens = [shared_prompts.n_tokens(rows, *lengths) for rows in found]
            parts = [[found[i] for i in part] for part in micro_batches.cut([0] * len(found), tokens, budget)]
        else:
            parts = [[[row] for row in part] for part in micro_batches.cut(*lengths, budget)]
        halves = lambda rows: [rows[: len(rows) // 2], rows[len(rows) // 2 :]] if len(rows) > 1 else None
        return micro_batches.split_to(parts, self._over_processes(len(parts), "MAX"), halves)

    def _part(self, batch: dict, sequences: list[list[int]]) -> dict:
        """The micro-batch of these rows; with shared prompts the next forward passes are of it."""
        part = micro_batches.trimmed(batch, [row for sequence in sequences for row in sequence])
        numbers = iter(range(len(part["prompt_ids"])))
        self._shared = (part, [[next(numbers) for _ in sequence] for sequence in sequences]) if self.shares_prompts else None
        return part

    def _forward_backward(self, model, batch: dict, sequences: list[list[int]], is_last: bool):
        part = self._part(batch, sequences)
        self._corrected = part if self._needs_ratio(part) else None
        no_sync = contextlib.nullcontext() if is_last else self.accelerator.no_sync(model)
        with no_sync, micro_batches.entropy_by_tokens(self, part, batch, is_last):
            loss = super().compute_loss(model, part)
            self.accelerator.backward(loss)
        self._corrected = self._shared = None
        return loss.detach()

    def _of_shared_prompts(self, model) -> tuple:
        """What TRL's method of the same purpose returns, of the micro-batch being trained on."""
        part, members = self._shared
        inputs, where = shared_prompts.packed(part, members)
        with self.accelerator.autocast():
            outputs = model(**inputs, fused_lm_head=True)
        mask = part["completion_mask"].bool()
        rows = (torch.where(mask, values.flatten()[where], 0.0) for values in (outputs.log_probs, outputs.entropy))
        return *rows, None

    # One forward pass: TRL's correction of vLLM's log-probs needs the trained model's, and the training forward has them.

    def _has_one_forward(self) -> bool:
        """Whether the training forward gives the ratio: nothing is learned between sampling and the last of what was sampled."""
        generate_every = self.args.steps_per_generation * self.num_iterations
        return self.model.training and self._cuts_anew() and self.args.gradient_accumulation_steps % generate_every == 0

    def _needs_ratio(self, part: dict) -> bool:
        return self.use_vllm and self.vllm_importance_sampling_correction and "importance_sampling_ratio" not in part

    def _get_per_token_logps_and_entropies(self, *args, **kwargs):
        logps, entropies, aux_loss = (
            super()._get_per_token_logps_and_entropies(*args, **kwargs) if self._shared is None else self._of_shared_prompts(args[0])
        )
        if self._corrected is not None:  # called by TRL's _compute_loss, which multiplies by the ratio afterwards
            part = self._corrected
            self._mismatch.add(*self._add_ratio(part, logps.detach(), micro_batches.mask_of_model(part)))
        return logps, entropies, aux_loss

    def _log_mismatch(self) -> None:
        if self._mismatch.ratios:
            is_masked = self.vllm_importance_sampling_mode.endswith("_mask")
            for name, value in self._mismatch.summary(self.accelerator.gather, is_masked).items():
                self._metrics["train"][name].append(value)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        started = time.perf_counter()
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        graded = self.reward_set.grade_batch(prompts, completions, columns_of(inputs))
        sampled = self._is_sampled or [True] * len(graded)
        self._graded = [record if one else None for record, one in zip(graded, sampled, strict=True)]
        self.note_turns(self._graded)
        if self.fix_share:
            self.keep_failures(self._graded, self.reward_set.batch_tasks(prompts, columns_of(inputs)))
        for name, value in batch_metrics([record for record in self._graded if record is not None]).items():
            self._log_metric(name, value)
        ended = time.perf_counter()
        self._seconds["wait"] += ended - started
        self._seconds["grade"] += ended - (self._first_finished or started)
        return rewards

    def _generate_and_score_completions(self, inputs):
        inputs = self.next_rows(inputs)
        if self.use_vllm or self.repair_turns:
            self._tasks = self.reward_set.batch_tasks([row["prompt"] for row in inputs], columns_of(inputs))
        is_corrected = self.vllm_importance_sampling_correction
        is_ours = self.model.training and self._cuts_anew()
        # without it TRL makes no forward pass of its own; _compute_loss asks again
        self.vllm_importance_sampling_correction = is_corrected and not is_ours
        self._scores_later = scores_later = is_ours and not self._has_one_forward()
        try:
            output = super()._generate_and_score_completions(inputs)
        finally:
            self.vllm_importance_sampling_correction, self._scores_later = is_corrected, False
        ratio = output.get("importance_sampling_ratio")
        mode = "train" if self.model.training else "eval"
        if ratio is not None and self.vllm_importance_sampling_mode.endswith("_mask"):
            masked = (of_what_was_sampled(ratio, micro_batches.mask_of_model(output)) == 0).float().mean()
            self._metrics[mode]["sampling/masked_share"].append(self.accelerator.gather(masked).mean().item())
        if scores_later:
            self.add_old_logps(output)
        if mode == "train":
            self._write_trace(output["advantages"].tolist(), micro_batches.mask_of_model(output).sum(dim=1).tolist())
        return output

    def _write_trace(self, advantages: list[float], lengths: list[int]) -> None:
        rank = self.accelerator.process_index
        step = self.state.global_step + 1  # the first update that uses these completions
        first_group = self._batch_of_step() * self.args.generation_batch_size // self.num_generations
        for i, (record, advantage, n_tokens) in enumerate(zip(self._graded, advantages, lengths, strict=True)):
            if record is None:  # a group that needed no more completions
                continue
            group = first_group + (rank * len(self._graded) + i) // self.num_generations  # it may span two processes
            place = {"step": step, "attempt": self.attempt, "rank": rank, "group_id": f"{step}-{group}"}
            record.update(place, n_tokens=n_tokens, advantage=advantage)
        self.trace.write([record for record in self._graded if record is not None])

    def _get_train_sampler(self, dataset=None):
        trls = super()._get_train_sampler(dataset)
        return ShuffledByEpoch(trls.data_source, trls.mini_repeat_count, trls.batch_size, trls.repeat_count, trls.shuffle, trls.seed)

    def evaluate(self, *args, **kwargs):
        if self.iterations is None:
            return super().evaluate(*args, **kwargs)
        row = self.iterations.evaluate(self)
        if self.accelerator.is_main_process:
            print(evaluation_line(row), flush=True)
        metrics = {f"eval_{key}": value for key, value in row.items()}
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)  # done: not once more
        return metrics

    def log(self, logs, start_time=None):
        step_times = self._metrics["train"]["step_time"]
        if self.model.training and step_times:
            # TRL's step_time holds all phases: preparing the inputs is part of its training_step
            generate, grade, wait = (self._seconds[phase] / len(step_times) for phase in ("generate", "grade", "wait"))
            step = sum(step_times) / len(step_times)
            logs |= {"time/generate_s": generate, "time/grade_s": grade, "time/wait_s": wait, "time/train_s": step - generate - wait}
            self._seconds = dict.fromkeys(self._seconds, 0.0)
            if torch.cuda.is_available():
                free, total = torch.cuda.mem_get_info()
                logs["gpu/peak_reserved_gib"] = torch.cuda.max_memory_reserved() / 2**30
                logs["gpu/device_used_gib"] = (total - free) / 2**30
        super().log(logs, start_time)


def unclaimed_bytes(model) -> float:
    """What the card has for activations: free or kept unused, less the gradients and Adam's two moments that come later."""
    free, total = torch.cuda.mem_get_info()
    unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    limit = torch.cuda.get_per_process_memory_fraction() * total - torch.cuda.memory_allocated()
    later = 3 * sum(weights.nbytes for weights in model.parameters() if weights.requires_grad)
    return min(free + unused, limit) - later
