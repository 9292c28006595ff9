"""Training with a second try: what failed visibly is answered again after cargo's message, and both answers are learned from.

A mixin for a GRPOTrainer whose `--repair_turns` is above 0: a completion that kinds/repair.py would ask again becomes the first turn of a
conversation; its row goes on with the user's turn and the next answer. The reward is the last answer's. TRL's `tool_mask` is 0
on the user's tokens, so that they are in no loss, no ratio and no mean. TRL 1.16's own ways did not fit: `rollout_func` replaces
sampling whole (batches, weights of the engine, log-probs), environments answer calls of tools, and here nothing is called.

The answers are sampled in two calls of the engine, the second with the rows that failed, whose first tries have to be graded before.
A first answer that was cut off ends the row. Not with groups that grow (`--min_generations`), nor with other engines than the
process's own.
"""

import time
from collections.abc import Sequence

import kinds
from judge.errors import UserError
from kinds import repair
from rewards import completion_text


class TurnError(UserError, ValueError):
    """A conversation cannot go on; the message is one sentence for the user."""


def user_turn(tokenizer, text: str) -> list[int]:
    """Token ids between the end of an answer and the beginning of the next one, with what the user says there. Raises TurnError."""
    begun = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    render = lambda messages, more: tokenizer.apply_chat_template(messages, add_generation_prompt=more, tokenize=False)
    before, whole = render(begun, False), render([*begun, {"role": "user", "content": text}], True)
    end = before.rfind(tokenizer.eos_token) + len(tokenizer.eos_token)
    if tokenizer.eos_token not in before or not whole.startswith(before[:end]):
        raise TurnError(
            f"--repair_turns: the chat template of {tokenizer.name_or_path} does not end an answer with {tokenizer.eos_token}, as the "
            "model does, so a conversation cannot go on: train with --repair_turns 0"
        )
    return tokenizer(whole[end:], add_special_tokens=False)["input_ids"]


def longest_row(max_completion_length: int, repair_turns: int) -> int:
    """Tokens behind a prompt at most: every answer and every message."""
    return max_completion_length * (repair_turns + 1) + repair.MESSAGE_TOKENS * repair_turns


def require_turns(tokenizer, script, args) -> None:
    """A conversation can go on, and vLLM has room for it: it refuses a prompt that is longer. Raises TurnError."""
    user_turn(tokenizer, "Again.")
    longest = script.max_prompt_length + longest_row(args.max_completion_length, script.repair_turns)
    if args.vllm_max_model_length and args.vllm_max_model_length < longest:
        raise TurnError(
            f"--vllm_max_model_length {args.vllm_max_model_length} is less than the {longest} tokens that a prompt and its turns may take: "
            "leave it out"
        )


class SecondTurn:
    """Mixin before GRPOTrainer. Needs what train.py's trainer has: `reward_set`, `_tasks`, `_seconds`. Arg: `script` (`repair_turns`)."""

    _turns: list[list[dict]] | None = None  # of the rows of the batch under way: the tries before the last; None: nobody has any

    def __init__(self, *args, script, **kwargs):
        self.repair_turns = script.repair_turns
        super().__init__(*args, script=script, **kwargs)

    def _generate(self, prompts):
        self._turns = None
        result = super()._generate(prompts)
        if not (self.repair_turns and self.model.training):
            return result
        prompt_ids, completion_ids, _, completions, logprobs, *others = result
        mask = [[1] * len(ids) for ids in completion_ids]
        self._turns = [[] for _ in prompts]
        for _ in range(self.repair_turns):
            said = self._what_is_said(prompts, completion_ids, completions)
            if said:
                self._go_on(said, prompt_ids, completion_ids, completions, logprobs, mask)
        lengths = [sum(one) for one in mask]
        self._metrics["train"]["repair/asked_again_share"].append(sum(map(bool, self._turns)) / len(prompts))
        self._metrics["train"]["repair/mean_length"].append(sum(lengths) / len(lengths))
        return prompt_ids, completion_ids, mask, completions, logprobs, *others

    def _what_is_said(self, prompts: list, completion_ids: list, completions: list) -> dict[int, tuple[str, list[int]]]:
        """Row -> the user's turn as text and as tokens, for rows whose last answer failed visibly and was not cut off."""
        started = time.perf_counter()
        turn = max(map(len, self._turns))
        rows = [row for row, ids in enumerate(completion_ids) if ids[-1] in self.eos_token_ids and len(self._turns[row]) == turn]
        rows = [row for row in rows if not kinds.is_raw(prompts[row])]
        tasks, texts = [self._tasks[row] for row in rows], [completion_text(completions[row]) for row in rows]
        graded = dict(zip(rows, self.reward_set.grade(tasks, texts), strict=True))
        texts = {row: text for row, record in graded.items() if (text := repair.feedback(record)) is not None}
        said = {row: (text, user_turn(self._tokenizer, text)) for row, text in texts.items()}
        said = {row: turn for row, turn in said.items() if len(turn[1]) <= repair.MESSAGE_TOKENS}  # what the engine has room for
        for row in said:
            self._turns[row] += repair.tries_before(graded[row])[-1:]
        seconds = time.perf_counter() - started
        self._seconds["generate"] -= seconds  # it happens inside `_generate`
        self._seconds["wait"] += seconds
        return said

    def _go_on(self, said: dict, prompt_ids: list, completion_ids: list, completions: list, logprobs: list | None, mask: list):
        """Another answer for these rows, appended with the user's turn before it."""
        asked = [prompt_ids[row] + completion_ids[row] + ids for row, (_, ids) in said.items()]
        tasks, self._tasks = self._tasks, [self._tasks[row] for row in said]
        try:
            answers, answer_logprobs = self._generate_single_turn(asked, None, {}, num_generations=1)
        finally:
            self._tasks = tasks
        texts = self.processing_class.batch_decode(answers, skip_special_tokens=True)
        for place, (row, (text, ids)) in enumerate(said.items()):
            completion_ids[row] = completion_ids[row] + ids + answers[place]
            mask[row] = mask[row] + [0] * len(ids) + [1] * len(answers[place])
            completions[row] = [*completions[row], {"role": "user", "content": text}, {"role": "assistant", "content": texts[place]}]
            if logprobs is not None:
                logprobs[row] = logprobs[row] + [0.0] * len(ids) + answer_logprobs[place]

    def note_turns(self, records: Sequence[dict | None]) -> None:
        """Write the tries before the last one into the graded completions of the batch."""
        for record, turns in zip(records, self._turns or [()] * len(records), strict=True):
            if record is not None and turns:
                record["turns"] = turns
