//! What the judge puts into programs: a gate in the functions under test, a mark at the assertions that count.
//!
//! Linked into the harness (`judge_harness.rs`), which sets the switches; programs call the functions.
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by the harness for a whole process: every function under test panics.
pub static STUB_IS_ON: AtomicBool = AtomicBool::new(false);
/// Set by `mark`, cleared by the harness before each test.
pub static IS_REACHED: AtomicBool = AtomicBool::new(false);

/// First statement of every function under test.
#[inline(never)]
pub fn gate() {
    if STUB_IS_ON.load(Ordering::Relaxed) {
        panic!("stubbed by the judge");
    }
}

/// Stands in front of every assertion that counts: the test got that far.
#[inline(never)]
pub fn mark() {
    IS_REACHED.store(true, Ordering::Relaxed);
}
