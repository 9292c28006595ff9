"""Finished results under the eyes of the group: cross tests over the completions of each task, and the one to pick.

`eval.py --select cross` calls `examined` when every completion is graded, because the completions of a task need not stand
together in a file. Groups are the completions of one row of results and one task (of a trace: of one group), in the order of the file.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from judge.cross_tests import CROSS_REWARDS, Member, Opinion, cross_examined, fields_of, picked
from judge.program import read_program
from rewards import ReadingJudge
from rust_tool import Verdict

FIELDS = tuple(fields_of(Opinion()))
GROUPS_AT_ONCE = 32  # whose programs are read and tried together


def verdict_of(record: Mapping) -> Verdict:
    """As much of a graded completion's verdict as cross tests ask for."""
    names = ("build_passed", "test_passed", "tests", "hidden_passed", "hidden_total", "error_kind", "honest_tests", "guard")
    return Verdict(**{name: record[name] for name in names})


def passes(record: Mapping) -> bool | None:
    """Whether a graded completion passes every test of the others that fits; None where there is none or nobody asked."""
    return record["cross_passed"] == record["cross_total"] if record.get("cross_total") else None


def _member(record: Mapping, reader: ReadingJudge) -> Member:
    """Program and verdict of a graded completion: the recorded program, which for some kinds of tasks is not what the completion holds."""
    if "program" in record:
        return (None if record["program"] is None else read_program(record["program"])), verdict_of(record)
    return reader.program_of(record["completion"], record.get("prompt") or ""), verdict_of(record)


def examined(records: Sequence[dict], reader: ReadingJudge) -> Iterator[dict[int, dict]]:
    """What cross tests add to graded completions, by their place in `records`, some groups at a time; nothing for infra failures."""
    groups: dict[tuple, list[int]] = {}
    for i, record in enumerate(records):
        if record["error_kind"] != "infra":
            groups.setdefault((record["row"], record["task_id"], record.get("group_id")), []).append(i)
    waiting = iter(groups.values())
    while some := list(islice(waiting, GROUPS_AT_ONCE)):
        members: list[list[Member]] = [[_member(records[i], reader) for i in group] for group in some]
        found: dict[int, dict] = {}
        for group, asked, verdicts in zip(some, members, cross_examined(members, reader.judge.run_suites), strict=True):
            fields = [fields_of(verdict.cross) for verdict in verdicts]
            chosen = group[picked([records[i] | more for i, more in zip(group, fields, strict=True)])]
            for i, more, (program, _), verdict in zip(group, fields, asked, verdicts, strict=True):
                rewards = {pay.__name__: pay(program, verdict) for pay in CROSS_REWARDS}
                found[i] = more | {"selected": i == chosen, "rewards": rewards}
        yield found
