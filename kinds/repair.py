"""A second try: a completion that failed where its author can see it, cargo's message as the user's next turn, and another answer.

    python eval.py --model M --tasks FILE --repair_turns 1 --output_dir OUT

Only what cargo would tell somebody without the hidden tests counts as seen: no program, errors of the compiler, own tests that fail.
A program that builds and passes its own tests is left as it is, right or wrong. Rewards and results are those of the last
answer; `turns` of a record holds the tries before it. Prompts of FIM tokens are no conversation and get one try.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict

import kinds
from rewards import is_solved

SEED_STRIDE = 7_368_787  # a prime: a turn's random numbers are not those of the first
MESSAGE_TOKENS = 800  # that cargo's message takes at most: kinds.MAX_MESSAGES of 500 characters and a line of code each
# of a try, what tables and intervals ask for, and what the conversation went on with
KEPT = ("completion", "program", "build_passed", "clippy_passed", "clippy_warnings", "test_passed", "honest_tests", "guard", "n_asserts",
        "hidden_passed", "hidden_total", "error_kind", "diagnostics", "n_tokens", "finished")  # fmt: skip


def feedback(record: Mapping) -> str | None:
    """The user's turn after a graded completion; None where nothing is seen to be wrong, or the machine failed."""
    if record["error_kind"] == "infra":
        return None
    if record["program"] is None:
        why = next((one["message"] for one in record["diagnostics"]), "no closed ```rust block")
        return f"That cannot be used: {why}. Answer again in the form that was asked for."
    if record["build_passed"] and (record["test_passed"] or not record["tests"]):
        return None
    said = kinds.cargo_message(record["program"], record["diagnostics"]) or f"error: {record['error_kind']}"
    what = "fails its tests" if record["build_passed"] else "does not build"
    return f"That {what}. cargo says:\n\n```text\n{said}\n```\n\nMend it and answer again in the form that was asked for."


def conversation_after(record: Mapping, messages: Sequence[dict]) -> list[dict] | None:
    """Messages of a task, every answer so far, what was said of each; None where there is nothing to say."""
    said = feedback(record)
    if said is None or kinds.is_raw(messages):
        return None
    tries = [*record.get("turns", ()), {"completion": record["completion"], "said": said}]
    roles = (("assistant", "completion"), ("user", "said"))
    return [*messages, *({"role": role, "content": one[name]} for one in tries for role, name in roles)]


def tries_before(record: Mapping) -> list[dict]:
    """What `turns` of the next try's record is."""
    return [*record.get("turns", ()), {name: record.get(name) for name in KEPT} | {"said": feedback(record)}]


def first_try(record: Mapping) -> dict:
    """A record as it was after the first answer."""
    return {**record, **(record.get("turns") or [record])[0]}


def try_again(
    session, row: Mapping, messages: Mapping[str, list[dict]], n_turns: int, answers: Callable, fits: Callable, grade: Callable
) -> int:
    """Give every failed completion of a row up to `n_turns` more tries -> how many conversations were too long for one.

    Args:
        session: eval.Session whose completions are graded.
        messages: Task id -> its conversation.
        answers: (conversations, turn) -> batches of (index, Completion).
        fits: Conversations -> for each whether it and an answer fit the model.
        grade: Grades what of the session is not graded.

    A try that is generated and not graded when the run is killed is generated again.
    """
    n_too_long = 0
    for turn in range(1, n_turns + 1):
        failed = {key: session.graded[key] for key in session.keys(row["row"]) if len(session.graded[key].get("turns", ())) == turn - 1}
        asked = {key: conversation_after(record, messages[key[1]]) for key, record in failed.items()}
        asked = {key: conversation for key, conversation in asked.items() if conversation is not None}
        are_fitting = dict(zip(asked, fits(list(asked.values())), strict=True))
        n_too_long += sum(not is_fitting for is_fitting in are_fitting.values())
        keys = [key for key in asked if are_fitting[key]]
        if not keys:
            continue
        new = {}
        for batch in answers([asked[key] for key in keys], turn):
            for index, completion in batch:
                key, answer = keys[index], asdict(completion)
                place = {"row": key[0], "task_id": key[1], "sample": key[2], "completion": answer.pop("text")}
                new[key] = place | answer | {"turns": tries_before(failed[key])}
        session.generated |= new
        for key in new:
            del session.graded[key]
        grade()
        session.graded |= {key: failed[key] for key in new if session.graded[key]["error_kind"] == "infra"}  # the try before stands
    return n_too_long


# -- What came of it ---------------------------------------------------------------------------------------------------


def mended_by_code(records: Iterable[Mapping]) -> dict[str, dict[str, int]]:
    """rustc code -> how many first tries had it (`n`), and of these how many build in the end and are solved; "all": any code.

    Solved: every hidden test passes; where a task has none, own tests do that are worth something.
    """
    counts: dict[str, Counter] = {}
    for record in records:
        first = first_try(record)
        if first["error_kind"] != "compile":
            continue
        codes = {one["code"] or "no code" for one in first["diagnostics"] if one["level"] == "error"}
        for code in ("all", *sorted(codes)):
            counts.setdefault(code, Counter()).update(n=1, builds=int(record["build_passed"]), solved=int(is_solved(record)))
    return {code: dict(count) for code, count in sorted(counts.items(), key=lambda item: (-item[1]["n"], item[0] != "all", item[0]))}


def code_rows(row: str, codes: Mapping[str, Mapping[str, int]], most: int) -> Iterator[list[str]]:
    """Cells of a table: row, code, completions, share that builds in the end, share that is solved."""
    for code, count in list(codes.items())[: most + 1]:
        yield [row, code, str(count["n"]), *(f"{100 * count[name] / count['n']:.1f}" for name in ("builds", "solved"))]
