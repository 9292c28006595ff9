//! What the judge puts into programs: a gate in the functions under test, a mark at the assertions that count; and the
//! assert macros of hidden tests that are statements.
//!
//! Linked into the harness (`judge/harness.rs`), which sets the switches; programs call the functions. In stub mode a
//! gate panics. In wrong-value mode it makes its function return a constant of its return type at once: a test that
//! passes whatever the functions return checks nothing. Types that no constant is known for are left alone; programs
//! get an `impl Wrong` for their own structs and enums from `rust_tool.py`.
use std::any::type_name;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt::{Arguments, Debug};
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicU8, Ordering};
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64, NonZeroU8, NonZeroUsize};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// What gates do: 0 nothing, 1 panic, FIRST_WRONG + k return the k-th wrong value.
pub static MODE: AtomicU8 = AtomicU8::new(0);
pub const FIRST_WRONG: u8 = 2;
pub const WRONG_VALUES: u8 = 4;
/// FIRST_SPARING + k: the same, but for functions that return `bool` or `Ordering`: a program's own comparison must not hide the rest.
pub const FIRST_SPARING: u8 = FIRST_WRONG + WRONG_VALUES;
/// FIRST_OTHER + k: the outermost call of a function that has inputs is answered for the k-th other ones.
pub const FIRST_OTHER: u8 = FIRST_SPARING + WRONG_VALUES;
pub const OTHER_INPUTS: u8 = 4;
/// The same with its own inputs, for comparison.
pub const SAME_INPUTS: u8 = FIRST_OTHER + OTHER_INPUTS;
/// How deep values of a program's own types hold others of them.
const MAX_NESTING: u8 = 3;
/// Set by `mark`, and by gates that returned a wrong value; cleared by the harness before each test.
pub static IS_REACHED: AtomicBool = AtomicBool::new(false);
/// Set where a wrong value was `None` or `Err`; cleared by the harness before each test.
pub static IS_MISSING: AtomicBool = AtomicBool::new(false);

thread_local! {
    static NESTING: Cell<u8> = const { Cell::new(0) };
}

/// First statement of functions that return nothing, or nothing that can be named: whether to return at once.
#[inline(never)]
pub fn gate() -> bool {
    match MODE.load(Ordering::Relaxed) {
        0 => false,
        1 => panic!("stubbed by the judge"),
        FIRST_OTHER.. => false,
        _ => {
            IS_REACHED.store(true, Ordering::Relaxed);
            true
        }
    }
}

/// The gate of functions whose return type is unknown here.
#[inline(never)]
pub fn stub() {
    if MODE.load(Ordering::Relaxed) == 1 {
        panic!("stubbed by the judge");
    }
}

/// Stands in front of every assertion that counts: the test got that far.
#[inline(never)]
pub fn mark() {
    if MODE.load(Ordering::Relaxed) == 0 {
        IS_REACHED.store(true, Ordering::Relaxed);
    }
}

/// The gate of a function that returns `T`: `Gate::<T>::NEW.value()`, by the method below when `T` is `Wrong`, else by
/// `Unknown`'s (inherent methods come first where their bounds hold).
pub struct Gate<T>(PhantomData<fn() -> T>);

impl<T> Gate<T> {
    pub const NEW: Self = Gate(PhantomData);
}

impl<T: Wrong> Gate<T> {
    #[inline(never)]
    pub fn value(&self) -> Option<T> {
        match MODE.load(Ordering::Relaxed) {
            0 => None,
            1 => panic!("stubbed by the judge"),
            FIRST_OTHER.. => None,
            FIRST_SPARING.. if matches!(type_name::<T>(), "bool" | "core::cmp::Ordering") => None,
            mode => {
                let value = T::wrong((mode - FIRST_WRONG) % WRONG_VALUES)?;
                IS_REACHED.store(true, Ordering::Relaxed);
                Some(value)
            }
        }
    }

    /// The k-th wrong value, for a part of another; numbers beyond the last start again.
    pub fn part(&self, k: u8) -> Option<T> {
        let depth = NESTING.get();
        NESTING.set(depth + 1);
        let value = if depth < MAX_NESTING { T::wrong(k % WRONG_VALUES) } else { None };
        NESTING.set(depth);
        value
    }
}

pub trait Unknown<T> {
    fn value(&self) -> Option<T>;
    fn part(&self, k: u8) -> Option<T>;
}

impl<T> Unknown<T> for Gate<T> {
    fn value(&self) -> Option<T> {
        stub();
        None
    }

    fn part(&self, _k: u8) -> Option<T> {
        None
    }
}

/// A type with constants that a test's expectation cannot all equal; None where one of its parts is no such type.
pub trait Wrong: Sized {
    fn wrong(k: u8) -> Option<Self>;
}

macro_rules! wrong_values {
    ($($type:ty: $first:expr, $second:expr, $third:expr, $fourth:expr;)*) => { $(impl Wrong for $type {
        fn wrong(k: u8) -> Option<Self> { Some(match k { 0 => $first, 1 => $second, 2 => $third, _ => $fourth }) }
    })* };
}

// Millions, not billions: a test may count up to them.
wrong_values! {
    i8: 0, 113, -99, 1; i16: 0, 113, -29_989, 1; i32: 0, 113, -2_000_003, 1; i64: 0, 113, -2_000_003, 1;
    i128: 0, 113, -2_000_003, 1; isize: 0, 113, -2_000_003, 1;
    u8: 0, 113, 251, 1; u16: 0, 113, 65_003, 1; u32: 0, 113, 4_000_037, 1; u64: 0, 113, 4_000_037, 1;
    u128: 0, 113, 4_000_037, 1; usize: 0, 113, 4_000_037, 1;
    f32: 0.0, -7777.25, 1.0e9, 1.0; f64: 0.0, -7777.25, 1.0e9, 1.0;
    bool: false, true, false, true; char: '\u{1}', '~', '\u{3b6}', 'a';
    String: String::new(), "~wrong~".to_string(), "\u{3b6} wrong".to_string(), "0\nA".to_string();
    &str: "", "~wrong~", "\u{3b6} wrong", "0\nA";
    Box<dyn std::error::Error>: "".into(), "~wrong~".into(), "wrong".into(), "0".into();
    std::num::ParseIntError: "".parse::<i32>().unwrap_err(), "x".parse::<i32>().unwrap_err(), "999".parse::<u8>().unwrap_err(),
        "-999".parse::<i8>().unwrap_err();
    Duration: Duration::ZERO, Duration::from_millis(113_007), Duration::from_nanos(1), Duration::from_secs(4_000_037);
    std::cmp::Ordering: std::cmp::Ordering::Equal, std::cmp::Ordering::Less, std::cmp::Ordering::Greater,
        std::cmp::Ordering::Equal;
}

macro_rules! non_zero {
    ($($type:ty)*) => { $(
        impl Wrong for $type {
            fn wrong(k: u8) -> Option<Self> {
                Self::new(match k { 0 => 1, 1 => 113, 2 => 251, _ => 2 })
            }
        }
        impl Other for $type {
            fn other(self, k: u8) -> Self {
                Self::new(self.get().other(k)).unwrap_or(self)
            }
        }
    )* };
}

non_zero! { NonZeroU8 NonZeroU16 NonZeroU32 NonZeroU64 NonZeroUsize }

impl<T> Wrong for &[T] {
    fn wrong(_: u8) -> Option<Self> {
        Some(&[])
    }
}

/// Empty, one, four different ones, two equal ones.
impl<T: Wrong> Wrong for Vec<T> {
    fn wrong(k: u8) -> Option<Self> {
        let kinds: &[u8] = match k { 0 => &[], 1 => &[1], 2 => &[2, 0, 1, 3], _ => &[0, 0] };
        kinds.iter().map(|kind| T::wrong(*kind)).collect()
    }
}

impl<T: Wrong> Wrong for Option<T> {
    fn wrong(k: u8) -> Option<Self> {
        if k == 0 {
            IS_MISSING.store(true, Ordering::Relaxed);
            return Some(None);
        }
        Some(Some(T::wrong(k)?))
    }
}

/// Both variants or none: a test that only asks for `is_ok` is met by every `Ok`.
impl<T: Wrong, E: Wrong> Wrong for Result<T, E> {
    fn wrong(k: u8) -> Option<Self> {
        if k == 0 {
            IS_MISSING.store(true, Ordering::Relaxed);
            return Some(Err(E::wrong(k)?));
        }
        Some(Ok(T::wrong(k)?))
    }
}

impl<T: Wrong> Wrong for Box<T> {
    fn wrong(k: u8) -> Option<Self> {
        Some(Box::new(T::wrong(k)?))
    }
}

impl<T: Wrong, const N: usize> Wrong for [T; N] {
    fn wrong(k: u8) -> Option<Self> {
        let values: Option<Vec<T>> = (0..N).map(|i| T::wrong(((k as usize + i) % WRONG_VALUES as usize) as u8)).collect();
        values?.try_into().ok()
    }
}

/// Empty, then as many entries as differ.
macro_rules! wrong_collections {
    ($($type:ident<$($item:ident: $bound:ident),*>;)*) => { $(
        impl<$($item: Wrong + $bound),*> Wrong for $type<$($item),*> {
            fn wrong(k: u8) -> Option<Self> {
                (0..k).map(|i| Wrong::wrong((k + i) % WRONG_VALUES)).collect()
            }
        }
    )* };
}

trait Any {}
impl<T> Any for T {}
trait Key: Hash + Eq {}
impl<T: Hash + Eq> Key for T {}

wrong_collections! { VecDeque<T: Any>; HashSet<T: Key>; BTreeSet<T: Ord>; HashMap<K: Key, V: Any>; BTreeMap<K: Ord, V: Any>; }

macro_rules! wrong_tuples {
    ($(($($item:ident),*);)*) => { $(impl<$($item: Wrong),*> Wrong for ($($item,)*) {
        fn wrong(k: u8) -> Option<Self> {
            let mut at = k;
            Some(($({ at += 1; $item::wrong((at - 1) % WRONG_VALUES)? },)*))
        }
    })* };
}

wrong_tuples! { (A); (A, B); (A, B, C); (A, B, C, D); (A, B, C, D, E); (A, B, C, D, E, F); }

// -- Other inputs than the test's ---------------------------------------------------------------------------------------

thread_local! {
    /// Whether the outermost call of this thread is being answered for other inputs.
    static IS_ASKING: Cell<bool> = const { Cell::new(false) };
    static ASKED: Cell<&'static str> = const { Cell::new("") };
    /// Whether there was no other value: a list that is empty.
    static IS_SAME: Cell<bool> = const { Cell::new(false) };
}

/// Whether to call the function once more, with `Input::other` of what it got, and return its answer.
#[inline(never)]
pub fn asks(function: &'static str) -> bool {
    if MODE.load(Ordering::Relaxed) < FIRST_OTHER || IS_ASKING.replace(true) {
        return false;
    }
    ASKED.set(function);
    answers(function, |list| list.push(String::new()));
    true
}

/// Functions that got another input than the test's.
static ALTERED: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());

/// What functions answered, by mode, as far as it can be shown; one that panicked did not.
pub static ANSWERS: Mutex<BTreeMap<&str, BTreeMap<u8, Vec<String>>>> = Mutex::new(BTreeMap::new());

fn answers<T>(function: &'static str, change: impl FnOnce(&mut Vec<String>) -> T) -> T {
    let mut all = ANSWERS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    change(all.entry(function).or_default().entry(MODE.load(Ordering::Relaxed)).or_default())
}

/// Answers that most inputs may have in common.
const NOTHING: [&str; 4] = ["false", "true", "0", "None"];

/// Of a function that was asked for other inputs.
pub struct Moved {
    pub function: &'static str,
    pub calls: usize,
    pub distinct: usize, // answers
    pub is_moved: bool, // they are not always those to the test's inputs, or these are nothing to speak of
    pub is_strange: bool, // none of them is one of those
}

pub fn moved() -> Vec<Moved> {
    let all = ANSWERS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let altered = ALTERED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let asked = all.iter().filter(|(function, _)| altered.contains(*function));
    let summary = asked.map(|(function, modes)| {
        let own = modes.get(&SAME_INPUTS).map_or(&[][..], |own| own);
        let others: Vec<_> = modes.iter().filter(|(mode, _)| **mode != SAME_INPUTS).map(|(_, answers)| answers).collect();
        let distinct: BTreeSet<_> = others.iter().copied().flatten().filter(|answer| !answer.is_empty()).collect();
        Moved {
            function,
            calls: others.iter().map(|answers| answers.len()).sum(),
            distinct: distinct.len(),
            is_moved: own.iter().all(|answer| NOTHING.contains(&&answer[..])) || others.iter().any(|answers| answers[..] != *own),
            is_strange: !own.iter().any(|answer| distinct.contains(answer)),
        }
    });
    summary.collect()
}

/// The answer of such a call: `Answer(value).of(function)`, by the method below when it can be shown, else by `Hidden`'s.
pub struct Answer<T>(pub T);

fn keep(function: &'static str, shown: String) {
    IS_ASKING.set(false);
    answers(function, |list| list.pop().map(|_| list.push(shown)));
}

impl<T: Debug> Answer<T> {
    #[inline(never)]
    pub fn of(self, function: &'static str) -> T {
        keep(function, format!("{:?}", self.0));
        self.0
    }
}

pub trait Hidden<T> {
    fn of(self, function: &'static str) -> T;
}

impl<T> Hidden<T> for Answer<T> {
    fn of(self, function: &'static str) -> T {
        IS_ASKING.set(false);
        ANSWERS.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).remove(function);
        self.0
    }
}

/// An argument: `Input(x).other(position)`, by the method below when another value of its type is known, else by `Same`'s.
pub struct Input<T>(pub T);

impl<T: Other> Input<T> {
    #[inline(never)]
    pub fn other(self, position: u8) -> T {
        let mode = MODE.load(Ordering::Relaxed);
        if mode == SAME_INPUTS {
            return self.0;
        }
        IS_SAME.set(false);
        let other = self.0.other((mode - FIRST_OTHER + position) % OTHER_INPUTS);
        if !IS_SAME.get() {
            IS_REACHED.store(true, Ordering::Relaxed);
            ALTERED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(ASKED.get());
        }
        other
    }
}

pub trait Same<T> {
    fn other(self, position: u8) -> T;
}

impl<T> Same<T> for Input<T> {
    fn other(self, _: u8) -> T {
        self.0
    }
}

/// A type with values near a given one.
pub trait Other: Sized {
    fn other(self, k: u8) -> Self;
}

macro_rules! other_integers {
    ($($type:ty)*) => { $(impl Other for $type {
        fn other(self, k: u8) -> Self {
            match k {
                0 => self.checked_add(1).unwrap_or(self / 2),
                1 => if self > 1 { self - 1 } else { self.saturating_add(3) },
                2 if <$type>::MIN != 0 => !self, // -1 - x
                2 => self / 2 + 2,
                _ => self.checked_mul(3).and_then(|thrice| thrice.checked_add(2)).unwrap_or(self / 3), // even where it was
            }
        }
    })* };
}

other_integers! { i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize }

macro_rules! others {
    ($($type:ty: |$value:ident, $k:ident| $other:expr;)*) => { $(impl Other for $type {
        fn other(self, $k: u8) -> Self {
            let $value = self;
            $other
        }
    })* };
}

others! {
    f32: |x, k| match k { 0 => x + 1.5, 1 => x - 1.25, 2 => x / 2.0 + 3.0, _ => x * 2.0 + 1.0 };
    f64: |x, k| match k { 0 => x + 1.5, 1 => x - 1.25, 2 => x / 2.0 + 3.0, _ => x * 2.0 + 1.0 };
    bool: |x, k| x ^ (k < 3);
    Duration: |x, k| match k { 0 => x + Duration::from_secs(1), 1 => x / 2, 2 => x * 3 + Duration::from_millis(7), _ => Duration::ZERO };
    char: |x, k| char::from_u32(x as u32 + 1 + k as u32).unwrap_or('?');
    String: |x, k| match k {
        0 => format!("{x}q"),
        1 => x.chars().skip(1).collect(),
        2 => x.chars().take(x.chars().count() / 2).chain(['z', '7']).collect(),
        _ => String::new(),
    };
    &str: |x, k| Box::leak(x.to_string().other(k).into_boxed_str());
}

/// Bounds of the part that is left of a list.
fn part(len: usize, k: u8) -> std::ops::Range<usize> {
    IS_SAME.set(len == 0);
    match k { 0 => 0..len.saturating_sub(1), 1 => len.min(1)..len, 2 => 0..len / 2, _ => 0..0 }
}

impl<T> Other for &[T] {
    fn other(self, k: u8) -> Self {
        &self[part(self.len(), k)]
    }
}

impl<T> Other for &mut [T] {
    fn other(self, k: u8) -> Self {
        let part = part(self.len(), k);
        &mut self[part]
    }
}

impl<T> Other for Vec<T> {
    fn other(self, k: u8) -> Self {
        let part = part(self.len(), k);
        self.into_iter().skip(part.start).take(part.len()).collect()
    }
}

/// A list that is borrowed as `&Vec`, which may not be asked to clone what it holds: a view that is never dropped.
pub fn other_vec<T>(list: &[T], position: u8) -> &Vec<T> {
    let part = Input(list).other(position);
    let view = unsafe { Vec::from_raw_parts(part.as_ptr().cast_mut(), part.len(), part.len()) };
    Box::leak(Box::new(view))
}

pub fn other_string(text: &str, position: u8) -> &String {
    Box::leak(Box::new(Input(text.to_string()).other(position)))
}

impl<T: Other + Clone> Other for &T {
    fn other(self, k: u8) -> Self {
        Box::leak(Box::new(self.clone().other(k)))
    }
}

impl<T: Other> Other for Option<T> {
    fn other(self, k: u8) -> Self {
        self.filter(|_| k != 3).map(|value| value.other(k))
    }
}

impl<T: Other> Other for Box<T> {
    fn other(self, k: u8) -> Self {
        Box::new((*self).other(k))
    }
}

impl<T, const N: usize> Other for [T; N] {
    fn other(mut self, k: u8) -> Self {
        if k % 2 == 0 { self.reverse() } else { self.rotate_left(N.min(1)) }
        self
    }
}

macro_rules! other_tuples {
    ($(($($item:ident $at:tt),*);)*) => { $(impl<$($item: Other),*> Other for ($($item,)*) {
        fn other(self, k: u8) -> Self {
            ($(self.$at.other((k + $at) % OTHER_INPUTS),)*)
        }
    })* };
}

other_tuples! { (A 0); (A 0, B 1); (A 0, B 1, C 2); (A 0, B 1, C 2, D 3); }

/// Never called: compiled here, the instances for common types are none of a program's (rustc shares them at this level).
pub fn instances() -> usize {
    let mut sum = 0;
    macro_rules! with_gates {
        ($($type:ty),*) => { $(
            sum += Gate::<$type>::value as fn(&Gate<$type>) -> Option<$type> as usize;
            sum += Answer::<$type>::of as fn(Answer<$type>, &'static str) -> $type as usize;
        )* };
    }
    macro_rules! with_inputs {
        ($($type:ty),*) => { $(sum += Input::<$type>::other as fn(Input<$type>, u8) -> $type as usize;)* };
    }
    with_gates!(i32, i64, u8, u32, u64, usize, f64, bool, char, String, &'static str, Vec<i32>, Vec<i64>, Vec<u32>, Vec<u64>, Vec<usize>);
    with_gates!(Vec<f64>, Vec<String>, Vec<char>, Vec<Vec<i32>>, Option<i32>, Option<usize>, Option<String>, Option<char>, (i32, i32));
    with_gates!(Option<i64>, Option<u32>, Option<u64>, Result<i32, String>, Result<f64, String>, Result<(), String>, Vec<&'static str>);
    with_inputs!(i32, i64, u8, u32, u64, usize, f64, bool, char, String, &'static str, Vec<i32>, Vec<i64>, Vec<u32>, Vec<u64>, Vec<usize>);
    with_inputs!(Vec<f64>, Vec<String>, Vec<char>, Vec<Vec<i32>>, Option<i32>, &'static [i32], &'static [i64], &'static [u32]);
    with_inputs!(&'static [u64], &'static [usize], &'static [f64], &'static [String], &'static [char], &'static [&'static str]);
    with_inputs!(&'static mut [i32], Vec<&'static str>);
    sum
}

// -- Hidden tests that are statements: assertions that are recorded, and go on -----------------------------------------

pub use std::option::Option::{None, Some};
pub use std::{column, format_args, line, stringify};

/// Line and column of an assertion in the source; column 0: the number of a statement that can be left out as a whole.
pub type Site = (u32, u32);

#[derive(Default)]
struct Record {
    has_held: bool,
    has_failed: bool,
    is_skipped: bool,
}

static RECORDS: Mutex<BTreeMap<Site, Record>> = Mutex::new(BTreeMap::new());
/// Where the site that is being evaluated is written, line above column, 0 for none: it outlives the process.
pub static RUNNING: OnceLock<&AtomicU64> = OnceLock::new();
/// How the harness passes on what became of a site ("held", "failed", "fell": a panic left it), and in which words.
pub static REPORT: OnceLock<Box<dyn Fn(Site, &str, &str) + Send + Sync>> = OnceLock::new();
/// Set when a panic left a site that did so for the first time; the harness then runs the statements again without it.
pub static HAS_FALLEN: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether the panic that unwinds this thread has been put to a site: the innermost.
    static IS_BLAMED: Cell<bool> = const { Cell::new(false) };
}

/// A site that is being evaluated.
pub struct Evaluation {
    site: Site,
    outer: u64,
    has_failed: Cell<bool>,
}

fn record<T>(site: Site, change: impl FnOnce(&mut Record) -> T) -> T {
    change(RECORDS.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).entry(site).or_default())
}

fn report(site: Site, what: &str, message: &str) {
    if let Some(report) = REPORT.get() {
        report(site, what, message);
    }
}

fn set_running(site: u64) -> u64 {
    RUNNING.get().map_or(0, |running| running.swap(site, Ordering::Relaxed))
}

/// Leave a site out from now on.
pub fn skip(site: Site) {
    record(site, |found| found.is_skipped = true);
}

/// Before a site is evaluated; None when it is to be left out.
pub fn begin(line: u32, column: u32) -> Option<Evaluation> {
    if record((line, column), |found| found.is_skipped) {
        return None;
    }
    IS_BLAMED.set(false);
    let outer = set_running((line as u64) << 32 | column as u64);
    Some(Evaluation { site: (line, column), outer, has_failed: Cell::new(false) })
}

impl Evaluation {
    /// The assertion does not hold. Settled before the message is made, which may run the program's code.
    pub fn fail(&self, message: Arguments<'_>) {
        self.has_failed.set(true);
        if !record(self.site, |found| std::mem::replace(&mut found.has_failed, true)) {
            report(self.site, "failed", "");
            report(self.site, "failed", &message.to_string());
        }
    }

    pub fn differ<L: Debug + ?Sized, R: Debug + ?Sized>(&self, operator: &str, left: &L, right: &R, message: Arguments<'_>) {
        let colon = if message.as_str() == Some("") { "" } else { ": " };
        self.fail(format_args!("assertion `left {operator} right` failed{colon}{message}\n  left: {left:?}\n right: {right:?}"));
    }

    /// All of it, with what its temporaries do when they go, came to its end.
    pub fn close(self) {
        if !self.has_failed.get() && !record(self.site, |found| std::mem::replace(&mut found.has_held, true)) {
            report(self.site, "held", "");
        }
    }
}

impl Drop for Evaluation {
    fn drop(&mut self) {
        set_running(self.outer);
        if std::thread::panicking() && !IS_BLAMED.replace(true) {
            skip(self.site);
            HAS_FALLEN.store(true, Ordering::Relaxed);
            report(self.site, "fell", "");
        }
    }
}

/// `assert!` that is recorded; the others likewise. Conditions and messages are as std has them. Nothing is called as a method:
/// a trait of the program may have one of the same name.
#[macro_export]
macro_rules! record_assert {
    ($condition:expr $(,)?) => { $crate::record_assert!($condition, "assertion failed: {}", $crate::stringify!($condition)) };
    ($condition:expr, $($message:tt)+) => {
        match $crate::begin($crate::line!(), $crate::column!()) {
            $crate::None => {}
            $crate::Some(evaluation) => {
                if !$condition { $crate::Evaluation::fail(&evaluation, $crate::format_args!($($message)+)); }
                $crate::Evaluation::close(evaluation);
            }
        }
    };
}

#[macro_export]
macro_rules! record_assert_eq {
    ($left:expr, $right:expr $(,)?) => { $crate::record_comparison!(==, $left, $right, "") };
    ($left:expr, $right:expr, $($message:tt)+) => { $crate::record_comparison!(==, $left, $right, $($message)+) };
}

#[macro_export]
macro_rules! record_assert_ne {
    ($left:expr, $right:expr $(,)?) => { $crate::record_comparison!(!=, $left, $right, "") };
    ($left:expr, $right:expr, $($message:tt)+) => { $crate::record_comparison!(!=, $left, $right, $($message)+) };
}

#[macro_export]
macro_rules! record_comparison {
    ($operator:tt, $left:expr, $right:expr, $($message:tt)+) => {
        match $crate::begin($crate::line!(), $crate::column!()) {
            $crate::None => {}
            $crate::Some(evaluation) => {
                match (&$left, &$right) {
                    (left, right) => if !(*left $operator *right) {
                        let operator = $crate::stringify!($operator);
                        $crate::Evaluation::differ(&evaluation, operator, left, right, $crate::format_args!($($message)+));
                    }
                };
                $crate::Evaluation::close(evaluation);
            }
        }
    };
}
