"""What makes verdicts of completions: a program and its tests read, compiled and run in a sandbox. `rust_tool.py` is the way in.

A completion is read:
    program.py            completion -> program, and the programs made from it: stubbed, with hidden tests
    syntax.py             Rust text as a tree: items, under which `cfg` each exists, what its macros expand to
    guards.py             which tests may count, and what is refused
    worth.py              what passing tests are worth, by what they and the functions do in the judge's runs
    statements.py         hidden tests that are a `main` or statements
    cfg_test.py           where `cfg(test)` matters in a program
    instruments.py        gates and wrong values, put into a program to see what its tests notice
compiled and run:
    compiling.py          a job to test binaries, and what cargo build and clippy say
    running.py            test binaries to a verdict: how each test ends, and what passing ones are worth
    workshop.py           one compilation or one process of tests
    harness.rs, gate.rs   linked into the tests: what reports them, and what a program's functions are asked
    harness_report.py     what one process of tests reports
    outcome.py            how the tests of a binary ended, over all its processes
    suites.py             tests of others, run against a program
    cross_tests.py        which program of a group passes which of the others' tests
    cargo.py              plain cargo on a project for each program: the reference mode
on a machine:
    toolchain.py          the Rust toolchain behind a `cargo`
    messages.py           what the compiler says
    limits.py             what a compilation and a process of tests may use
    scratch.py            a judge's folder, on a tmpfs, gone with it
    sandbox.py            one command with limits, no network, no secrets; sandbox_launcher.py starts it
    verdict.py            job, verdict, diagnostics; errors.py: who is at fault; settings.py: the flags of scripts that grade
"""
