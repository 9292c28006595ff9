"""From what the processes of a test binary report to a verdict: no compiler and no process runs here."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from judge import workshop
from judge.compiling import Work
from judge.harness_report import End, read_report
from judge.limits import SHORTEST_S
from judge.messages import read_message
from judge.program import HiddenSuite, TestFn, read_program
from judge.running import MAX_DEATHS, Runner
from judge.sandbox import Completed
from judge.statements import AssertTest
from judge.verdict import MAX_DIAGNOSTICS, MAX_FAILURE_CHARS, MAX_MESSAGE_CHARS, NO_CODE, Diagnostic, InfraError, Job, Verdict

OWN, HIDDEN, STUB = Path("own"), Path("hidden"), Path("stub")
LIMIT_S = 2.0
SOURCE = "fn f() {}\nfn main() {\n    f();\n    assert!(true);\n}\n"


def listing(*names, ignored=(), should_panic=()):
    kinds = [("ignored" if name in ignored else "run", "should_panic" if name in should_panic else "plain") for name in names]
    return [f"test {index} {run} {panics} {name}" for index, (name, (run, panics)) in enumerate(zip(names, kinds, strict=True))]


def ok(index, reached=1):
    return [f"start {index}", f"end {index} ok {reached} 0 0 "]


def failed(index, message="index out of bounds", line=3, word="failed", reached=0, column=0):
    return [f"start {index}", f"end {index} {word} {reached} {line} {column} {message.encode().hex()}"]


def at(line, column, what="held", message="", panic_line=0):
    return [f"site {line} {column} {what} {panic_line} {message.encode().hex()}"]


def process(*lines, exit_code=0, signal=None, timed_out=False, cpu_s=0.25, stderr=b"", site=None):
    """What one process reported, as `run_tests` reads it."""
    done = Completed(None if signal or timed_out else exit_code, signal, timed_out, b"", stderr, cpu_s, None)
    return read_report("".join(f"N {line}\n" for group in lines for line in ([group] if isinstance(group, str) else group)),
                                  "N", done, site)  # fmt: skip


class Binaries:
    """A runner whose test binaries answer from lists: binary -> its processes, in order. `asked`: what each was asked."""

    def __init__(self, **processes):
        self.left = {Path(name): list(answers) for name, answers in processes.items()}
        self.asked = []
        self.runner = Runner(SimpleNamespace(run_tests=self.run_tests), LIMIT_S, ThreadPoolExecutor(1), ThreadPoolExecutor(1))

    def run_tests(self, binary, mode="run", only=None, limit_s=None, skip=()):
        self.asked.append((mode, only, limit_s and round(limit_s, 6), set(skip)))
        return self.left[binary].pop(0)

    def all_ran(self):
        return not any(self.left.values())


ABC = listing("t::a", "t::b", "t::c")
DONE = "done"


# ---------------------------------------------------------------------------------------------------------------------
# One report
# ---------------------------------------------------------------------------------------------------------------------


def test_a_report_is_read_word_for_word():
    lines = [*listing("t::r#loop", "a name", "t::c", ignored=["a name"], should_panic=["t::c"]), *ok(0, reached=2), "start 2", "limit memory"]
    run = process(lines, "noise", signal=6)
    assert (run.names, run.ignored) == (["t::loop", "a name", "t::c"], {1})
    assert run.ends == {0: End("ok", is_reached=True, is_missing=True)} and run.all_ends == [*run.ends.values()]
    assert (run.running, run.was_done, run.limit, run.site) == (2, False, "memory", None)
    assert process(ABC, ok(0), DONE).was_done and process(ABC, ok(0), DONE).running is None
    assert process(ABC, ok(0, reached=0)).ends[0] == End("ok")
    assert not process(ABC, ok(0, reached=1)).ends[0].is_missing


def test_only_lines_with_the_nonce_count():
    done = Completed(0, None, False, b"", b"", 0.1, None)
    report = "M test 0 run plain t::forged\nN test 0 run plain t::a\nM end 0 ok 1 0 \nN start 0\nM done\n"
    run = read_report(report, "N", done)
    assert (run.names, run.ends, run.running, run.was_done) == (["t::a"], {}, 0, False)


@pytest.mark.parametrize(("lines", "end"), [
    (failed(0, "boom", 7), End("failed", False, "boom", 7)),
    (failed(0, "assertion failed: x", 0), End("failed", True, "assertion failed: x", None)),
    (failed(0, "my words", 2, word="asserted", reached=1), End("failed", True, "my words", 2, True)),
    (failed(0, "", 1, reached=2), End("failed", False, "", 1, True, True)),
    (failed(0, "m" * 600), End("failed", False, "m" * 500, 3)),
    (failed(0, "Os { code: 24, kind: Other }", 1),
     End("failed", False, "limit of open files: 64; Os { code: 24, kind: Other }", 1)),
    (failed(0, "Os { code: 11, kind: WouldBlock }", 1),
     End("failed", False, "limit of threads and processes: 128; Os { code: 11, kind: WouldBlock }", 1)),
    (failed(0, "Os { code: 27, kind: Other }", 1),
     End("failed", False, "limit of a file's size: 16 MiB; Os { code: 27, kind: Other }", 1)),
    (failed(0, "Os { code: 2, kind: NotFound }", 1), End("failed", False, "Os { code: 2, kind: NotFound }", 1)),
])  # fmt: skip
def test_how_a_test_failed(lines, end):
    assert process(ABC, lines).ends == {0: end}


def test_a_message_that_was_cut_in_a_letter_is_read():
    run = process(ABC, "site 3 5 failed 3 41ff", "end 0 failed 0 3 0 41ff")
    assert run.sites[3, 5].message == run.ends[0].message == "A\N{REPLACEMENT CHARACTER}"


def test_an_assert_that_held_once_and_failed_once_has_failed():
    words = [at(3, 5), at(4, 5, "failed", "left", 4), at(3, 5, "failed", "assertion of its own", 3), at(5, 0, "fell", "boom"),
             at(4, 5), at(6, 5), at(6, 5)]  # fmt: skip
    run = process(ABC, *words, site=(7, 1))
    fell = End("failed", False, "boom", None)
    assert run.sites == {(3, 5): End("failed", True, "assertion of its own", 3), (4, 5): End("failed", True, "left", 4),
                         (5, 0): fell, (6, 5): End("ok")}  # fmt: skip
    assert run.held_first == {(3, 5), (6, 5)} and run.fallen == {(5, 0)} and run.site == (7, 1)
    assert process(ABC, at(5, 0, "fell", "assertion failed")).sites[5, 0].is_assertion
    assert process(ABC, at(5, 0, "fell", "m" * 600)).sites[5, 0].message == "m" * 500


# ---------------------------------------------------------------------------------------------------------------------
# All processes of a binary
# ---------------------------------------------------------------------------------------------------------------------


def run_all(answers, **options):
    binaries = Binaries(own=answers)
    outcome = binaries.runner.run_all(OWN, **options)
    assert binaries.all_ran()
    return outcome, binaries.asked


def test_one_process_where_none_dies():
    outcome, asked = run_all([process(ABC, ok(0), ok(1), failed(2), DONE)])
    assert asked == [("run", None, None, set())]
    assert outcome.statuses() == {"t::a": "ok", "t::b": "ok", "t::c": "failed"} and outcome.ended_well and not outcome.passed
    assert outcome.diagnostics() == [Diagnostic(None, "test", "t::c: index out of bounds", 3)]
    assert (outcome.n_deaths, outcome.has_exited, outcome.statuses()["t::c"], outcome.statuses().get("t::d")) == (0, False, "failed", None)


@pytest.mark.parametrize(("end", "how"), [
    ({"signal": 6}, "the process was aborted within the test: a stack overflow, a panic during a panic, or abort()"),
    ({"signal": 11}, "the process ended within the test: signal 11"),
    ({"signal": 25}, "limit of a file's size: 16 MiB"),
    ({"exit_code": 3}, "the process ended within the test: exit code 3"),
    ({"exit_code": 0}, "the process ended within the test: exit code 0"),
])  # fmt: skip
def test_after_a_death_the_others_go_on_with_what_is_left_of_the_limit(end, how):
    outcome, asked = run_all([process(ABC, ok(0), "start 1", cpu_s=0.5, **end), process(ABC, ok(2), DONE)])
    assert asked == [("run", None, None, set()), ("run", [2], 1.5, set())]
    assert outcome.statuses() == {"t::a": "ok", "t::b": "failed", "t::c": "ok"} and outcome.ends[1].message == how
    assert (outcome.n_deaths, outcome.has_exited, outcome.ended_well, outcome.passed) == (1, end == {"exit_code": 0}, False, False)


@pytest.mark.parametrize(("limit", "how"), [("memory", "memory limit: 2048 MiB"), ("threads", "limit of threads and processes: 128")])
def test_the_limit_that_the_harness_names_is_the_cause(limit, how):
    outcome, _ = run_all([process(ABC, "start 0", f"limit {limit}", signal=6), process(ABC, ok(1), ok(2), DONE)])
    assert outcome.ends[0] == End("failed", message=how)


def test_an_exit_is_remembered_whatever_comes_after():
    answers = [process(ABC, "start 1", exit_code=0), process(ABC, "start 0", exit_code=1), process(ABC, ok(2), DONE)]
    outcome, asked = run_all(answers)
    assert outcome.has_exited and [only for _, only, _, _ in asked] == [None, [0, 2], [2]]


def test_the_limit_shrinks_with_every_process():
    answers = [process(ABC, "start 0", exit_code=1, cpu_s=0.5), process(ABC, "start 1", exit_code=1, cpu_s=0.5), process(ABC, ok(2), DONE)]
    assert [(only, limit) for _, only, limit, _ in run_all(answers)[1]] == [(None, None), ([1, 2], 1.5), ([2], 1.0)]


def test_what_has_threads_left_from_another_test_is_tried_again():
    answers = [process(ABC, ok(0), "start 1", "limit threads", signal=6), process(ABC, ok(1), ok(2), DONE)]
    outcome, asked = run_all(answers)
    assert asked[1][1] == [1, 2] and outcome.statuses() == {"t::a": "ok", "t::b": "ok", "t::c": "ok"} and outcome.n_deaths == 0


def test_a_process_that_dies_before_its_first_test_is_the_first_tests_fault():
    outcome, asked = run_all([process(ABC, signal=11), process(ABC, ok(1), ok(2), DONE)])
    assert asked[1][1] == [1, 2] and outcome.statuses() == {"t::a": "failed", "t::b": "ok", "t::c": "ok"}


def test_a_death_after_the_last_test_is_no_tests_fault():
    outcome, _ = run_all([process(ABC, ok(0), ok(1), ok(2), signal=11)])
    assert set(outcome.statuses().values()) == {"ok"} and outcome.n_deaths == 0 and not outcome.passed
    assert outcome.error_kind("") == "panic"


@pytest.mark.parametrize(("max_deaths", "n_processes"), [(1, 1), (2, 2), (None, 3)])
def test_so_many_deaths_and_no_more(max_deaths, n_processes):
    answers = [process(ABC, f"start {index}", exit_code=1) for index in range(3)]
    outcome, asked = run_all(answers[:n_processes], max_deaths=max_deaths)
    assert len(asked) == n_processes and set(outcome.statuses().values()) == {"failed"} and len(outcome.ends) == n_processes


def test_tests_after_the_one_that_used_up_the_limit_share_it_once_more():
    names = listing("t::a", "t::b", "t::c", "t::d", "t::e")
    outcome, asked = run_all([process(names, ok(0), "start 1", timed_out=True, cpu_s=2.0), process(names, ok(2), DONE), process(names, "start 3"),
                              process(names, "start 4", timed_out=True)])  # fmt: skip
    third = round(LIMIT_S / 3, 6)
    assert [(only, limit) for _, only, limit, _ in asked] == [(None, None), ([2], third), ([3], third), ([4], third)]
    assert outcome.statuses() == {"t::a": "ok", "t::b": "timeout", "t::c": "ok", "t::d": "failed", "t::e": "timeout"}
    assert (outcome.ends[1].message, outcome.ends[4].message, outcome.error_kind("")) == ("time limit", "time limit", "timeout")


def test_a_process_that_dies_before_the_test_it_was_to_run_is_that_tests_fault():
    answers = [process(ABC, "start 0", timed_out=True, cpu_s=2.0), process(ABC, signal=6), process(ABC, ok(2), DONE)]
    assert run_all(answers)[0].statuses() == {"t::a": "timeout", "t::b": "failed", "t::c": "ok"}


def test_a_test_of_which_nothing_is_heard_has_no_time_left():
    """Two that share a process: the first uses it up."""
    n = 21
    names = listing(*(f"t::{index}" for index in range(n + 1)))
    pairs = [process(names, "start 1", timed_out=True), *(process(names, ok(index), ok(index + 1), DONE) for index in range(3, n, 2)),
             process(names, ok(n), DONE)]  # fmt: skip
    outcome, asked = run_all([process(names, "start 0", timed_out=True, cpu_s=2.0), *pairs])
    share = round(LIMIT_S / 11, 6)
    assert [(only, limit) for _, only, limit, _ in asked[1:]] == [([i, i + 1], share) for i in range(1, n, 2)] + [([n], share)]
    assert outcome.ends[1].message == "time limit" and outcome.ends[2] == End("timeout", message="time limit of the program")


def test_shares_are_never_shorter_than_a_process_needs():
    names = listing(*(f"t::{index}" for index in range(201)))
    batches = [list(range(start, start + 10)) for start in range(1, 201, 10)]
    answers = [process(names, [word for index in batch for word in ok(index)], DONE) for batch in batches]
    _, asked = run_all([process(names, "start 0", timed_out=True, cpu_s=2.0), *answers])
    assert [(only, limit) for _, only, limit, _ in asked[1:]] == [(batch, SHORTEST_S) for batch in batches]


def test_a_death_that_leaves_too_little_of_the_limit_counts_as_its_end():
    outcome, asked = run_all([process(ABC, "start 0", exit_code=1, cpu_s=1.95), process(ABC, ok(1), DONE), process(ABC, ok(2), DONE)])
    assert [(only, limit) for _, only, limit, _ in asked[1:]] == [([1], 1.0), ([2], 1.0)]
    assert outcome.statuses() == {"t::a": "failed", "t::b": "ok", "t::c": "ok"}


def test_ignored_tests_are_not_waited_for_and_only_those_asked_for_run():
    names = listing("t::a", "t::b", "t::c", "t::d", ignored=["t::b"])
    outcome, asked = run_all([process(names, ok(0), "start 2", signal=11), process(names, ok(3), DONE)])
    assert asked[1][1] == [3] and outcome.statuses() == {"t::a": "ok", "t::b": "ignored", "t::c": "failed", "t::d": "ok"}
    outcome, asked = run_all([process(names, "start 2", signal=11), process(names, ok(3), DONE)], mode="stub", only=[2, 3])
    assert [(mode, only) for mode, only, _, _ in asked] == [("stub", [2, 3]), ("stub", [3])]
    all_well, _ = run_all([process(names, ok(0), ok(2), ok(3), DONE)])
    assert all_well.passed and all_well.error_kind("") is None


def test_a_binary_that_cannot_be_loaded_is_the_machines_fault():
    loader = b"tests: error while loading shared libraries: libtest.so: cannot open"
    with pytest.raises(InfraError, match="cannot be loaded.*libtest.so"):
        run_all([process(exit_code=127, stderr=loader)])
    outcome, _ = run_all([process(ABC, ok(0), ok(1), ok(2), DONE, stderr=loader)])
    assert outcome.passed
    nothing, _ = run_all([process(exit_code=1, stderr=b"no")])
    assert not nothing.passed and nothing.statuses() == {} and nothing.error_kind("") == "panic"
    empty, _ = run_all([process(DONE)])
    assert not empty.passed and empty.error_kind("") is None


@pytest.mark.parametrize(("lines", "source", "kind"), [
    (failed(0, "boom", 3), SOURCE, "panic"),
    (failed(0, "my words", 4), SOURCE, "test_failed"),  # the line holds an assertion
    (failed(0, "my words", 5), SOURCE, "panic"),
    (failed(0, "my words", 99), SOURCE, "panic"),
    (failed(0, "assertion failed", 1), SOURCE, "test_failed"),
    (failed(0, "my words", 1), "fn main() { assert!(true); }", "test_failed"),
    (at(4, 5, "failed"), "", "test_failed"),
    (at(4, 0, "fell", "boom"), "", "panic"),
])  # fmt: skip
def test_the_kind_of_error_is_the_worst_that_happened(lines, source, kind):
    outcome, _ = run_all([process(listing("t::a"), lines, ok(0) if lines[0].startswith("site") else [], DONE)])
    assert outcome.error_kind(source) == kind


# ---------------------------------------------------------------------------------------------------------------------
# Statements
# ---------------------------------------------------------------------------------------------------------------------

RUNNER = "hidden::text0::all_statements"
ONE_RUNNER = listing(RUNNER, "hidden::t")


def test_the_assert_that_ends_a_process_is_left_out_of_the_next():
    died = process(ONE_RUNNER, "start 0", at(2, 5), at(3, 5, "fell", "boom", 3), site=(4, 5), signal=6)
    again = process(ONE_RUNNER, at(2, 5, "failed"), at(5, 5), ok(0), ok(1), DONE)
    outcome, asked = run_all([died, again], mode="ignored_too")
    assert asked[1] == ("ignored_too", [0, 1], 1.75, {(3, 5), (4, 5)})
    assert {site: end.status for site, end in outcome.sites.items()} == {(2, 5): "failed", (3, 5): "failed", (4, 5): "failed", (5, 5): "ok"}
    assert outcome.held_first == {(2, 5), (5, 5)} and outcome.ends[0].status == "ok" and outcome.n_deaths == 1


def test_an_assert_that_failed_first_and_held_later_has_failed():
    first = process(ONE_RUNNER, "start 0", at(2, 5, "failed"), site=(4, 5), signal=6)
    outcome, _ = run_all([first, process(ONE_RUNNER, at(2, 5), at(4, 5), ok(0), ok(1), DONE)])
    assert outcome.sites[2, 5].status == "failed" and (2, 5) not in outcome.held_first
    assert outcome.sites[4, 5].status == "failed" and (4, 5) not in outcome.held_first


def test_an_assert_that_ends_two_processes_ends_its_function():
    dies = process(ONE_RUNNER, "start 0", site=(4, 5), signal=11)
    outcome, asked = run_all([dies, dies, process(ONE_RUNNER, ok(1), DONE)])
    assert [only for _, only, _, _ in asked] == [None, [0, 1], [1]] and outcome.ends[0].status == "failed"


def test_threads_that_fallen_statements_left_are_no_asserts_fault():
    first = process(ONE_RUNNER, "start 0", at(3, 5, "fell"), "limit threads", site=(4, 5), signal=6)
    outcome, asked = run_all([first, process(ONE_RUNNER, at(4, 5), ok(0), ok(1), DONE)])
    assert asked[1][3] == {(3, 5)} and outcome.sites[4, 5].status == "ok" and outcome.n_deaths == 0


def test_asserts_after_the_one_that_loops_have_their_share_of_the_limit_each():
    looped = process(ONE_RUNNER, "start 0", site=(2, 5), timed_out=True, cpu_s=2.0)
    answers = [
        process(ONE_RUNNER, "start 0", site=(3, 5), timed_out=True, cpu_s=0.1),  # 1.5 left
        process(ONE_RUNNER, "start 0", site=(4, 5), signal=6, cpu_s=0.1),  # 1.4
        process(ONE_RUNNER, "start 0", site=(5, 5), signal=6, cpu_s=0.6),  # 0.8
        process(ONE_RUNNER, "start 0", site=(6, 5), timed_out=True, cpu_s=0.1),  # 0.3
        process(ONE_RUNNER, "start 0", site=(7, 5), timed_out=True, cpu_s=0.7),  # nothing
    ]
    outcome, asked = run_all([looped, *answers, process(ONE_RUNNER, ok(1), DONE)], statements={RUNNER: 4}, mode="ignored_too")
    skipped = [{(line, 5) for line in range(2, last)} for last in range(3, 8)]
    assert asked[1:6] == [("ignored_too", [0], 0.5, skip) for skip in skipped]
    assert asked[6] == ("ignored_too", [1], LIMIT_S, set())
    assert outcome.ends[0] == End("timeout", message="time limit of the program") and outcome.ends[1].status == "ok"
    kinds = {site: end.status for site, end in outcome.sites.items()}
    assert kinds == {(2, 5): "timeout", (3, 5): "timeout", (4, 5): "failed", (5, 5): "failed", (6, 5): "timeout", (7, 5): "timeout"}


def test_a_limit_that_is_used_up_exactly_is_used_up():
    loops = [process(ONE_RUNNER, "start 0", site=(line, 5), timed_out=True, cpu_s=0.5) for line in range(2, 7)]
    outcome, asked = run_all([*loops, process(ONE_RUNNER, ok(1), DONE)], statements={RUNNER: 4})
    assert [only for _, only, _, _ in asked] == [None, [0], [0], [0], [0], [1]] and outcome.ends[0].status == "timeout"


def test_statements_whose_process_dies_before_the_first_of_them_have_failed():
    answers = [process(ONE_RUNNER, "start 0", site=(2, 5), timed_out=True, cpu_s=2.0), process(ONE_RUNNER, signal=11), process(ONE_RUNNER, ok(1), DONE)]
    outcome, asked = run_all(answers, statements={RUNNER: 4})
    assert [only for _, only, _, _ in asked] == [None, [0], [1]] and outcome.ends[0].status == "failed"


def test_statements_that_come_to_their_end_leave_the_limit_to_the_others():
    answers = [process(ONE_RUNNER, "start 0", site=(2, 5), timed_out=True, cpu_s=2.0), process(ONE_RUNNER, ok(0), DONE), process(ONE_RUNNER, ok(1), DONE)]
    outcome, asked = run_all(answers, statements={RUNNER: 40})
    assert [(only, limit) for _, only, limit, _ in asked] == [(None, None), ([0], 0.1), ([1], 2.0)] and outcome.ends[0].status == "ok"
    finished = [process(ONE_RUNNER, ok(1), "start 0", site=(2, 5), timed_out=True, cpu_s=2.0), process(ONE_RUNNER, ok(0), DONE)]
    assert run_all(finished, statements={RUNNER: 2})[1][1:] == [("run", [0], 1.0, {(2, 5)})]


# ---------------------------------------------------------------------------------------------------------------------
# The verdict: own tests
# ---------------------------------------------------------------------------------------------------------------------


def own_program(guard=None, listing_functions=frozenset(), **tests):
    """A program with the tests `t::NAME`: (counted, marked) each, with one assertion of their own."""
    found = tuple(
        TestFn(f"t::{name}", False, counted, None, marked, asserts=frozenset({f"assert {name}"})) for name, (counted, marked) in tests.items()
    )
    return replace(read_program(SOURCE), guard=guard, tests=found, listing_functions=listing_functions)


COUNTED = {"a": (True, True), "b": (True, True), "c": (True, True)}
ALL_OK = process(ABC, ok(0), ok(1), ok(2), DONE)
ALL_FAIL = process(ABC, failed(0), failed(1), failed(2), DONE)
NOTICED = "assertion failed: left == right"
ALL_NOTICE = process(ABC, *(failed(n, NOTICED, 4, reached=1, column=5) for _half in (0, 1) for n in (0, 1, 2)), DONE)
NO_INPUTS = process(ABC, DONE)  # nothing could be asked otherwise
WARNING = Diagnostic("w", "warning", "unused", 1)


def own_verdict(answers, program, is_gated=True, is_marked=True, verdict=Verdict(build_passed=True, diagnostics=(WARNING,)), stub=None):  # noqa: B008
    binaries = Binaries(own=answers, stub=stub or [])
    binaries.runner._stub_binary = lambda work, stubbed: STUB if stub is not None and stubbed is work.job.program is program else None
    work = Work(Job(program), None, Path("none"), verdict=verdict, binary=OWN, is_gated=is_gated, is_marked=is_marked,
                source=SOURCE)  # fmt: skip
    binaries.runner.run_own_tests(work)
    assert binaries.all_ran()
    return work.verdict, binaries.asked


def test_honest_tests_that_notice_everything():
    verdict, asked = own_verdict([ALL_OK, ALL_FAIL, ALL_NOTICE, NO_INPUTS], own_program(**COUNTED))
    assert verdict == Verdict(build_passed=True, test_passed=True, tests=dict.fromkeys(("t::a", "t::b", "t::c"), "ok"), honest_tests=True,
                              n_asserts=3, diagnostics=(WARNING,))  # fmt: skip
    assert asked == [("run", None, None, set()), *((mode, [0, 1, 2], None, set()) for mode in ("stub", "wrong", "other"))]


def test_tests_that_fail_are_not_tried_further():
    verdict, asked = own_verdict([process(ABC, ok(0), failed(1, "assertion failed", 4), ok(2), DONE)], own_program(**COUNTED))
    assert (verdict.test_passed, verdict.error_kind, verdict.honest_tests, verdict.guard, len(asked)) == (False, "test_failed", True, None, 1)
    assert verdict.n_asserts == 3, "what they assert counts, whether it holds or not"
    assert verdict.diagnostics == (Diagnostic(None, "test", "t::b: assertion failed", 4), WARNING) and verdict.build_passed
    before = replace(NO_CODE, error_kind="timeout")
    assert own_verdict([ALL_FAIL], own_program(**COUNTED), verdict=before)[0].error_kind == "timeout"
    many = replace(NO_CODE, diagnostics=(WARNING,) * MAX_DIAGNOSTICS)
    assert len(own_verdict([ALL_FAIL], own_program(**COUNTED), verdict=many)[0].diagnostics) == MAX_DIAGNOSTICS


def test_own_tests_that_all_end_their_process_are_not_tried_for_ever():
    names = listing(*(f"t::{n}" for n in range(MAX_DEATHS + 8)))
    dying = [process(names, f"start {n}", exit_code=1, cpu_s=0.01) for n in range(MAX_DEATHS)]
    assert set(own_verdict(dying, own_program())[0].tests.values()) == {"failed"}


def test_a_guard_of_reading_stands_and_nothing_more_is_run():
    verdict, asked = own_verdict([ALL_OK], own_program("assert_macro", **COUNTED))
    assert (verdict.test_passed, verdict.honest_tests, verdict.guard, len(asked)) == (True, False, "assert_macro", 1)
    left = process(ABC, ok(0), ok(1), ok(2), exit_code=0)
    assert own_verdict([left], own_program(**COUNTED))[0].guard == "exit_in_test"
    assert own_verdict([left], own_program("assert_macro", **COUNTED))[0].guard == "assert_macro"


@pytest.mark.parametrize("tests", [
    {}, {"a": (False, True), "b": (False, False)}, {"nowhere": (True, True)},
])  # fmt: skip
def test_no_test_that_counts(tests):
    assert own_verdict([ALL_OK], own_program(**tests))[0].guard == "no_counted_test"


def test_an_ignored_test_does_not_count():
    names = listing("t::a", "t::b", ignored=["t::a"])
    ran = process(names, ok(1), DONE)
    assert own_verdict([ran], own_program(a=(True, True)))[0].guard == "no_counted_test"
    noticed = process(names, failed(1, NOTICED, 4, reached=1, column=5), DONE)
    verdict, asked = own_verdict([ran, noticed, noticed, noticed], own_program(a=(True, True), b=(True, True)))
    assert verdict.guard is None and [only for _, only, _, _ in asked] == [None, [1], [1], [1]]


def test_a_test_whose_assertion_is_never_reached_does_not_count():
    unreached = process(ABC, ok(0, reached=0), ok(1, reached=0), ok(2, reached=0), DONE)
    assert own_verdict([unreached], own_program(**COUNTED))[0].guard == "assert_not_reached"
    one = process(ABC, ok(0), ok(1, reached=0), ok(2), DONE)
    two = process(ABC, *(failed(n, NOTICED, 4, reached=1, column=5) for _half in (0, 1) for n in (0, 2)), DONE)
    verdict, asked = own_verdict([one, two, two, NO_INPUTS], own_program(**COUNTED))
    assert (verdict.guard, verdict.n_asserts) == (None, 2) and [only for _, only, _, _ in asked] == [None, *[[0, 2]] * 3]
    for tests, is_marked in ((COUNTED | {"b": (True, False)}, True), (COUNTED, False)):  # where no mark tells
        assert own_verdict([one, ALL_FAIL, ALL_NOTICE, NO_INPUTS], own_program(**tests), is_marked=is_marked)[0].n_asserts == 3


def test_counted_tests_are_tried_in_the_order_of_the_binary():
    tests = {"c": (True, True), "a": (True, True)}
    one_each = process(ABC, failed(0), failed(2), DONE)
    asked = own_verdict([ALL_OK, one_each, one_each, NO_INPUTS], own_program(**tests))[1]
    assert asked[1:] == [(mode, [0, 2], None, set()) for mode in ("stub", "wrong", "other")]


def test_a_test_that_the_stub_does_not_fail_does_not_count():
    some = process(ABC, failed(0), ok(1), failed(2), DONE)
    verdict, asked = own_verdict([ALL_OK, some, NO_INPUTS, NO_INPUTS], own_program(**COUNTED))
    assert (verdict.guard, verdict.n_asserts) == (None, 2) and asked[2:] == [(mode, [0, 2], None, set()) for mode in ("wrong", "other")]
    verdict, asked = own_verdict([ALL_OK, ALL_OK], own_program(**COUNTED))
    assert (verdict.guard, verdict.honest_tests, verdict.test_passed, verdict.n_asserts, len(asked)) == ("survives_panic_stub", False, True, 0, 2)


def test_a_stub_that_does_not_compile_is_no_opinion():
    verdict, asked = own_verdict([ALL_OK], own_program(**COUNTED), is_gated=False)
    note = Diagnostic(None, "note", "the panic stub does not compile: the tests were not tried against it", None)
    assert (verdict.guard, verdict.honest_tests, len(asked)) == (None, True, 1) and verdict.diagnostics == (note, WARNING)


def test_a_stub_of_its_own_is_run_and_no_wrong_values():
    verdict, asked = own_verdict([ALL_OK], own_program(**COUNTED), is_gated=False, stub=[ALL_FAIL])
    assert verdict.guard is None and [mode for mode, *_ in asked] == ["run", "stub"]
    assert own_verdict([ALL_OK], own_program(**COUNTED), is_gated=False, stub=[ALL_OK])[0].guard == "survives_panic_stub"


def test_runs_that_did_not_come_to_their_end_are_said_and_take_nothing():
    for wrong, other in ((process(ABC, ok(0, reached=1), timed_out=True), NO_INPUTS), (ALL_NOTICE, process(ABC, "start 0", signal=6))):
        verdict, _ = own_verdict([ALL_OK, ALL_FAIL, wrong, other], own_program(**COUNTED))
        assert (verdict.guard, verdict.honest_tests, verdict.n_asserts) == ("tried_in_part", True, 3)


# ---------------------------------------------------------------------------------------------------------------------
# The verdict: hidden tests
# ---------------------------------------------------------------------------------------------------------------------

LISTED = listing("hidden::t::a", RUNNER, "hidden::t::b", "tests::own")


def suite(guard=None, functions=("hidden::t::a", "hidden::t::b")):
    asserts = ((RUNNER, (AssertTest("text0:2:5", ((2, 5),)), AssertTest("text0:3:5", ((3, 5),)))),)
    return HiddenSuite(SOURCE, functions, guard, "hidden", asserts)


def hidden_verdict(answers, own=(), verdict=Verdict(build_passed=True), hidden_suite=None):  # noqa: B008
    binaries = Binaries(hidden=answers, own=list(own))
    work = Work(Job(own_program()), hidden_suite or suite(), Path("none"), verdict=verdict, hidden_binary=HIDDEN,
                           binary=OWN if own else None)  # fmt: skip
    binaries.runner.run(work)
    assert binaries.all_ran()
    return work.verdict, binaries.asked


def test_all_hidden_tests_pass():
    verdict, asked = hidden_verdict([process(LISTED, ok(0), at(2, 5), at(3, 5), ok(1), ok(2), ok(3), DONE)])
    assert asked == [("ignored_too", None, None, set())]
    assert verdict == Verdict(build_passed=True, hidden_passed=4, hidden_total=4, hidden_statuses=("ok",) * 4)


def test_hidden_tests_of_each_kind_that_fail():
    lines = [failed(0, "assertion failed: a", 3), at(2, 5, "failed", "left", 2), ok(1), ok(2), ok(3), DONE]
    verdict, _ = hidden_verdict([process(LISTED, *lines)])
    assert (verdict.hidden_passed, verdict.hidden_total, verdict.hidden_statuses) == (1, 4, ("failed", "ok", "failed", "failed"))
    assert verdict.hidden_failures == {"t::a": "assertion failed: a", "text0:2:5": "left", "text0:3:5": "never evaluated"}
    assert (verdict.hidden_error_kind, verdict.error_kind, verdict.guard) == ("test_failed", "test_failed", None)


def test_statements_whose_function_did_not_end():
    lines = [ok(0), at(2, 5), "start 1"]
    verdict, asked = hidden_verdict([process(LISTED, *lines, timed_out=True, cpu_s=2.0), process(LISTED, ok(2), DONE), process(LISTED, ok(3), DONE)])
    assert verdict.hidden_statuses == ("ok", "ok", "ok", "timeout") and verdict.hidden_failures == {"text0:3:5": "time limit"}
    assert verdict.hidden_error_kind == verdict.error_kind == "timeout" and [only for _, only, _, _ in asked] == [None, [2], [3]]


def test_the_number_of_statements_is_known_when_they_loop():
    looped = process(LISTED, "start 1", timed_out=True, cpu_s=2.0, site=(2, 5))
    one = process(LISTED, ok(0), DONE), process(LISTED, ok(2), DONE), process(LISTED, ok(3), DONE)
    verdict, asked = hidden_verdict([looped, process(LISTED, at(3, 5), ok(1), DONE), *one])
    assert asked[1] == ("ignored_too", [1], 1.0, {(2, 5)}) and verdict.hidden_statuses == ("ok", "ok", "timeout", "ok")


def test_a_test_that_is_not_listed_or_heard_of_was_not_run():
    verdict, _ = hidden_verdict([process(exit_code=1)])
    assert verdict.hidden_statuses == ("failed",) * 4 and set(verdict.hidden_failures.values()) == {"not run"}
    assert verdict.hidden_failures.keys() == {"t::a", "t::b", "text0:2:5", "text0:3:5"} and verdict.hidden_error_kind == "panic"


def test_tests_that_only_the_binary_knows_count_and_statements_that_it_does_not_list_were_not_run():
    listed = listing("hidden::t::a", "hidden::t::b", "hidden::t::made_by_a_macro")
    verdict, _ = hidden_verdict([process(listed, ok(0), ok(1), ok(2), DONE)], hidden_suite=suite(functions=("hidden::t::a",)))
    assert verdict.hidden_statuses == ("ok", "ok", "ok", "failed", "failed")
    assert verdict.hidden_failures == {"text0:2:5": "not run", "text0:3:5": "not run"}


def test_a_test_without_a_place_of_its_own_ends_as_its_function_does():
    whole = HiddenSuite(SOURCE, (), None, "hidden", ((RUNNER, (AssertTest("text0", ()),)),))
    assert hidden_verdict([process(listing(RUNNER), ok(0), DONE)], hidden_suite=whole)[0].hidden_statuses == ("ok",)
    assert hidden_verdict([process(listing(RUNNER), failed(0, "boom"), DONE)], hidden_suite=whole)[0].hidden_failures == {"text0": "boom"}


def test_a_death_after_the_last_hidden_test_is_no_tests_fault():
    verdict, _ = hidden_verdict([process(LISTED, ok(0), at(2, 5), at(3, 5), ok(1), ok(2), ok(3), signal=11)])
    assert (verdict.hidden_passed, verdict.hidden_error_kind, verdict.error_kind) == (4, None, None)


@pytest.mark.parametrize("hidden_suite", [None, suite()], ids=["none", "not compiled"])
def test_without_a_binary_of_hidden_tests_only_the_own_tests_run(hidden_suite):
    binaries = Binaries(own=[ALL_FAIL])
    before = Verdict(build_passed=True, hidden_passed=0, hidden_total=4)
    work = Work(Job(own_program()), hidden_suite, Path("none"), verdict=before, binary=OWN)
    binaries.runner.run(work)
    assert [mode for mode, *_ in binaries.asked] == ["run"] and (work.verdict.hidden_passed, work.verdict.hidden_total) == (0, 4)
    untested = Work(Job(own_program()), None, Path("none"), verdict=before)
    binaries.runner.run(untested)
    assert untested.verdict == before


def test_a_program_that_could_fool_the_tests_gets_nothing_for_them():
    passes = [process(LISTED, ok(0), at(2, 5), at(3, 5), ok(1), ok(2), ok(3), DONE)]
    verdict, _ = hidden_verdict(passes, hidden_suite=suite("drop_impl"))
    assert (verdict.hidden_passed, verdict.hidden_total, verdict.hidden_statuses, verdict.guard) == (0, 4, ("failed",) * 4, "drop_impl")
    assert (verdict.hidden_failures, verdict.hidden_error_kind) == ({}, None)
    passes = [process(LISTED, ok(0), at(2, 5), at(3, 5), ok(1), ok(2), ok(3), DONE)]
    assert hidden_verdict(passes, hidden_suite=suite("drop_impl"), verdict=Verdict(guard="first"))[0].guard == "first"


def test_own_tests_and_hidden_tests_are_told_apart():
    hidden = process(LISTED, ok(0), at(2, 5, "failed"), at(3, 5), ok(1), ok(2), ok(3), DONE)
    verdict, asked = hidden_verdict([hidden], own=[process(ABC, ok(0), failed(1, "boom"), ok(2), DONE)])
    assert (verdict.test_passed, verdict.error_kind, verdict.hidden_passed, verdict.hidden_error_kind) == (False, "panic", 3, "test_failed")
    assert sorted(mode for mode, *_ in asked) == ["ignored_too", "run"]


def test_failures_are_named_as_far_as_there_is_room():
    names = [f"hidden::t{n:02}" for n in range(30)]
    lines = [word for n in range(30) for word in failed(n, "m" * 300)]
    verdict, _ = hidden_verdict([process(listing(*names), lines, DONE)], hidden_suite=HiddenSuite(SOURCE, tuple(names), None, "hidden"))
    assert [*verdict.hidden_failures] == [f"t{n:02}" for n in range(MAX_DIAGNOSTICS)] and verdict.hidden_passed == 0
    assert set(verdict.hidden_failures.values()) == {"m" * MAX_FAILURE_CHARS}


def test_what_the_machine_did_to_the_own_tests_is_said_when_the_hidden_ones_have_ended():
    loader = process(exit_code=127, stderr=b"error while loading shared libraries: libstd")
    with pytest.raises(InfraError):
        hidden_verdict([process(LISTED, ok(0), ok(1), ok(2), ok(3), DONE)], own=[loader])


# ---------------------------------------------------------------------------------------------------------------------
# What the compiler says, and which failures say nothing
# ---------------------------------------------------------------------------------------------------------------------

STD = "/rustc/1234/library/std/src/macros.rs"


def span(line=3, file="src/main.rs", is_primary=True, called_at=None):
    return {"file_name": file, "is_primary": is_primary, "line_start": line, "column_start": 5, "column_end": 9, "expansion": called_at and {"span": called_at}}


def told(message="mismatched types", level="error", code="E0308", spans=(), **more):
    return {"message": message, "level": level, "code": code and {"code": code}, "spans": spans} | more


@pytest.mark.parametrize(("record", "expected", "places"), [
    (told(spans=[span(7, is_primary=False), span(3), span(4)]), Diagnostic("E0308", "error", "mismatched types", 3), [3, 4]),
    (told(spans=[span(1, STD, called_at=span(2, STD, called_at=span(9)))]), Diagnostic("E0308", "error", "mismatched types", 9), [9]),
    (told(spans=[span(1, STD), span(5)]), Diagnostic("E0308", "error", "mismatched types", 5), [5]),
    (told(spans=[span(1, STD)], code=None), Diagnostic(None, "error", "mismatched types", None), []),
    (told("x" * 900, "warning", "unused"), Diagnostic("unused", "warning", "x" * MAX_MESSAGE_CHARS, None), []),
    (told("it broke", "error: internal compiler error", None), Diagnostic(None, "error: internal compiler error", "it broke", None), []),
    (told("1 warning emitted", "warning", None, [span(3)]), Diagnostic(None, "warning", "1 warning emitted", 3), [3]),
    (told("found 2 warnings emitted", "warning", None), Diagnostic(None, "warning", "found 2 warnings emitted", None), []),
    ({"level": "error"}, Diagnostic(None, "error", "", None), []),
])  # fmt: skip
def test_a_message_of_the_compiler_is_read(record, expected, places):
    message = read_message(record)
    assert message.diagnostic == expected and list(message.spans) == [(line, 5, 9) for line in places]


@pytest.mark.parametrize("record", [
    told("aborting due to 2 previous errors", code=None), told("1 warning emitted", "warning", None), told("12 warnings emitted", "warning", None),
    told("could not compile `a`", code=None), told(level="note"), told(level="failure-note"), {"message": "Compiling"}, {},
])  # fmt: skip
def test_what_is_no_message_of_its_own_is_left_out(record):
    assert read_message(record) is None


def test_files_of_the_kernel_that_the_compiler_read_are_known(tmp_path, monkeypatch):
    listed = f"main.rs: /proc/a /dev/b\n\n/proc/self/fd/2:\nsrc/main.rs:\n/proc/../etc/passwd:\n/etc/../dev/b\\ c:\n{tmp_path}/own:\n/proc/not-listed\n"
    (tmp_path / workshop.READ_FILES).write_bytes(listed.encode() + b"/home/\xff:\n")
    assert workshop._read_outside(tmp_path) == ["/proc/self/fd/2", "/dev/b c"]
    monkeypatch.setattr(workshop, "KERNEL_FOLDERS", (f"{tmp_path.parent}/",))
    (tmp_path / workshop.READ_FILES).write_text(f"src/main.rs:\n../{tmp_path.name}-other/a.rs:\n")
    assert workshop._read_outside(tmp_path) == [f"{tmp_path}-other/a.rs"], "the compilation's own folder may lie in such a place"
