//! What the judge puts into programs: a gate in the functions under test, a mark at the assertions that count; and the
//! assert macros of hidden tests that are statements.
//!
//! Linked into the harness (`judge/harness.rs`), which sets the switches; programs call the functions. In stub mode a
//! gate panics. In wrong-value mode it makes its function return a constant of its return type at once: a test that
//! passes whatever the functions return checks nothing. Types that no constant is known for are left alone; programs
//! get an `impl Wrong` for their own structs and enums from `rust_tool.py`.
use std::any::type_name;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt::{Arguments, Debug};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicU8, AtomicUsize, Ordering};
use std::rc::Rc;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64, NonZeroU8, NonZeroUsize};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// What gates do: 0 nothing, 1 panic, FIRST_WRONG + k return the k-th wrong value.
pub static MODE: AtomicU8 = AtomicU8::new(0);
pub const FIRST_WRONG: u8 = 2;
pub const WRONG_VALUES: u8 = 4;
/// FIRST_SPARING + k: the same, but for functions that return `bool` or `Ordering`: a program's own comparison must not hide the rest.
pub const FIRST_SPARING: u8 = FIRST_WRONG + WRONG_VALUES;
/// The outermost calls of functions are repeated, as they are: first of all, before anything that they remember is of other inputs.
pub const SAME_INPUTS: u8 = FIRST_SPARING + WRONG_VALUES;
/// FIRST_OTHER + k: they are answered for the k-th other inputs; from ALL_OTHER on only one call of a test, another one each time.
pub const FIRST_OTHER: u8 = SAME_INPUTS + 1;
pub const ALL_OTHER: u8 = 3;
pub const OTHER_INPUTS: u8 = 8;
/// As in the beginning: what a function remembers shows.
pub const SAME_AGAIN: u8 = FIRST_OTHER + OTHER_INPUTS;
/// FIRST_NEAR + k: the answer is replaced by the k-th value near it, but for `bool` and `Ordering`.
pub const FIRST_NEAR: u8 = SAME_AGAIN + 1;
pub const NEAR_VALUES: u8 = 3;
/// FIRST_ITEMS + k: the answer, where it is a list, is one of the same length with other items.
pub const FIRST_ITEMS: u8 = FIRST_NEAR + NEAR_VALUES;
pub const OTHER_ITEMS: u8 = 2;
/// FIRST_ALONE + WRONG_VALUES * n + k: the n-th function, or the methods of the n-th type, return the k-th wrong value, and nothing else does.
pub const FIRST_ALONE: u8 = FIRST_ITEMS + OTHER_ITEMS;
/// How deep values of a program's own types hold others of them.
const MAX_NESTING: u8 = 3;
/// Set by `mark`, and by gates that returned a wrong value; cleared by the harness before each test.
pub static IS_REACHED: AtomicBool = AtomicBool::new(false);
/// Set where a wrong value was `None` or `Err`; cleared by the harness before each test.
pub static IS_MISSING: AtomicBool = AtomicBool::new(false);

thread_local! {
    static NESTING: Cell<u8> = const { Cell::new(0) };
    static IS_ALONE: Cell<bool> = const { Cell::new(false) };
}

/// In front of every gate of a program that has several functions: tells it whether it is its turn, and the harness that it was called.
#[inline(never)]
pub fn alone(n: u8) {
    let Some(mode) = MODE.load(Ordering::Relaxed).checked_sub(FIRST_ALONE) else { return };
    let is_turn = mode / WRONG_VALUES == n;
    IS_ALONE.set(is_turn);
    if is_turn {
        called_alone();
    }
}

fn called_alone() {
    let mut said = SAID.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if said.is_empty() {
        said.push(Said { function: "alone", ..Said::default() });
    }
}

/// First statement of functions that return nothing, or nothing that can be named: whether to return at once.
#[inline(never)]
pub fn gate() -> bool {
    match MODE.load(Ordering::Relaxed) {
        0 => false,
        1 => panic!("stubbed by the judge"),
        SAME_INPUTS.. if !IS_ALONE.take() => false,
        _ => {
            IS_REACHED.store(true, Ordering::Relaxed);
            true
        }
    }
}

/// The gate of functions whose return type is unknown here.
#[inline(never)]
pub fn stub() {
    match MODE.load(Ordering::Relaxed) {
        1 => panic!("stubbed by the judge"),
        FIRST_ALONE.. => IS_ALONE.set(false),
        _ => {}
    }
}

/// Which assertions that count were reached, as far as there is room.
pub static SITES: [AtomicBool; 128] = [const { AtomicBool::new(false) }; 128];

/// Stands in front of every assertion that counts: the test got that far.
#[inline(never)]
pub fn mark(site: usize) {
    if MODE.load(Ordering::Relaxed) == 0 {
        IS_REACHED.store(true, Ordering::Relaxed);
        SITES[site.min(SITES.len() - 1)].store(true, Ordering::Relaxed);
    }
}

// What needs no type stands in functions without one: they are compiled here once, and not into every program again.

/// Whether a function that returns a type of this name may be a comparison.
fn compares(name: &str) -> bool {
    matches!(name, "bool" | "core::cmp::Ordering")
}

/// Which wrong value a function that returns a type of this name is to return now.
#[inline(never)]
fn wrong_number(name: &str) -> Option<u8> {
    match MODE.load(Ordering::Relaxed) {
        0 => None,
        1 => panic!("stubbed by the judge"),
        FIRST_ALONE.. if IS_ALONE.take() => Some((MODE.load(Ordering::Relaxed) - FIRST_ALONE) % WRONG_VALUES),
        SAME_INPUTS.. => None,
        FIRST_SPARING.. if compares(name) => None,
        mode => Some((mode - FIRST_WRONG) % WRONG_VALUES),
    }
}

#[inline(never)]
fn reached() {
    IS_REACHED.store(true, Ordering::Relaxed);
}

#[inline(never)]
fn missing() {
    IS_MISSING.store(true, Ordering::Relaxed);
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
        let Some(k) = wrong_number(type_name::<T>()) else { return None };
        let Some(value) = T::wrong(k) else { return None };
        reached();
        Some(value)
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
        let mut list = Vec::with_capacity(kinds.len());
        for kind in kinds {
            let Some(value) = T::wrong(*kind) else { return None };
            list.push(value);
        }
        Some(list)
    }
}

impl<T: Wrong> Wrong for Option<T> {
    fn wrong(k: u8) -> Option<Self> {
        if k == 0 {
            missing();
            return Some(None);
        }
        let Some(value) = T::wrong(k) else { return None };
        Some(Some(value))
    }
}

/// Both variants or none: a test that only asks for `is_ok` is met by every `Ok`.
impl<T: Wrong, E: Wrong> Wrong for Result<T, E> {
    fn wrong(k: u8) -> Option<Self> {
        if k == 0 {
            missing();
            return Some(Err(E::wrong(k)?));
        }
        Some(Ok(T::wrong(k)?))
    }
}

macro_rules! around {
    ($($type:ident: $inner:ident => $out:expr;)*) => { $(
        impl<T: Wrong> Wrong for $type<T> {
            fn wrong(k: u8) -> Option<Self> {
                Some($type::new(T::wrong(k)?))
            }
        }
        impl<T: Other> Other for $type<T> {
            fn other(self, k: u8) -> Self {
                let $inner = ManuallyDrop::new(self);
                $type::new(copied($out).other(k))
            }
        }
    )* };
}

// Cell and RefCell: their insides are read though they may be lent; nothing else runs meanwhile.
around! {
    Box: x => &**x; Rc: x => &**x; Arc: x => &**x; RefCell: x => unsafe { &*x.as_ptr() }; Cell: x => unsafe { &*x.as_ptr() };
}

impl Wrong for Cow<'_, str> {
    fn wrong(k: u8) -> Option<Self> {
        String::wrong(k).map(Cow::Owned)
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

/// What a function answered to a call of the tests.
#[derive(Default)]
pub struct Said {
    pub function: &'static str,
    pub is_altered: bool, // it got another input than the tests'
    pub given: u8, // one bit for each of its inputs: whether the answer has its contents
    pub answer: Option<String>, // empty where it cannot be shown; one that panicked gave none
}

/// Since the harness last took them.
pub static SAID: Mutex<Vec<Said>> = Mutex::new(Vec::new());
/// Calls of a test that are kept.
const MAX_SAID: usize = 64;
/// Characters of an answer; of a longer one the rest counts by its length.
const MAX_ANSWER: usize = 160;

#[derive(Clone, Copy)]
struct Asked {
    at: usize,            // in SAID
    variant: Option<u8>, // of the other inputs, for the first of them; None: they are as they are
}

/// Outermost calls in this run of a test, and in the first.
pub static N_CALLS: AtomicUsize = AtomicUsize::new(0);
pub static N_CALLS_FIRST: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The outermost call of this thread that is being answered.
    static ASKED: Cell<Option<Asked>> = const { Cell::new(None) };
    /// Contents of its inputs.
    static GIVEN: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    /// Whether the other value is another: that of an empty list is not.
    static IS_CHANGED: Cell<bool> = const { Cell::new(false) };
}

fn said(change: impl FnOnce(&mut Said)) {
    let at = ASKED.get().map_or(MAX_SAID, |asked| asked.at);
    SAID.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_mut(at).map(change);
}

/// Ends a call with its answer.
#[inline(never)]
fn answered(answer: &dyn Debug) {
    if MODE.load(Ordering::Relaxed) < FIRST_NEAR {
        let text = format!("{answer:?}");
        let cut: String = text.chars().take(MAX_ANSWER).collect();
        said(|said| said.answer = Some(if cut.len() < text.len() { format!("{cut}.. {}", text.len()) } else { cut }));
    }
    ASKED.set(None);
}

/// Ends a call whose answer cannot be shown.
#[inline(never)]
fn answered_unseen() {
    said(|said| said.answer = Some(String::new()));
    ASKED.set(None);
}

/// The number of the other value for the argument at a position; None: it stays as it is.
#[inline(never)]
fn other_number(position: u8) -> Option<u8> {
    ASKED.get().and_then(|asked| asked.variant).map(|k| (k + position) % VARIANTS)
}

/// The number of the value near the answer, which is of a type of this name; None: it stays as it is.
#[inline(never)]
fn near_number(name: &str) -> Option<u8> {
    match MODE.load(Ordering::Relaxed) {
        mode @ FIRST_NEAR..FIRST_ITEMS if !compares(name) => Some(mode - FIRST_NEAR),
        _ => None,
    }
}

/// The same for the items of a list.
#[inline(never)]
fn items_number() -> Option<u8> {
    MODE.load(Ordering::Relaxed).checked_sub(FIRST_ITEMS).map(|k| 1 + 2 * k)
}

#[inline(never)]
fn give(contents: Option<Cow<'_, [u8]>>) {
    if let Some(contents) = contents {
        GIVEN.with(|given| given.borrow_mut().push(contents.into_owned()));
    }
}

/// Which inputs of the call the answer repeats.
#[inline(never)]
fn compare(contents: Option<Cow<'_, [u8]>>) {
    if let Some(contents) = contents {
        let equal = GIVEN.with(|given| given.borrow().iter().enumerate().fold(0, |bits, (at, input)| bits | ((**input == *contents) as u8) << at.min(7)));
        said(|said| said.given = equal);
    }
}

#[inline(never)]
fn set_changed(is_changed: bool) {
    IS_CHANGED.set(is_changed);
}

#[inline(never)]
fn is_changed() -> bool {
    IS_CHANGED.get()
}

/// After a value was replaced by its other one.
#[inline(never)]
fn replaced(is_input: bool) {
    if IS_CHANGED.get() {
        reached();
        if is_input {
            said(|said| said.is_altered = true);
        }
    }
}

/// Whether to call the function once more, with `Input::other` of its inputs and `Input::near` of what it says, and return that.
#[inline(never)]
pub fn asks(function: &'static str) -> bool {
    let mode = MODE.load(Ordering::Relaxed);
    if !(SAME_INPUTS..FIRST_ALONE).contains(&mode) || ASKED.get().is_some() {
        return false;
    }
    let mut all = SAID.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    ASKED.set(Some(Asked { at: all.len(), variant: variant(mode, N_CALLS.fetch_add(1, Ordering::Relaxed)) }));
    GIVEN.with(|given| given.borrow_mut().clear());
    if all.len() < MAX_SAID {
        all.push(Said { function, ..Said::default() });
    }
    true
}

/// Which other inputs a call gets.
fn variant(mode: u8, call: usize) -> Option<u8> {
    let k = mode.wrapping_sub(FIRST_OTHER);
    let (singles, n_calls) = ((OTHER_INPUTS - ALL_OTHER) as usize, N_CALLS_FIRST.load(Ordering::Relaxed).max(1));
    let its_turn = |single: usize| if n_calls > singles { single * n_calls / singles } else { single % n_calls };
    (k < ALL_OTHER || (k < OTHER_INPUTS && call == its_turn((k - ALL_OTHER) as usize))).then_some(k)
}

/// The answer of such a call: `Answer(value).kept()`, by the method below when it can be shown, else by `Hidden`'s.
pub struct Answer<T>(pub T);

impl<T: Debug> Answer<T> {
    #[inline(never)]
    pub fn kept(self) -> T {
        answered(&self.0);
        self.0
    }
}

pub trait Hidden<T> {
    fn kept(self) -> T;
}

impl<T> Hidden<T> for Answer<T> {
    fn kept(self) -> T {
        answered_unseen();
        self.0
    }
}

/// An argument or an answer: `Input(x).other(position)`, by the methods below when another value of its type is known, else by
/// `Same`'s.
pub struct Input<T>(pub T);

impl<T: Other> Input<T> {
    #[inline(never)]
    pub fn other(self, position: u8) -> T {
        let other = match other_number(position) {
            Some(k) => self.changed(k, true),
            None => self.0,
        };
        give(other.contents());
        other
    }

    /// For answers.
    #[inline(never)]
    pub fn near(self) -> T {
        compare(self.0.contents());
        match near_number(type_name::<T>()) {
            Some(k) => self.changed(k, false),
            None => self.0,
        }
    }

    /// For what is part of another value.
    pub fn part(self, k: u8) -> T {
        self.0.other(k)
    }

    fn changed(self, k: u8, is_input: bool) -> T {
        set_changed(false);
        let other = self.0.other(k);
        replaced(is_input);
        other
    }
}

/// An answer that is a list: `Items(x).changed()`, by the methods below when other items are known, else by `SameItems`'s.
pub struct Items<T>(pub T);

pub trait SameItems<T> {
    fn changed(self) -> T;
}

impl<T> SameItems<T> for Items<T> {
    fn changed(self) -> T {
        self.0
    }
}

fn with_items<T: Other, L>(list: L, each: fn(L, &dyn Fn(T) -> T) -> L) -> L {
    let Some(k) = items_number() else { return list };
    set_changed(false);
    let other = each(list, &|item| item.other(k));
    replaced(false);
    other
}

fn each<T>(list: Vec<T>, change: &dyn Fn(T) -> T) -> Vec<T> {
    let mut other = Vec::with_capacity(list.len());
    for item in list {
        other.push(change(item));
    }
    other
}

impl<T: Other> Items<Vec<T>> {
    #[inline(never)]
    pub fn changed(self) -> Vec<T> {
        with_items(self.0, each)
    }
}

impl<T: Other> Items<Option<Vec<T>>> {
    pub fn changed(self) -> Option<Vec<T>> {
        with_items(self.0, |found, change| found.map(|list| each(list, change)))
    }
}

impl<T: Other, E> Items<Result<Vec<T>, E>> {
    pub fn changed(self) -> Result<Vec<T>, E> {
        with_items(self.0, |found, change| found.map(|list| each(list, change)))
    }
}

pub trait Same<T> {
    fn other(self, position: u8) -> T;
    fn near(self) -> T;
    fn part(self, k: u8) -> T;
}

impl<T> Same<T> for Input<T> {
    fn other(self, _: u8) -> T {
        self.0
    }

    fn near(self) -> T {
        self.0
    }

    fn part(self, _: u8) -> T {
        self.0
    }
}

/// Kinds of other values.
const VARIANTS: u8 = 6;

/// A type with values near a given one. What is given is never freed: it may be a copy of what somebody else owns.
pub trait Other: Sized {
    fn other(self, k: u8) -> Self;

    /// The bytes of a text or of a list's items.
    fn contents(&self) -> Option<Cow<'_, [u8]>> {
        None
    }
}

/// The other value, and whether it is one.
pub fn changed<T: PartialEq>(from: T, to: T) -> T {
    set_changed(is_changed() || from != to);
    std::mem::forget(from);
    to
}

/// For a program's enums: a value of another variant, from `number` of the given one and `make` of any; else what was given.
pub fn another<T>(given: T, number: fn(&T) -> u8, n_variants: u8, k: u8, make: fn(u8, u8) -> Option<T>) -> T {
    let another = (number(&given) + 1 + k % (n_variants - 1)) % n_variants;
    match make(another, k) {
        Some(value) => {
            set_changed(true);
            std::mem::forget(given);
            value
        }
        None => given,
    }
}

/// Texts are looked into; of other items that own memory only where it lies is known, which stays when they are changed in place.
fn contents_of<T>(list: &[T]) -> Option<Cow<'_, [u8]>> {
    if type_name::<T>() == type_name::<String>() {
        let texts = unsafe { std::slice::from_raw_parts(list.as_ptr().cast::<String>(), list.len()) };
        return Some(Cow::Owned(texts.join("\0").into_bytes()));
    }
    let bytes = || unsafe { std::slice::from_raw_parts(list.as_ptr().cast(), std::mem::size_of_val(list)) };
    (!std::mem::needs_drop::<T>()).then(|| Cow::Borrowed(bytes()))
}

/// The bits of a value that somebody else owns and goes on to own.
fn copied<T>(value: &T) -> T {
    unsafe { std::ptr::read(value) }
}

macro_rules! other_integers {
    ($($type:ty)*) => { $(impl Other for $type {
        fn other(self, k: u8) -> Self {
            changed(self, match k {
                0 => self.checked_add(1).unwrap_or(self / 2),
                1 => if self > 1 { self - 1 } else { self.saturating_add(3) },
                2 if <$type>::MIN != 0 => !self, // -1 - x
                2 => self / 2 + 2,
                4 => self.checked_add(10).unwrap_or(self / 5),
                5 => self / 2,
                _ => self.checked_mul(3).and_then(|thrice| thrice.checked_add(2)).unwrap_or(self / 3), // even where it was
            })
        }
    })* };
}

other_integers! { i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize }

macro_rules! others {
    ($($type:ty: |$value:ident, $k:ident| $other:expr $(, $contents:ident)?;)*) => { $(impl Other for $type {
        fn other(self, $k: u8) -> Self {
            let $value = &self;
            let other = $other;
            changed(self, other)
        }

        $(fn contents(&self) -> Option<Cow<'_, [u8]>> {
            Some(Cow::Borrowed(self.$contents()))
        })?
    })* };
}

others! {
    f32: |x, k| match k { 0 => x + 1.5, 1 => x - 1.25, 2 => x / 2.0 + 3.0, _ => x * 2.0 + k as f32 };
    f64: |x, k| match k { 0 => x + 1.5, 1 => x - 1.25, 2 => x / 2.0 + 3.0, _ => x * 2.0 + k as f64 };
    bool: |x, k| x ^ (k < 3);
    Duration: |x, k| match k { 0 => *x + Duration::from_secs(1), 1 => *x / 2, 2 => *x * 3 + Duration::from_millis(7), _ => Duration::ZERO };
    char: |x, k| char::from_u32(*x as u32 + 1 + k as u32).unwrap_or('?');
    String: |x, k| match k {
        0 => format!("{x}q"),
        1 => x.chars().skip(1).collect(),
        2 => x.chars().take(x.chars().count() / 2).chain(['z', '7']).collect(),
        4 => x.chars().rev().collect(),
        5 => x.repeat(2),
        _ => String::new(),
    }, as_bytes;
    &str: |x, k| Box::leak(x.to_string().other(k).into_boxed_str()), as_bytes;
    Cow<'_, str>: |x, k| Cow::Owned(x.to_string().other(k)), as_bytes;
}

/// Where the k-th other list starts in one of `len` items, and how many it has; at the end it goes on from the front.
#[inline(never)]
fn span(len: usize, k: u8) -> (usize, usize) {
    IS_CHANGED.set(IS_CHANGED.get() || len > (k == 1) as usize);
    match k {
        0 => (0, len.saturating_sub(1)),
        1 => (0, len), // the other way round
        2 => (0, len / 2),
        3 => (0, 0),
        5 => (len / 2, len),
        _ => (1, len.saturating_sub(1)),
    }
}

/// A list without some of its items, or in another order: the bits of what somebody else owns.
fn other_list<T>(list: &[T], k: u8) -> Vec<T> {
    let ((first, n), len) = (span(list.len(), k), list.len());
    let (mut other, mut i) = (Vec::with_capacity(n), 0);
    while i < n {
        let at = if k == 1 { len - 1 - i } else { (first + i) % len };
        other.push(copied(&list[at]));
        i += 1;
    }
    other
}

fn leaked<T>(list: &[T], k: u8) -> &mut [T] {
    Vec::leak(other_list(list, k))
}

impl<T> Other for &[T] {
    fn other(self, k: u8) -> Self {
        leaked(self, k)
    }

    fn contents(&self) -> Option<Cow<'_, [u8]>> {
        contents_of(self)
    }
}

impl<T> Other for &mut [T] {
    fn other(self, k: u8) -> Self {
        leaked(self, k)
    }
}

impl<T> Other for Vec<T> {
    fn other(self, k: u8) -> Self {
        other_list(ManuallyDrop::new(self).as_slice(), k)
    }

    fn contents(&self) -> Option<Cow<'_, [u8]>> {
        contents_of(self)
    }
}

fn place<T: Hash>(key: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

macro_rules! other_collections {
    ($($type:ident<$($item:ident: $bound:ident),*>: |$entry:pat_param| $copy:expr, $key:expr;)*) => { $(
        impl<$($item: $bound),*> Other for $type<$($item),*> {
            fn other(self, k: u8) -> Self {
                let given = ManuallyDrop::new(self);
                let mut entries: Vec<_> = given.iter().collect();
                entries.sort_by_key(|$entry| $key); // of a hash table: which is left out must be the same every time
                other_list(&entries, if k == 1 { 4 } else { k }).into_iter().map(|$entry| $copy).collect() // no order to change
            }
        }
    )* };
}

other_collections! {
    VecDeque<T: Any>: |x| copied(x), (); BTreeSet<T: Ord>: |x| copied(x), (); HashSet<T: Key>: |x| copied(x), place(*x);
    BTreeMap<K: Ord, V: Any>: |(k, v)| (copied(k), copied(v)), (); HashMap<K: Key, V: Any>: |(k, v)| (copied(k), copied(v)), place(*k);
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

impl<T: Other> Other for &T {
    fn other(self, k: u8) -> Self {
        Box::leak(Box::new(copied(self).other(k)))
    }

    fn contents(&self) -> Option<Cow<'_, [u8]>> {
        (**self).contents()
    }
}

impl<T: Other> Other for &mut T {
    fn other(self, k: u8) -> Self {
        unsafe { std::ptr::write(self, copied(self).other(k)) };
        self
    }
}

impl<T: Other> Other for Option<T> {
    fn other(self, k: u8) -> Self {
        match self {
            Some(value) => Some(value.other(k)),
            None => None,
        }
    }
}

impl<T: Other, E> Other for Result<T, E> {
    fn other(self, k: u8) -> Self {
        match self {
            Ok(value) => Ok(value.other(k)),
            Err(error) => Err(error),
        }
    }
}

impl<T, const N: usize> Other for [T; N] {
    fn other(mut self, k: u8) -> Self {
        set_changed(is_changed() || N > 1);
        match k {
            0 => self.reverse(),
            1 => self.rotate_left(N.min(1)),
            // an item twice, where nobody frees it twice: what does not ask for an order has another answer, too
            _ if N > 1 && !std::mem::needs_drop::<T>() => self[k as usize % N] = copied(&self[(k as usize + 1) % N]),
            _ => self.rotate_left(k as usize % N.max(1)),
        }
        self
    }
}

macro_rules! other_tuples {
    ($(($($item:ident $at:tt),*);)*) => { $(impl<$($item: Other),*> Other for ($($item,)*) {
        fn other(self, k: u8) -> Self {
            ($(self.$at.other((k + $at) % VARIANTS),)*)
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
            sum += Answer::<$type>::kept as fn(Answer<$type>) -> $type as usize;
            sum += Input::<$type>::near as fn(Input<$type>) -> $type as usize;
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
    macro_rules! with_lists {
        ($($type:ty),*) => { $(sum += Items::<Vec<$type>>::changed as fn(Items<Vec<$type>>) -> Vec<$type> as usize;)* };
    }
    with_lists!(i32, i64, u32, u64, usize, f64, String, char, &'static str, Vec<i32>);
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
