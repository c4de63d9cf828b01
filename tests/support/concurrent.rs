//! What the kinds of maps have in common, as the tests with several threads use them.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]

use std::ops::{Bound, ControlFlow};

use bwtree::{Bytes, Map, Tree};

use crate::random::Random;

/// From which end a range is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the front.
    Forward,
    /// From the back.
    Back,
    /// From both ends in turn: a bit says which, over and over.
    Both(u64),
    /// From the front, shown in a session; where there is none, as the others are.
    Shown,
}

impl Way {
    /// Any of them.
    pub fn any(random: &mut Random) -> Self {
        match random.below(4) {
            0 => Self::Forward,
            1 => Self::Back,
            2 => Self::Shown,
            _ => Self::Both(random.next_u64()),
        }
    }

    /// What the iterator gives, as it would lie in its range.
    pub fn take<T>(self, mut range: impl DoubleEndedIterator<Item = T>) -> Vec<T> {
        let (mut front, mut back) = (Vec::new(), Vec::new());
        let bits = match self {
            Self::Forward | Self::Shown => 0,
            Self::Back => u64::MAX,
            Self::Both(bits) => bits,
        };
        for step in 0_u32.. {
            give_way(step as usize);
            let from_back = bits >> (step % 64) & 1 == 1;
            let entry = if from_back { range.next_back() } else { range.next() };
            let Some(entry) = entry else { break };
            if from_back { &mut back } else { &mut front }.push(entry);
        }
        front.extend(back.into_iter().rev());
        front
    }
}

/// Now and then, so that others write meanwhile, however the threads are scheduled.
fn give_way(step: usize) {
    if step % 8 == 3 {
        std::thread::yield_now();
    }
}

/// What both kinds of map can do.
pub trait Concurrent: Sync {
    /// The value of a key.
    fn get(&self, key: u64) -> Option<u64>;
    /// Whether a key has a value.
    fn contains(&self, key: u64) -> bool;
    /// Sets a value.
    fn put(&self, key: u64, value: u64);
    /// Sets a value, and returns the old one.
    fn insert(&self, key: u64, value: u64) -> Option<u64>;
    /// Takes a value away.
    fn remove(&self, key: u64) -> Option<u64>;
    /// Sets or takes away the value of a key if it is `seen`.
    ///
    /// # Errors
    /// The value that is there instead.
    fn exchange(&self, key: u64, seen: Option<u64>, new: Option<u64>) -> Result<(), Option<u64>>;
    /// Replaces the value by what is made of it, and returns it.
    fn fetch_and_update(
        &self,
        key: u64,
        update: &mut dyn FnMut(Option<u64>) -> Option<u64>,
    ) -> Option<u64>;
    /// The entries of a range, in ascending order if the map gives them in order.
    fn scan(&self, from: Bound<u64>, to: Bound<u64>, way: Way) -> Vec<(u64, u64)>;
    /// The same of a snapshot, which is there when `taken` is called. None if there is no such
    /// thing.
    fn scan_snapshot(
        &self,
        _taken: &mut dyn FnMut(),
        _from: Bound<u64>,
        _to: Bound<u64>,
        _way: Way,
    ) -> Option<Vec<(u64, u64)>> {
        None
    }
}

impl Concurrent for Map<u64, u64> {
    fn get(&self, key: u64) -> Option<u64> {
        Self::get(self, &key)
    }

    fn contains(&self, key: u64) -> bool {
        self.contains_key(&key)
    }

    fn put(&self, key: u64, value: u64) {
        Self::insert(self, key, value);
    }

    fn insert(&self, key: u64, value: u64) -> Option<u64> {
        Self::insert(self, key, value)
    }

    fn remove(&self, key: u64) -> Option<u64> {
        Self::remove(self, &key)
    }

    fn exchange(&self, key: u64, seen: Option<u64>, new: Option<u64>) -> Result<(), Option<u64>> {
        self.compare_exchange(&key, seen.as_ref(), new).map_err(|refused| refused.current)
    }

    fn fetch_and_update(
        &self,
        key: u64,
        update: &mut dyn FnMut(Option<u64>) -> Option<u64>,
    ) -> Option<u64> {
        Self::fetch_and_update(self, &key, |seen| update(seen.copied()))
    }

    fn scan(&self, from: Bound<u64>, to: Bound<u64>, way: Way) -> Vec<(u64, u64)> {
        if way != Way::Shown {
            return way.take(self.range::<u64, _>((from, to)));
        }
        let mut all = Vec::new();
        let _all = self.session().scan::<u64, _, ()>((from, to), |key, value| {
            give_way(all.len());
            all.push((*key, *value));
            ControlFlow::Continue(())
        });
        all
    }

    fn scan_snapshot(
        &self,
        taken: &mut dyn FnMut(),
        from: Bound<u64>,
        to: Bound<u64>,
        way: Way,
    ) -> Option<Vec<(u64, u64)>> {
        let snapshot = self.snapshot();
        taken();
        Some(way.take(snapshot.range::<u64, _>((from, to))))
    }
}

/// The same with values behind pointers, which are reclaimed, and keys of any length.
#[derive(Debug)]
pub struct Boxed(pub Map<String, Box<u64>>);

fn text(key: u64) -> String {
    format!("a key of text {key:09}")
}

impl Concurrent for Boxed {
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(text(key).as_str()).map(|value| *value)
    }

    fn contains(&self, key: u64) -> bool {
        self.0.contains_key(text(key).as_str())
    }

    fn put(&self, key: u64, value: u64) {
        self.0.insert(text(key), Box::new(value));
    }

    fn insert(&self, key: u64, value: u64) -> Option<u64> {
        self.0.insert(text(key), Box::new(value)).map(|value| *value)
    }

    fn remove(&self, key: u64) -> Option<u64> {
        self.0.remove(text(key).as_str()).map(|value| *value)
    }

    fn exchange(&self, key: u64, seen: Option<u64>, new: Option<u64>) -> Result<(), Option<u64>> {
        let seen = seen.map(Box::new);
        let done = self.0.compare_exchange(text(key).as_str(), seen.as_ref(), new.map(Box::new));
        done.map_err(|refused| refused.current.map(|value| *value))
    }

    fn fetch_and_update(
        &self,
        key: u64,
        update: &mut dyn FnMut(Option<u64>) -> Option<u64>,
    ) -> Option<u64> {
        let update = |seen: Option<&Box<u64>>| update(seen.map(|value| **value)).map(Box::new);
        self.0.fetch_and_update(text(key).as_str(), update).map(|value| *value)
    }

    fn scan(&self, from: Bound<u64>, to: Bound<u64>, way: Way) -> Vec<(u64, u64)> {
        let range = (from.map(text), to.map(text));
        if way != Way::Shown {
            return way.take(self.0.range::<String, _>(range).map(numbers));
        }
        let mut all = Vec::new();
        let _all = self.0.session().scan::<String, _, ()>(range, |key, value| {
            give_way(all.len());
            all.push(numbers((key.to_owned(), value.clone())));
            ControlFlow::Continue(())
        });
        all
    }

    fn scan_snapshot(
        &self,
        taken: &mut dyn FnMut(),
        from: Bound<u64>,
        to: Bound<u64>,
        way: Way,
    ) -> Option<Vec<(u64, u64)>> {
        let snapshot = self.0.snapshot();
        taken();
        Some(way.take(snapshot.range::<String, _>((from.map(text), to.map(text))).map(numbers)))
    }
}

fn numbers((key, value): (String, Box<u64>)) -> (u64, u64) {
    (key.rsplit(' ').next().unwrap().parse().unwrap(), *value)
}

/// Values of some length, so that a few of them fill a page; now and then one apart from it.
fn bytes(value: u64) -> Bytes {
    let len = if value.is_multiple_of(16) { 1500 } else { 8 + value as usize % 40 };
    let mut bytes = vec![value as u8; len];
    bytes[..8].copy_from_slice(&value.to_be_bytes());
    bytes.into()
}

fn number(bytes: &[u8]) -> u64 {
    let value = u64::from_be_bytes(bytes[..8].try_into().unwrap());
    assert!(self::bytes(value) == bytes, "a torn value");
    value
}

impl Concurrent for Tree {
    fn get(&self, key: u64) -> Option<u64> {
        Self::get(self, key.to_be_bytes()).unwrap().as_deref().map(number)
    }

    fn contains(&self, key: u64) -> bool {
        self.contains_key(key.to_be_bytes()).unwrap()
    }

    fn put(&self, key: u64, value: u64) {
        Self::put(self, key.to_be_bytes(), bytes(value)).unwrap();
    }

    fn insert(&self, key: u64, value: u64) -> Option<u64> {
        Self::insert(self, key.to_be_bytes(), bytes(value)).unwrap().as_deref().map(number)
    }

    fn remove(&self, key: u64) -> Option<u64> {
        Self::remove(self, key.to_be_bytes()).unwrap().as_deref().map(number)
    }

    fn exchange(&self, key: u64, seen: Option<u64>, new: Option<u64>) -> Result<(), Option<u64>> {
        let (seen, new) = (seen.map(bytes), new.map(bytes));
        let done = self.compare_exchange(key.to_be_bytes(), seen.as_deref(), new.as_deref());
        done.unwrap().map_err(|refused| refused.current.as_deref().map(number))
    }

    fn fetch_and_update(
        &self,
        key: u64,
        update: &mut dyn FnMut(Option<u64>) -> Option<u64>,
    ) -> Option<u64> {
        let update = |seen: Option<&[u8]>| update(seen.map(number)).map(bytes);
        let before = Self::fetch_and_update(self, key.to_be_bytes(), update).unwrap();
        before.as_deref().map(number)
    }

    fn scan(&self, from: Bound<u64>, to: Bound<u64>, way: Way) -> Vec<(u64, u64)> {
        let range = self.range((from.map(u64::to_be_bytes), to.map(u64::to_be_bytes)));
        let entry = |entry: bwtree::Result<(Bytes, Bytes)>| {
            let (key, value) = entry.unwrap();
            (u64::from_be_bytes(key.as_ref().try_into().unwrap()), number(&value))
        };
        way.take(range.map(entry))
    }
}
