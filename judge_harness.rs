//! The test harness that the judge links in place of libtest's `main`: same tests, same types, another way to report.
//!
//! Built once per toolchain by `rust_tool.py` as a dynamic library named `test`, so that `rustc --test` finds it under
//! the name it looks for. Everything except the entry point is libtest's own (re-exported). It differs from libtest in
//! what a program could otherwise forge or disturb:
//!
//! * which tests to run and whether the stub is on come through a pipe, never argv or environment;
//! * results go to a second pipe, each line led by a nonce that arrived through the first; the program holds neither,
//!   and the descriptor does not survive `exec`;
//! * a last line says that the harness itself came to its end: `process::exit(0)` in a test leaves that line out.
//!
//! Results, one a line, after the nonce: `list N`, `test I FLAGS NAME`, `start I`, `end I ok|failed|asserted LINE COL HEX`,
//! `done`. Not guarded against: `unsafe` code that searches memory for the nonce (the judge refuses what that takes).
#![feature(staged_api, test, rustc_attrs)]
#![unstable(feature = "test", issue = "none")]
#![allow(internal_features)]

extern crate real;

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::panic::{catch_unwind, set_hook, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};

#[unstable(feature = "test", issue = "none")]
pub use real::*;

/// Bytes of a panic's message that are reported.
const MESSAGE_BYTES: usize = 600;
const F_SETFD: i32 = 2;
const FD_CLOEXEC: i32 = 1;

static STUB_IS_ON: AtomicBool = AtomicBool::new(false);

extern "C" {
    fn fcntl(fd: i32, command: i32, ...) -> i32;
}

thread_local! {
    /// Line, column, message of the last panic of this thread.
    static LAST_PANIC: RefCell<Option<(u32, u32, String)>> = const { RefCell::new(None) };
}

/// First statement of every function under test: panics when the judge asked for the stub.
#[stable(feature = "rust1", since = "1.0.0")]
#[inline(never)]
pub fn gate() {
    if STUB_IS_ON.load(Ordering::Relaxed) {
        panic!("stubbed by the judge");
    }
}

/// What the judge sent: one line each for the nonce, the stub (0 or 1) and the tests to run (`all`, or indices).
struct Order {
    nonce: String,
    wanted: Option<Vec<usize>>,
}

fn read_order(order_fd: i32) -> Order {
    let mut text = String::new();
    unsafe { File::from_raw_fd(order_fd) }.read_to_string(&mut text).expect("order");
    let mut lines = text.lines();
    let nonce = lines.next().expect("nonce").to_string();
    STUB_IS_ON.store(lines.next() == Some("1"), Ordering::Relaxed);
    let wanted = match lines.next().expect("tests") {
        "all" => None,
        some => Some(some.split_whitespace().map(|index| index.parse().expect("index")).collect()),
    };
    Order { nonce, wanted }
}

/// Runs one test in a thread of its own, named as libtest names it, and says how it ended.
fn outcome(test: &TestDescAndFn) -> String {
    let StaticTestFn(run) = test.testfn else { return "failed 0 0 ".to_string() };
    let builder = std::thread::Builder::new().name(test.desc.name.to_string());
    let thread = builder.spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(run));
        let panicked = LAST_PANIC.with(|last| last.borrow_mut().take());
        match result {
            Ok(Ok(())) => Ok(()),
            Ok(Err(message)) => Err((0, 0, message, None)),
            Err(payload) => {
                let text = payload.downcast_ref::<String>().cloned();
                let text = text.or_else(|| payload.downcast_ref::<&'static str>().map(|text| text.to_string()));
                std::mem::forget(payload); // its Drop is the program's code
                let (line, column, message) = panicked.unwrap_or((0, 0, text.clone().unwrap_or_default()));
                Err((line, column, message, Some(text)))
            }
        }
    });
    let Ok(thread) = thread else { return "failed 0 0 ".to_string() };
    let Ok(result) = thread.join() else { return "failed 0 0 ".to_string() };
    match (result, test.desc.should_panic) {
        (Ok(()), ShouldPanic::No) => "ok 0 0 ".to_string(),
        (Ok(()), _) => format!("asserted 0 0 {}", hex("test did not panic as expected")),
        (Err((_, _, _, Some(_))), ShouldPanic::Yes) => "ok 0 0 ".to_string(),
        (Err((_, _, _, Some(Some(text)))), ShouldPanic::YesWithMessage(part)) if text.contains(part) => "ok 0 0 ".to_string(),
        (Err((line, column, message, None)), _) => format!("asserted {line} {column} {}", hex(&message)),
        (Err((line, column, message, _)), _) => format!("failed {line} {column} {}", hex(&message)),
    }
}

fn hex(text: &str) -> String {
    text.bytes().take(MESSAGE_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

fn remember_panics() {
    set_hook(Box::new(|info| {
        let (line, column) = info.location().map_or((0, 0), |place| (place.line(), place.column()));
        let message = info.payload_as_str().unwrap_or("").chars().take(MESSAGE_BYTES).collect();
        LAST_PANIC.with(|last| *last.borrow_mut() = Some((line, column, message)));
    }));
}

/// Entry point that `rustc --test` generates a call of. Returns normally whatever the tests did.
#[unstable(feature = "test", issue = "none")]
pub fn test_main_static(tests: &[&TestDescAndFn]) {
    let fds: Vec<i32> = std::env::args().skip(1).map(|fd| fd.parse().expect("descriptor")).collect();
    unsafe { fcntl(fds[1], F_SETFD, FD_CLOEXEC) };
    let mut report = unsafe { File::from_raw_fd(fds[1]) };
    let Order { nonce, wanted } = read_order(fds[0]);
    let mut say = |text: String| report.write_all(format!("{nonce} {text}\n").as_bytes()).expect("report");
    remember_panics();
    say(format!("list {}", tests.len()));
    for (index, test) in tests.iter().enumerate() {
        let ignored = if test.desc.ignore { "ignored" } else { "run" };
        let panics = if test.desc.should_panic == ShouldPanic::No { "plain" } else { "should_panic" };
        say(format!("test {index} {ignored} {panics} {}", test.desc.name));
    }
    for (index, test) in tests.iter().enumerate() {
        if test.desc.ignore || wanted.as_ref().is_some_and(|wanted| !wanted.contains(&index)) {
            continue;
        }
        say(format!("start {index}"));
        let ended = outcome(test);
        say(format!("end {index} {ended}"));
    }
    say("done".to_string());
}
