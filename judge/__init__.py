"""What makes verdicts of completions: a program and its tests read, compiled and run in a sandbox. `rust_tool.py` is the way in.

    program.py            completion -> program, and the programs made from it: stubbed, with hidden tests
    syntax.py             Rust text as a tree: items, under which `cfg` each exists, what its macros expand to
    guards.py             which tests may count, and what is refused
    worth.py              what passing tests are worth, by what they and the functions do in the judge's runs
    statements.py         hidden tests that are a `main` or statements
    harness.rs, gate.rs   linked into the tests: what reports them, and what a program's functions are asked
    cross_tests.py        which program of a group passes which of the others' tests
    sandbox.py            one command with limits, no network, no secrets; sandbox_launcher.py starts it
"""
