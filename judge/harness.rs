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
//! Hidden tests that are statements are one test here, whose assertions record how they ended and go on. One that panicked
//! is left out and the test run again, so that it does not take the others along. Which assertion is being evaluated stands in
//! a page of memory that the judge reads when the process has died; nobody holds its descriptor once it is mapped.
//!
//! What the hash collections of a test's own thread hold comes in the same order in every process, so a program that depends on it
//! gets one verdict (threads that it starts ask for keys in their own order).
//!
//! Results, one a line, after the nonce: `test I run|ignored plain|should_panic NAME`, `start I`,
//! `site LINE COLUMN held|failed|fell PANIC_LINE HEX` (the first time; `fell`: a panic left it; column 0: a whole statement),
//! `limit memory|threads` (the process is about to end for it),
//! `end I ok|failed|asserted REACHED LINE COLUMN HEX` (1 when a counted assertion was reached, or, in wrong-value mode, a wrong
//! value returned, 2 when one of those was a `None` or `Err`; where and with which words it panicked), `said FUNCTION ALTERED GIVEN HEX`
//! (what a function answered in the test whose end follows, `Said` of the gate; `!`: it panicked), `reached SITE` (the number
//! of an assertion that counts), `done`.
//!
//! Not guarded against: `unsafe` code that searches memory for the nonce (the judge refuses what that takes).
#![feature(staged_api, test, rustc_attrs, alloc_error_hook)]
#![unstable(feature = "test", issue = "none")]
#![allow(internal_features)]

extern crate judge_gate;
extern crate real;

use judge_gate::{Said, FIRST_ALONE, FIRST_WRONG, HAS_FALLEN, IS_MISSING, IS_REACHED, MODE, N_CALLS, N_CALLS_FIRST, REPORT, RUNNING, SAID, SAME_INPUTS, SITES, WRONG_VALUES};
use std::alloc::set_alloc_error_hook;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::ffi::c_long;
use std::os::fd::FromRawFd;
use std::panic::{catch_unwind, set_hook, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, AtomicU8, Ordering};
use std::sync::OnceLock;

#[unstable(feature = "test", issue = "none")]
pub use real::*;

/// Bytes of a panic's message that are reported.
const MESSAGE_BYTES: usize = 600;
/// How the functions end that run a `main` or a list of statements: they get the stack that a `main` has.
const STATEMENTS: &str = "::all_statements";
const MAIN_STACK_BYTES: usize = 8 << 20;
const F_SETFD: i32 = 2;
const FD_CLOEXEC: i32 = 1;
const PAGE_BYTES: usize = 4096;
const PROT_READ_WRITE: i32 = 3;
const MAP_SHARED: i32 = 1;
const ITIMER_PROF: i32 = 2; // CPU time of all threads; SIGPROF ends the process

extern "C" {
    fn fcntl(fd: i32, command: i32, ...) -> i32;
    fn dup2(from: i32, to: i32) -> i32;
    fn close(fd: i32) -> i32;
    fn mmap(address: *mut u8, length: usize, protection: i32, flags: i32, fd: i32, offset: i64) -> *mut u8;
    fn setitimer(which: i32, new: *const [[c_long; 2]; 2], old: *mut [[c_long; 2]; 2]) -> i32;
}

thread_local! {
    /// Line, column and message of the last panic of this thread.
    static LAST_PANIC: RefCell<Option<((u32, u32), String)>> = const { RefCell::new(None) };
}

/// What the judge sent: one line each for the nonce, the mode, the tests to run (`all`, or ascending indices) and the sites to
/// leave out (`LINE:COLUMN`), of which the gate is told.
struct Order {
    nonce: String,
    modes: Vec<u8>, // of the gates: every test runs in each
    runs_ignored: bool,
    wanted: Option<Vec<usize>>,
}

fn read_order(order_fd: i32) -> Order {
    let mut text = String::new();
    unsafe { File::from_raw_fd(order_fd) }.read_to_string(&mut text).expect("order");
    let mut lines = text.lines();
    let nonce = lines.next().expect("nonce").to_string();
    let (mode, only_mode) = lines.next().expect("mode").split_once('+').expect("mode");
    let modes = match mode {
        "run" | "ignored_too" => vec![0],
        "stub" => vec![1],
        "other" => (SAME_INPUTS..FIRST_ALONE).collect(),
        _ if mode.starts_with("alone ") => {
            let n_functions: u8 = mode[6..].parse().expect("functions");
            (FIRST_ALONE..FIRST_ALONE + WRONG_VALUES * n_functions).collect()
        }
        _ => (FIRST_WRONG..SAME_INPUTS).collect(),
    };
    let modes = match only_mode { "" => modes, n => vec![modes[n.parse::<usize>().expect("number")]] };
    let wanted = match lines.next().expect("tests") {
        "all" => None,
        some => Some(some.split_whitespace().map(|index| index.parse().expect("index")).collect()),
    };
    for site in lines.next().expect("sites").split_whitespace() {
        let (line, column) = site.split_once(':').expect("site");
        judge_gate::skip((line.parse().expect("line"), column.parse().expect("column")));
    }
    Order { nonce, modes, runs_ignored: mode == "ignored_too", wanted }
}

/// How one test ended, in the words of an `end` line.
struct End {
    status: &'static str,
    place: (u32, u32), // line and column
    message: String,
}

const OK: End = End { status: "ok", place: (0, 0), message: String::new() };

fn failed(status: &'static str, place: (u32, u32), message: &str) -> End {
    End { status, place, message: message.to_string() }
}

/// Lets the gate say what becomes of assertions, and which is being evaluated.
fn listen_to_sites(nonce: &str, report: &File, page_fd: i32) {
    let page = unsafe { mmap(std::ptr::null_mut(), PAGE_BYTES, PROT_READ_WRITE, MAP_SHARED, page_fd, 0) };
    assert!(page as isize != -1, "page");
    unsafe { close(page_fd) };
    let _ = RUNNING.set(unsafe { &*(page as *const AtomicU64) });
    let (nonce, report) = (nonce.to_string(), report.try_clone().expect("report"));
    let _ = REPORT.set(Box::new(move |(line, column), what, message| {
        let ((panic_line, _), text) = match what {
            "fell" => LAST_PANIC.with(|last| last.borrow().clone()).unwrap_or_default(),
            _ => ((line, column), message.to_string()),
        };
        let said = format!("{nonce} site {line} {column} {what} {panic_line} {}\n", hex(&text));
        (&report).write_all(said.as_bytes()).expect("report");
    }));
}

/// What is said, and to whom, when no memory is left, or no thread: made while there is some.
static AT_A_LIMIT: OnceLock<([(&str, String); 2], File)> = OnceLock::new();

fn name_limits(nonce: &str, report: &File) {
    let said = ["memory", "threads"].map(|what| (what, format!("{nonce} limit {what}\n")));
    let _ = AT_A_LIMIT.set((said, report.try_clone().expect("report")));
    set_alloc_error_hook(|_| say_limit("memory"));
}

fn say_limit(what: &str) {
    if let Some((said, mut report)) = AT_A_LIMIT.get().map(|(said, report)| (said, report)) {
        for (_, text) in said.iter().filter(|(name, _)| *name == what) {
            let _ = report.write_all(text.as_bytes());
        }
    }
}

/// The number of the next thread that asks for hash keys, counted from one that the test has of its own.
static NEXT_KEYS: AtomicU8 = AtomicU8::new(0);

/// In place of libc's, which the standard library asks once in a thread, for the keys of its hash collections: they differ between
/// threads, as they do elsewhere, and are the same in every process.
#[no_mangle]
pub unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    buffer.write_bytes(NEXT_KEYS.fetch_add(1, Ordering::Relaxed), length);
    length as isize
}

/// Runs one test, and again as long as a panic leaves one more of its recorded assertions, which is then left out.
fn settled(test: &TestDescAndFn) -> End {
    loop {
        HAS_FALLEN.store(false, Ordering::Relaxed);
        let end = outcome(test);
        if end.status == "ok" || !HAS_FALLEN.load(Ordering::Relaxed) {
            return end;
        }
    }
}

/// Runs one test in a thread of its own, named as libtest names it, and says how it ended.
fn outcome(test: &TestDescAndFn) -> End {
    let StaticTestFn(run) = test.testfn else { return failed("failed", (0, 0), "no plain test") };
    let should_panic = test.desc.should_panic;
    let mut builder = std::thread::Builder::new().name(test.desc.name.to_string());
    if test.desc.name.as_slice().ends_with(STATEMENTS) {
        builder = builder.stack_size(MAIN_STACK_BYTES);
    }
    let thread = builder.spawn(move || match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) if should_panic == ShouldPanic::No => OK,
        Ok(Ok(())) => failed("asserted", (0, 0), "test did not panic as expected"),
        Ok(Err(message)) => failed("asserted", (0, 0), &message),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&'static str>().copied()).map(str::to_string);
            std::mem::forget(payload); // its Drop is the program's code
            let (place, message) = LAST_PANIC.with(|last| last.borrow_mut().take()).unwrap_or(((0, 0), text.clone().unwrap_or_default()));
            match should_panic {
                ShouldPanic::Yes => OK,
                ShouldPanic::YesWithMessage(part) if text.is_some_and(|text| text.contains(part)) => OK,
                _ => failed("failed", place, &message),
            }
        }
    });
    match thread.map(|thread| thread.join()) {
        Ok(Ok(end)) => end,
        Ok(Err(_)) => failed("failed", (0, 0), "the test's thread could not be run"),
        Err(_) => {
            say_limit("threads"); // those before it left theirs behind: it goes on in another process
            std::process::abort()
        }
    }
}

fn hex(text: &str) -> String {
    text.bytes().take(MESSAGE_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

fn remember_panics() {
    set_hook(Box::new(|info| {
        let place = info.location().map_or((0, 0), |place| (place.line(), place.column()));
        let payload = info.payload(); // `payload_as_str` is stable from Rust 1.91 on
        let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = text.unwrap_or("").chars().take(MESSAGE_BYTES).collect();
        LAST_PANIC.with(|last| *last.borrow_mut() = Some((place, message)));
    }));
}

/// Entry point that `rustc --test` generates a call of. Returns normally whatever the tests did. Arguments: descriptors
/// for the order, the results, what programs print, and the page; then the CPU time in microseconds, finer than the kernel's
/// limit.
#[unstable(feature = "test", issue = "none")]
pub fn test_main_static(tests: &[&TestDescAndFn]) {
    let numbers: Vec<c_long> = std::env::args().skip(1).map(|number| number.parse().expect("number")).collect();
    let fds: Vec<i32> = numbers[..4].iter().map(|fd| *fd as i32).collect();
    let once = [[0, 0], [numbers[4] / 1_000_000, numbers[4] % 1_000_000]];
    unsafe { setitimer(ITIMER_PROF, &once, std::ptr::null_mut()) };
    unsafe { fcntl(fds[1], F_SETFD, FD_CLOEXEC) };
    for stream in [1, 2] {
        unsafe { dup2(fds[2], stream) }; // what programs print is theirs: as much as they like, and nobody reads it
    }
    let mut report = unsafe { File::from_raw_fd(fds[1]) };
    let Order { nonce, modes, runs_ignored, wanted } = read_order(fds[0]);
    listen_to_sites(&nonce, &report, fds[3]);
    name_limits(&nonce, &report);
    remember_panics();
    let mut lines = String::new(); // what is to be said before the next test runs
    let is_wanted = |index: usize| wanted.as_ref().is_none_or(|wanted| wanted.binary_search(&index).is_ok());
    let is_ignored = |test: &TestDescAndFn| test.desc.ignore && !runs_ignored;
    for (index, test) in tests.iter().enumerate() {
        let ignored = if is_ignored(test) { "ignored" } else { "run" };
        let panics = if test.desc.should_panic == ShouldPanic::No { "plain" } else { "should_panic" };
        lines += &format!("{nonce} test {index} {ignored} {panics} {}\n", test.desc.name);
    }
    let mut first_calls = BTreeMap::new(); // by test: how often it asked functions the first time
    let chosen = tests.iter().enumerate().filter(|(index, test)| !is_ignored(test) && is_wanted(*index));
    for (mode, (index, test)) in modes.iter().flat_map(|mode| chosen.clone().map(move |test| (*mode, test))) {
        lines += &format!("{nonce} start {index}\n");
        report.write_all(lines.as_bytes()).expect("report");
        IS_REACHED.store(false, Ordering::Relaxed);
        IS_MISSING.store(false, Ordering::Relaxed);
        MODE.store(mode, Ordering::Relaxed);
        NEXT_KEYS.store((37 * index + 1) as u8, Ordering::Relaxed); // room for 36 threads before the next test's
        N_CALLS.store(0, Ordering::Relaxed);
        N_CALLS_FIRST.store(first_calls.get(&index).copied().unwrap_or(0), Ordering::Relaxed);
        lines.clear();
        let End { status, place: (line, column), message } = settled(test);
        first_calls.entry(index).or_insert(N_CALLS.load(Ordering::Relaxed));
        let reached = IS_REACHED.load(Ordering::Relaxed) as u8 * (1 + IS_MISSING.load(Ordering::Relaxed) as u8);
        for Said { function, is_altered, given, answer } in std::mem::take(&mut *SAID.lock().unwrap_or_else(|lost| lost.into_inner())) {
            let text = answer.map_or("!".to_string(), |answer| hex(&answer));
            lines += &format!("{nonce} said {function} {} {given} {text}\n", is_altered as u8);
        }
        lines += &format!("{nonce} end {index} {status} {reached} {line} {column} {}\n", hex(&message));
    }
    for site in (0..SITES.len()).filter(|site| SITES[*site].load(Ordering::Relaxed)) {
        lines += &format!("{nonce} reached {site}\n");
    }
    lines += &format!("{nonce} done\n");
    report.write_all(lines.as_bytes()).expect("report");
}
