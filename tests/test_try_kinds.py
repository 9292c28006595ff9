"""generate.py --kind: a file of one's own is mended, filled in, patched, gone on with; a wrong call says what is missing."""

import shutil
from types import SimpleNamespace

import pytest
from conftest import FakeJudge

import generate
import kinds
import rust_tool
from rust_tool import Diagnostic, Verdict

CODE = """fn double(n: u32) -> u32 {
    let twice = n;
    twice += n;
    twice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles() {
        assert_eq!(double(4), 8);
        assert_eq!(double(0), 0);
    }
}
"""
CHECK = generate.check_prompts_fit
MENDED = CODE.replace("let twice", "let mut twice")


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    """Call it with an answer and flags -> (exit status, what was printed, the conversation that was asked)."""
    asked = []

    def open_generator(model, args, adapters):
        def stream(conversation, sampling, adapter):
            asked.append(conversation)
            yield from answers

        return SimpleNamespace(stream=stream, close=lambda: None)

    monkeypatch.setattr(generate, "open_generator", open_generator)
    monkeypatch.setattr(generate, "check_prompts_fit", lambda *_: 100)  # there is no model to ask
    answers = []

    def call(answer, *flags):
        answers[:] = [answer]
        status = generate.main(["--model", "m", *map(str, flags)])
        said = capsys.readouterr()
        return status, said.out + said.err, asked[-1] if asked else None

    return call


@pytest.fixture
def no_cargo(monkeypatch):
    """A judge for which nothing builds."""
    broken = Verdict(error_kind="compile", diagnostics=(Diagnostic("E0384", "error", "cannot assign twice to immutable variable", 3),))
    monkeypatch.setattr(rust_tool, "RustTool", lambda **options: FakeJudge(lambda job: broken))


@pytest.fixture
def file_of(tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


@pytest.mark.skipif(shutil.which("cargo") is None, reason="no cargo on PATH")
def test_a_file_of_ones_own_is_mended_and_one_that_is_right_is_not(ask, file_of):
    status, said, conversation = ask(f"```rust\n{MENDED}```", "--kind", "fix", file_of("main.rs", CODE))
    assert status == 0
    assert "-    let twice = n;\n+    let mut twice = n;" in said and "tests   passed (1 of 1 ok)" in said
    assert said.index("cannot assign twice") < said.index("the model answers") < said.index("fn doubles")
    assert "error[E0384]: cannot assign twice to immutable variable `twice`\n --> line 3" in conversation[0]["content"]
    status, said, _ = ask("", "--kind", "fix", file_of("right.rs", MENDED))
    assert status == 2 and "right.rs builds and its tests pass: there is nothing to mend" in said


def test_every_kind_is_asked_from_files(ask, file_of, no_cargo):
    program, diff = file_of("p.rs", CODE), file_of("last.diff", "@@ -2 +2 @@\n-    let it = n;\n+    let twice = n;\n")
    prefix, suffix = file_of("a.rs", "fn double(n: u32) -> u32 {\n    "), file_of("b.rs", "\n}\n")
    _, said, (turn,) = ask("```rust\nn * 2\n```", "--kind", "fim", "--prefix", prefix, "--suffix", suffix)
    assert kinds.GAP in turn["content"] and "error[E0384]" in said
    assert "-    \n+    n * 2\n" in said and "tests   not run" in said
    _, _, (turn,) = ask("n * 2", "--kind", "fim", "--prefix", prefix, "--suffix", suffix, "--fim_format", "tokens")
    assert turn == {"role": "raw", "content": "<|fim_prefix|>fn double(n: u32) -> u32 {\n    <|fim_suffix|>\n}\n<|fim_middle|>"}
    block = f"{kinds.SEARCH}\n    twice\n{kinds.DIVIDER}\n    2 * n\n{kinds.REPLACE}"
    _, said, (*_, turn) = ask(block, "--kind", "patch", "--file", program, "Multiply instead.")
    assert turn["content"].startswith("Multiply instead.") and "-    twice\n+    2 * n" in said
    _, said, (*_, turn) = ask(block.replace("    twice", "    thrice"), "--kind", "patch", "--file", program, "Multiply instead.")
    assert "nothing to compile: block 1 does not apply: its lines stand in the program 0 times, expected once" in " ".join(said.split())
    _, _, (turn,) = ask("```rust\n    twice\n```", "--kind", "next_edit", "--file", program, "--last_edit", diff, "--region", "3-4")
    assert "let twice = n;\n// >>> region\n    twice += n;" in turn["content"] and "+    let twice = n;" in turn["content"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "the prompt is missing"),
        (["--kind", "fix"], "--kind fix needs the file to mend"),
        (["--kind", "fix", "nowhere.rs"], "cannot read nowhere.rs"),
        (["--kind", "fim", "--prefix", "a.rs"], "--kind fim needs --suffix"),
        (["--kind", "patch", "Do it."], "--kind patch needs --file"),
        (["--kind", "patch", "--file", "a.rs", "--prefix", "b.rs", "Do it."], "--prefix goes with another kind than patch"),
        (["--kind", "next_edit", "--file", "a.rs", "--last_edit", "d"], "--kind next_edit needs --region"),
    ],
)
def test_a_wrong_call_says_what_is_missing(ask, no_cargo, flags, message):
    status, said, conversation = ask("", *flags)
    assert status == 2 and message in said and conversation is None


def test_a_region_that_is_none_is_refused(ask, no_cargo, file_of):
    program, diff = file_of("p.rs", CODE), file_of("last.diff", "@@ -1 +1 @@")
    flags = ["--kind", "next_edit", "--file", program, "--last_edit", diff, "--region"]
    assert "--region three: expected FIRST-LAST" in ask("", *flags, "three")[1]
    assert "ends behind the last line" in ask("", *flags, "3-999")[1]


def test_a_file_that_the_model_cannot_hold_is_refused_before_it_loads(ask, no_cargo, file_of, tiny_coder, monkeypatch):
    monkeypatch.setattr(generate, "check_prompts_fit", CHECK)
    status, said, conversation = ask("", "--model", tiny_coder, "--kind", "fix", file_of("long.rs", CODE * 400))
    assert status == 2 and conversation is None
    assert "the prompt of this call has" in said and "that exceeds the" in said
