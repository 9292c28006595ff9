//! What the judge puts into programs: a gate in the functions under test, a mark at the assertions that count.
//!
//! Linked into the harness (`judge_harness.rs`), which sets the switches; programs call the functions. In stub mode a
//! gate panics. In wrong-value mode it makes its function return a constant of its return type at once: a test that
//! passes whatever the functions return checks nothing. Types that no constant is known for are left alone.
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// What gates do: 0 nothing, 1 panic, FIRST_WRONG + k return the k-th wrong value.
pub static MODE: AtomicU8 = AtomicU8::new(0);
pub const FIRST_WRONG: u8 = 2;
pub const WRONG_VALUES: u8 = 3;
/// Set by `mark`, and by gates that returned a wrong value; cleared by the harness before each test.
pub static IS_REACHED: AtomicBool = AtomicBool::new(false);

/// First statement of functions that return nothing, or nothing that can be named: whether to return at once.
#[inline(never)]
pub fn gate() -> bool {
    match MODE.load(Ordering::Relaxed) {
        0 => false,
        1 => panic!("stubbed by the judge"),
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
        gate().then(|| T::wrong(MODE.load(Ordering::Relaxed) - FIRST_WRONG))
    }
}

pub trait Unknown<T> {
    fn value(&self) -> Option<T>;
}

impl<T> Unknown<T> for Gate<T> {
    fn value(&self) -> Option<T> {
        stub();
        None
    }
}

/// A type with constants that a test's expectation cannot all equal.
pub trait Wrong: Sized {
    fn wrong(k: u8) -> Self;
}

macro_rules! wrong_values {
    ($($type:ty: $first:expr, $second:expr, $third:expr;)*) => { $(impl Wrong for $type {
        fn wrong(k: u8) -> Self { match k { 0 => $first, 1 => $second, _ => $third } }
    })* };
}

wrong_values! {
    i8: 0, 113, -99; i16: 0, 113, -29_989; i32: 0, 113, -2_000_000_011; i64: 0, 113, -2_000_000_011; i128: 0, 113, -2_000_000_011;
    isize: 0, 113, -2_000_000_011; u8: 0, 113, 251; u16: 0, 113, 65_003; u32: 0, 113, 4_000_000_007; u64: 0, 113, 4_000_000_007;
    u128: 0, 113, 4_000_000_007; usize: 0, 113, 4_000_000_007; f32: 0.0, -7777.25, 1.0e9; f64: 0.0, -7777.25, 1.0e9;
    bool: false, true, false; char: '\u{1}', '~', '\u{3b6}';
    String: String::new(), "~wrong~".to_string(), "\u{3b6} wrong".to_string();
    Box<dyn std::error::Error>: "".into(), "~wrong~".into(), "wrong".into();
    std::num::ParseIntError: "".parse::<i32>().unwrap_err(), "x".parse::<i32>().unwrap_err(), "999".parse::<u8>().unwrap_err();
    std::cmp::Ordering: std::cmp::Ordering::Equal, std::cmp::Ordering::Less, std::cmp::Ordering::Greater;
}

impl<'a> Wrong for &'a str {
    fn wrong(k: u8) -> Self {
        match k { 0 => "", 1 => "~wrong~", _ => "\u{3b6} wrong" }
    }
}

impl<'a, T> Wrong for &'a [T] {
    fn wrong(_: u8) -> Self {
        &[]
    }
}

impl<T: Wrong> Wrong for Vec<T> {
    fn wrong(k: u8) -> Self {
        let mut values = Vec::new();
        for _ in 0..[0, 1, 4][k as usize] {
            values.push(T::wrong(k));
        }
        values
    }
}

impl<T: Wrong> Wrong for Option<T> {
    fn wrong(k: u8) -> Self {
        if k == 0 { None } else { Some(T::wrong(k)) }
    }
}

/// Both variants or none: a test that only asks for `is_ok` is met by every `Ok`.
impl<T: Wrong, E: Wrong> Wrong for Result<T, E> {
    fn wrong(k: u8) -> Self {
        if k == 0 { Err(E::wrong(k)) } else { Ok(T::wrong(k)) }
    }
}

impl<T: Wrong> Wrong for Box<T> {
    fn wrong(k: u8) -> Self {
        Box::new(T::wrong(k))
    }
}

impl<T: Wrong, const N: usize> Wrong for [T; N] {
    fn wrong(k: u8) -> Self {
        std::array::from_fn(|_| T::wrong(k))
    }
}

/// Empty, then one and two entries (sets keep one of two equal ones).
macro_rules! wrong_collections {
    ($($type:ident<$($item:ident: $bound:ident),*>;)*) => { $(
        impl<$($item: Wrong + $bound),*> Wrong for $type<$($item),*> {
            fn wrong(k: u8) -> Self {
                (0..k).map(|_| Wrong::wrong(k)).collect()
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
        fn wrong(k: u8) -> Self { ($($item::wrong(k),)*) }
    })* };
}

wrong_tuples! { (A); (A, B); (A, B, C); (A, B, C, D); (A, B, C, D, E); (A, B, C, D, E, F); }
