//! An implementation and a `BTreeMap` do the same, operation by operation.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::random::Random;

/// From which end an iterator is asked next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// `next`
    Front,
    /// `next_back`
    Back,
}

/// Which neighbour of a key is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The largest below.
    Lt,
    /// The largest not above.
    Le,
    /// The smallest above.
    Gt,
    /// The smallest not below.
    Ge,
}

/// What is asked of each entry, once, in order.
pub type Ask<'a, K, V> = &'a mut dyn FnMut(&K, &V) -> bool;

/// What the driver can do to a map. An operation that can fail panics instead, naming its error.
pub trait Ordered<K, V> {
    /// The value of a key.
    fn get(&self, key: &K) -> Option<V>;
    /// Sets a value and returns the old one.
    fn insert(&self, key: &K, value: &V) -> Option<V>;
    /// Sets a value blindly.
    fn put(&self, key: &K, value: &V) {
        self.insert(key, value);
    }
    /// Takes a value away and returns it.
    fn remove(&self, key: &K) -> Option<V>;
    /// Sets the value if it is the expected one; else says what is there.
    ///
    /// # Errors
    ///
    /// What is there instead.
    fn compare_exchange(
        &self,
        key: &K,
        expected: Option<&V>,
        new: Option<&V>,
    ) -> Result<(), Option<V>>;
    /// The smallest entry.
    fn first(&self) -> Option<(K, V)>;
    /// The largest entry.
    fn last(&self) -> Option<(K, V)>;
    /// Takes the smallest entry away.
    fn pop_first(&self) -> Option<(K, V)>;
    /// Takes the largest entry away.
    fn pop_last(&self) -> Option<(K, V)>;
    /// Asks an iterator over the range from these ends, in this order; see [`pull`].
    fn range(&self, from: Bound<&K>, to: Bound<&K>, pulls: &[Pull]) -> Vec<(K, V)>;
    /// Takes all entries in a range away and says how many there were.
    fn remove_range(&self, from: Bound<&K>, to: Bound<&K>) -> u64;
    /// Takes everything away.
    fn clear(&self);
    /// The value of a key, by a closure that looks at it.
    fn look(&self, key: &K) -> Option<V>;
    /// A neighbour of a key.
    fn nearest(&self, side: Side, key: &K) -> Option<(K, V)>;
    /// Takes the entry at this end of a range away.
    fn pop_in(&self, from: Bound<&K>, to: Bound<&K>, end: Pull) -> Option<(K, V)>;
    /// Asks an iterator over all keys from these ends.
    fn keys(&self, pulls: &[Pull]) -> Vec<K>;
    /// Asks an iterator over all values from these ends.
    fn values(&self, pulls: &[Pull]) -> Vec<V>;
    /// Takes away all entries of which `keep` says no.
    fn retain(&self, keep: Ask<'_, K, V>);
    /// Asks an iterator that takes away what it gives from these ends of a range.
    fn extract_if(
        &self,
        from: Bound<&K>,
        to: Bound<&K>,
        pulls: &[Pull],
        wanted: Ask<'_, K, V>,
    ) -> Vec<(K, V)>;
    /// Number of entries.
    fn len(&self) -> u64;
    /// Whether there is no entry.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Asks `iterator` from these ends until it has no more; asks a finished one on to see that it
/// stays finished.
///
/// # Panics
///
/// If it gives an entry after it had none.
pub fn pull<T: Debug>(mut iterator: impl DoubleEndedIterator<Item = T>, pulls: &[Pull]) -> Vec<T> {
    let mut out = Vec::new();
    let mut finished = false;
    for end in pulls {
        let item = match end {
            Pull::Front => iterator.next(),
            Pull::Back => iterator.next_back(),
        };
        match item {
            Some(item) if finished => panic!("an iterator that had finished gave {item:?}"),
            Some(item) => out.push(item),
            None => finished = true,
        }
    }
    out
}

/// The model itself.
impl<K: Ord + Clone + Debug, V: Clone + Eq + Debug> Ordered<K, V> for Mutex<BTreeMap<K, V>> {
    fn get(&self, key: &K) -> Option<V> {
        locked(self).get(key).cloned()
    }

    fn insert(&self, key: &K, value: &V) -> Option<V> {
        locked(self).insert(key.clone(), value.clone())
    }

    fn remove(&self, key: &K) -> Option<V> {
        locked(self).remove(key)
    }

    fn compare_exchange(
        &self,
        key: &K,
        expected: Option<&V>,
        new: Option<&V>,
    ) -> Result<(), Option<V>> {
        let mut map = locked(self);
        let current = map.get(key);
        if current != expected {
            return Err(current.cloned());
        }
        match new {
            Some(value) => map.insert(key.clone(), value.clone()),
            None => map.remove(key),
        };
        Ok(())
    }

    fn first(&self) -> Option<(K, V)> {
        locked(self).first_key_value().map(owned)
    }

    fn last(&self) -> Option<(K, V)> {
        locked(self).last_key_value().map(owned)
    }

    fn pop_first(&self) -> Option<(K, V)> {
        locked(self).pop_first()
    }

    fn pop_last(&self) -> Option<(K, V)> {
        locked(self).pop_last()
    }

    fn range(&self, from: Bound<&K>, to: Bound<&K>, pulls: &[Pull]) -> Vec<(K, V)> {
        pull(locked(self).range::<K, _>((from, to)).map(owned), pulls)
    }

    fn remove_range(&self, from: Bound<&K>, to: Bound<&K>) -> u64 {
        let mut map = locked(self);
        let keys: Vec<K> = map.range::<K, _>((from, to)).map(|(key, _)| key.clone()).collect();
        for key in &keys {
            map.remove(key);
        }
        keys.len() as u64
    }

    fn look(&self, key: &K) -> Option<V> {
        locked(self).get(key).cloned()
    }

    fn nearest(&self, side: Side, key: &K) -> Option<(K, V)> {
        let (map, all) = (locked(self), Bound::Unbounded);
        let found = match side {
            Side::Lt => map.range::<K, _>((all, Bound::Excluded(key))).next_back(),
            Side::Le => map.range::<K, _>((all, Bound::Included(key))).next_back(),
            Side::Gt => map.range::<K, _>((Bound::Excluded(key), all)).next(),
            Side::Ge => map.range::<K, _>((Bound::Included(key), all)).next(),
        };
        found.map(owned)
    }

    fn pop_in(&self, from: Bound<&K>, to: Bound<&K>, end: Pull) -> Option<(K, V)> {
        let mut map = locked(self);
        let mut range = map.range::<K, _>((from, to));
        let found = match end {
            Pull::Front => range.next(),
            Pull::Back => range.next_back(),
        };
        let (key, value) = found.map(owned)?;
        map.remove(&key);
        Some((key, value))
    }

    fn keys(&self, pulls: &[Pull]) -> Vec<K> {
        pull(locked(self).keys().cloned(), pulls)
    }

    fn values(&self, pulls: &[Pull]) -> Vec<V> {
        pull(locked(self).values().cloned(), pulls)
    }

    fn retain(&self, keep: Ask<'_, K, V>) {
        locked(self).retain(|key, value| keep(key, value));
    }

    fn extract_if(
        &self,
        from: Bound<&K>,
        to: Bound<&K>,
        pulls: &[Pull],
        wanted: Ask<'_, K, V>,
    ) -> Vec<(K, V)> {
        let mut map = locked(self);
        let mut left: VecDeque<(K, V)> = map.range::<K, _>((from, to)).map(owned).collect();
        let mut out = Vec::new();
        for end in pulls {
            let mut next = || match end {
                Pull::Front => left.pop_front(),
                Pull::Back => left.pop_back(),
            };
            while let Some((key, value)) = next() {
                if wanted(&key, &value) {
                    map.remove(&key);
                    out.push((key, value));
                    break;
                }
            }
        }
        out
    }

    fn clear(&self) {
        locked(self).clear();
    }

    fn len(&self) -> u64 {
        locked(self).len() as u64
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn owned<K: Clone, V: Clone>((key, value): (&K, &V)) -> (K, V) {
    (key.clone(), value.clone())
}

/// How often each kind of operation comes: a weight, not a count.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// get
    pub get: u64,
    /// insert and put
    pub insert: u64,
    /// remove
    pub remove: u64,
    /// `compare_exchange`, half of them meant to succeed
    pub exchange: u64,
    /// range, from both ends
    pub range: u64,
    /// first, last, `pop_first`, `pop_last`, and the last two in a range
    pub ends: u64,
    /// neighbours, `get_with`
    pub nearest: u64,
    /// keys, values
    pub columns: u64,
    /// `remove_range`, `retain`, `extract_if`
    pub remove_range: u64,
    /// clear
    pub clear: u64,
    /// len
    pub len: u64,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            get: 200,
            insert: 400,
            remove: 150,
            exchange: 100,
            range: 60,
            ends: 30,
            nearest: 100,
            columns: 4,
            remove_range: 8,
            clear: 1,
            len: 10,
        }
    }
}

/// What a run came to. A run that did nothing has failed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Operations compared.
    pub operations: u64,
    /// Of these, ones that found or returned an entry.
    pub hits: u64,
    /// Entries that ranges returned.
    pub scanned: u64,
    /// Most entries at any time.
    pub largest: u64,
}

/// Does `operations` random operations to `map` and to a model, which begins with what `model` has,
/// and compares every result; at the end, the whole content in both directions.
///
/// `key` and `value` make keys and values. `between` is called before each operation, with its
/// number and the content that is expected: there a test can sync, reopen, or verify.
///
/// # Panics
///
/// At the first difference, with the operation, its number, and the ones before it.
pub fn drive<K, V, M>(
    map: &mut M,
    model: &Mutex<BTreeMap<K, V>>,
    random: &mut Random,
    operations: u64,
    mix: &Mix,
    (mut key, mut value): (impl FnMut(&mut Random) -> K, impl FnMut(&mut Random) -> V),
    mut between: impl FnMut(&mut M, u64, &Mutex<BTreeMap<K, V>>),
) -> Tally
where
    K: Ord + Clone + Debug,
    V: Clone + Eq + Debug,
    M: Ordered<K, V>,
{
    let mut tally = Tally::default();
    let mut recent = VecDeque::new();
    for number in 0..operations {
        between(map, number, model);
        let step = Step::any(random, mix, model, &mut key, &mut value);
        if recent.len() == 20 {
            recent.pop_front();
        }
        recent.push_back(format!("{number}: {step:?}"));
        let (got, expected) = (step.apply(map), step.apply(model));
        if got != expected {
            let recent: Vec<String> = recent.into();
            let recent = recent.join("\n  ");
            panic!("got      {got:?}\nexpected {expected:?}\n  {recent}");
        }
        tally.operations += 1;
        tally.hits += u64::from(got.is_hit());
        tally.scanned += if matches!(step, Step::Range(..)) { got.entries.len() as u64 } else { 0 };
        tally.largest = tally.largest.max(model.len());
    }
    compare(map, model);
    tally
}

/// Compares the whole content in both directions, and the length.
///
/// # Panics
///
/// At a difference.
pub fn compare<K, V>(map: &impl Ordered<K, V>, model: &Mutex<BTreeMap<K, V>>)
where
    K: Ord + Clone + Debug,
    V: Clone + Eq + Debug,
{
    let len = model.len();
    assert_eq!(map.len(), len, "len");
    for end in [Pull::Front, Pull::Back] {
        let pulls = vec![end; len as usize + 2];
        let all = |map: &dyn Ordered<K, V>| map.range(Bound::Unbounded, Bound::Unbounded, &pulls);
        let (got, expected) = (all(map), all(model));
        if let Some(at) =
            (0..got.len().max(expected.len())).find(|&i| got.get(i) != expected.get(i))
        {
            let (got, expected) = (got.get(at), expected.get(at));
            panic!("entry {at} of {len} from the {end:?}: got {got:?}, expected {expected:?}");
        }
    }
}

/// One operation with its arguments.
#[derive(Debug)]
enum Step<K, V> {
    Get(K),
    Insert(K, V),
    Put(K, V),
    Remove(K),
    Exchange(K, Option<V>, Option<V>),
    Range(Bound<K>, Bound<K>, Vec<Pull>),
    First,
    Last,
    PopFirst,
    PopLast,
    PopIn(Bound<K>, Bound<K>, Pull),
    Look(K),
    Nearest(Side, K),
    Keys(Vec<Pull>),
    Values(Vec<Pull>),
    RemoveRange(Bound<K>, Bound<K>),
    /// Takes away every entry but each so-and-so-many-th that is asked for.
    Retain(u64),
    ExtractIf(Bound<K>, Bound<K>, Vec<Pull>, u64),
    Clear,
    Len,
}

/// What an operation gave back, in one form for all of them.
#[derive(Debug, PartialEq, Eq)]
struct Answer<K, V> {
    value: Option<V>,
    refused: bool,
    entries: Vec<(K, V)>,
    keys: Vec<K>,
    values: Vec<V>,
    count: u64,
}

impl<K, V> Answer<K, V> {
    fn value(value: Option<V>) -> Self {
        let (entries, keys, values) = (Vec::new(), Vec::new(), Vec::new());
        Self { value, refused: false, entries, keys, values, count: 0 }
    }

    fn entries(entries: Vec<(K, V)>) -> Self {
        Self { entries, ..Self::value(None) }
    }

    fn count(count: u64) -> Self {
        Self { count, ..Self::value(None) }
    }

    fn is_hit(&self) -> bool {
        let empty = self.entries.is_empty() && self.keys.is_empty() && self.values.is_empty();
        self.value.is_some() || !empty || self.count > 0
    }
}

impl<K: Ord + Clone + Debug, V: Clone + Eq + Debug> Step<K, V> {
    fn any(
        random: &mut Random,
        mix: &Mix,
        model: &Mutex<BTreeMap<K, V>>,
        key: &mut impl FnMut(&mut Random) -> K,
        value: &mut impl FnMut(&mut Random) -> V,
    ) -> Self {
        let weights = [
            mix.get,
            mix.insert,
            mix.remove,
            mix.exchange,
            mix.range,
            mix.ends,
            mix.nearest,
            mix.columns,
            mix.remove_range,
            mix.clear,
            mix.len,
        ];
        let mut left = random.below(weights.iter().sum());
        let kind = weights.iter().position(|&weight| {
            let chosen = left < weight;
            left = left.saturating_sub(weight);
            chosen
        });
        match kind {
            Some(0) => Self::Get(key(random)),
            Some(1) if random.once_in(3) => Self::Put(key(random), value(random)),
            Some(1) => Self::Insert(key(random), value(random)),
            Some(2) => Self::Remove(key(random)),
            Some(3) => {
                let key = key(random);
                let expected = match random.below(4) {
                    0 => None,
                    1 => Some(value(random)),
                    _ => model.get(&key),
                };
                let new = (!random.once_in(3)).then(|| value(random));
                Self::Exchange(key, expected, new)
            }
            Some(4) => {
                let (from, to) = any_range(random, key);
                Self::Range(from, to, any_pulls(random))
            }
            Some(5) => match random.below(6) {
                0 => Self::First,
                1 => Self::Last,
                2 => Self::PopFirst,
                3 => Self::PopLast,
                _ => {
                    let (from, to) = any_range(random, key);
                    Self::PopIn(from, to, *random.pick(&[Pull::Front, Pull::Back]))
                }
            },
            Some(6) if random.once_in(5) => Self::Look(key(random)),
            Some(6) => {
                let side = *random.pick(&[Side::Lt, Side::Le, Side::Gt, Side::Ge]);
                Self::Nearest(side, key(random))
            }
            Some(7) if random.once_in(2) => Self::Keys(any_pulls(random)),
            Some(7) => Self::Values(any_pulls(random)),
            Some(8) => {
                let (from, to) = any_range(random, key);
                match random.below(4) {
                    0 => Self::RemoveRange(from, to),
                    1 => Self::Retain(2 + random.below(8)),
                    _ => Self::ExtractIf(from, to, any_pulls(random), 1 + random.below(4)),
                }
            }
            Some(9) => Self::Clear,
            _ => Self::Len,
        }
    }

    fn apply(&self, map: &impl Ordered<K, V>) -> Answer<K, V> {
        match self {
            Self::Get(key) => Answer::value(map.get(key)),
            Self::Insert(key, value) => Answer::value(map.insert(key, value)),
            Self::Put(key, value) => {
                map.put(key, value);
                Answer::value(map.get(key))
            }
            Self::Remove(key) => Answer::value(map.remove(key)),
            Self::Exchange(key, expected, new) => {
                let done = map.compare_exchange(key, expected.as_ref(), new.as_ref());
                Answer { refused: done.is_err(), ..Answer::value(done.err().flatten()) }
            }
            Self::Range(from, to, pulls) => {
                Answer::entries(map.range(from.as_ref(), to.as_ref(), pulls))
            }
            Self::First => Answer::entries(map.first().into_iter().collect()),
            Self::Last => Answer::entries(map.last().into_iter().collect()),
            Self::PopFirst => Answer::entries(map.pop_first().into_iter().collect()),
            Self::PopLast => Answer::entries(map.pop_last().into_iter().collect()),
            Self::PopIn(from, to, end) => {
                let popped = map.pop_in(from.as_ref(), to.as_ref(), *end);
                Answer::entries(popped.into_iter().collect())
            }
            Self::Look(key) => Answer::value(map.look(key)),
            Self::Nearest(side, key) => {
                Answer::entries(map.nearest(*side, key).into_iter().collect())
            }
            Self::Keys(pulls) => Answer { keys: map.keys(pulls), ..Answer::value(None) },
            Self::Values(pulls) => Answer { values: map.values(pulls), ..Answer::value(None) },
            Self::RemoveRange(from, to) => {
                Answer::count(map.remove_range(from.as_ref(), to.as_ref()))
            }
            Self::Retain(each) => {
                let mut asked = Vec::new();
                map.retain(&mut |key, value| {
                    asked.push((key.clone(), value.clone()));
                    (asked.len() as u64).is_multiple_of(*each)
                });
                Answer::entries(asked)
            }
            Self::ExtractIf(from, to, pulls, each) => {
                let mut asked = 0;
                let entries = map.extract_if(from.as_ref(), to.as_ref(), pulls, &mut |_, _| {
                    asked += 1;
                    u64::is_multiple_of(asked, *each)
                });
                Answer { count: asked, ..Answer::entries(entries) }
            }
            Self::Clear => {
                map.clear();
                Answer::count(map.len())
            }
            Self::Len => Answer::count(map.len()),
        }
    }
}

/// From one end, the other, or both in turn.
fn any_pulls(random: &mut Random) -> Vec<Pull> {
    let mut pulls = vec![Pull::Front; 1 + random.index(60)];
    match random.below(3) {
        0 => {}
        1 => pulls.fill(Pull::Back),
        _ => pulls.fill_with(|| *random.pick(&[Pull::Front, Pull::Back])),
    }
    pulls
}

/// A range that is not inside out, which a `BTreeMap` would refuse by a panic.
fn any_range<K: Ord>(
    random: &mut Random,
    key: &mut impl FnMut(&mut Random) -> K,
) -> (Bound<K>, Bound<K>) {
    let (a, b) = (key(random), key(random));
    let same = a == b;
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    let from = match random.below(5) {
        0 => Bound::Unbounded,
        1 => Bound::Excluded(low),
        _ => Bound::Included(low),
    };
    let to = match random.below(5) {
        0 => Bound::Unbounded,
        1 => Bound::Included(high),
        _ if same => Bound::Included(high),
        _ => Bound::Excluded(high),
    };
    (from, to)
}

#[cfg(test)]
mod tests;
