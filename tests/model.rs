//! A `Map` and a `BTreeMap` do the same: every operation, both directions, all kinds of keys.
//!
//! Tiny pages split and merge every few operations; normal ones show that nothing hangs on that.
//! In between, the invariants of the tree are checked.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]
#![expect(clippy::print_stdout, reason = "a test says how much it has tested")]

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::iter::FusedIterator;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex};

use bwtree::map::Entry;
use bwtree::{EncodeKey, Key, Map};
use bwtree_tests::{Ask, Mix, Ordered, Pull, Random, Side, Tally, drive, pull, seed};

/// A `Map` as the driver wants it.
struct Mapped<K, V: Clone + Send + Sync + 'static>(Map<K, V>);

impl<K, V> Mapped<K, V>
where
    K: Key + Borrow<K> + EncodeKey,
    V: Clone + Eq + Debug + Send + Sync + 'static,
{
    /// A scan lends what a range gives, all of it or the first few.
    fn check_scans(&self, from: Bound<&K>, to: Bound<&K>, few: usize) {
        let given = |(key, value): (K, V)| (key.to_encoded(), value);
        let all: Vec<_> = self.0.range((from, to)).map(given).collect();
        for most in [few, usize::MAX] {
            let broken = (!all.is_empty()).then_some(most.max(1)).filter(|most| *most <= all.len());
            for pinned in [false, true] {
                let mut lent = Vec::new();
                let see = |key: &K::Lent, value: &V| {
                    lent.push((key.to_encoded(), value.clone()));
                    if lent.len() >= most { ControlFlow::Break(lent.len()) } else { CONTINUE }
                };
                let end = if pinned {
                    self.0.session().scan((from, to), see)
                } else {
                    self.0.scan((from, to), see)
                };
                assert_eq!(end.break_value(), broken, "where a scan breaks off");
                assert_eq!(lent, all[..broken.unwrap_or(all.len())], "what a scan lends");
            }
        }
    }
}

const CONTINUE: ControlFlow<usize> = ControlFlow::Continue(());

impl<K, V> Ordered<K, V> for Mapped<K, V>
where
    K: Key + Borrow<K> + EncodeKey + Debug,
    V: Clone + Eq + Debug + Send + Sync + 'static,
{
    fn get(&self, key: &K) -> Option<V> {
        let value = self.0.get(key);
        assert_eq!(self.0.contains_key(key), value.is_some(), "contains_key");
        value
    }

    fn insert(&self, key: &K, value: &V) -> Option<V> {
        // Both ways, in turn.
        if self.0.len().is_multiple_of(2) {
            self.0.insert_ref(key, value.clone())
        } else {
            self.0.insert(key.clone(), value.clone())
        }
    }

    fn remove(&self, key: &K) -> Option<V> {
        let there = self.0.get_key_value(key);
        let removed = match self.0.entry(key.clone()) {
            Entry::Occupied(entry) => entry.remove_entry(),
            Entry::Vacant(entry) => self.0.remove_entry(entry.key()),
        };
        assert_eq!(removed, there, "get_key_value and remove_entry");
        removed.map(|(_, value)| value)
    }

    fn compare_exchange(
        &self,
        key: &K,
        expected: Option<&V>,
        new: Option<&V>,
    ) -> Result<(), Option<V>> {
        self.0.compare_exchange(key, expected, new.cloned()).map_err(|refused| {
            assert_eq!(refused.proposed.as_ref(), new, "the value is handed back");
            refused.current
        })
    }

    fn first(&self) -> Option<(K, V)> {
        self.0.first_key_value()
    }

    fn last(&self) -> Option<(K, V)> {
        self.0.last_key_value()
    }

    fn pop_first(&self) -> Option<(K, V)> {
        self.0.pop_first()
    }

    fn pop_last(&self) -> Option<(K, V)> {
        self.0.pop_last()
    }

    fn range(&self, from: Bound<&K>, to: Bound<&K>, pulls: &[Pull]) -> Vec<(K, V)> {
        // A clone on the way goes on where the original stands.
        let mut range = self.0.range((from, to));
        let (begin, rest) = pulls.split_at(pulls.len() / 3);
        let mut out = pull(&mut range, begin);
        out.extend(pull(range.clone(), rest));
        self.check_scans(from, to, begin.len());
        out
    }

    fn remove_range(&self, from: Bound<&K>, to: Bound<&K>) -> u64 {
        self.0.remove_range((from, to))
    }

    fn look(&self, key: &K) -> Option<V> {
        self.0.get_with(key, V::clone)
    }

    fn nearest(&self, side: Side, key: &K) -> Option<(K, V)> {
        match side {
            Side::Lt => self.0.lt(key),
            Side::Le => self.0.le(key),
            Side::Gt => self.0.gt(key),
            Side::Ge => self.0.ge(key),
        }
    }

    fn pop_in(&self, from: Bound<&K>, to: Bound<&K>, end: Pull) -> Option<(K, V)> {
        match end {
            Pull::Front => self.0.pop_first_in((from, to)),
            Pull::Back => self.0.pop_last_in((from, to)),
        }
    }

    fn keys(&self, pulls: &[Pull]) -> Vec<K> {
        pull(self.0.keys(), pulls)
    }

    fn values(&self, pulls: &[Pull]) -> Vec<V> {
        pull(self.0.values(), pulls)
    }

    fn retain(&self, keep: Ask<'_, K, V>) {
        self.0.retain(keep);
    }

    fn extract_if(
        &self,
        from: Bound<&K>,
        to: Bound<&K>,
        pulls: &[Pull],
        wanted: Ask<'_, K, V>,
    ) -> Vec<(K, V)> {
        pull(self.0.extract_if((from, to), wanted), pulls)
    }

    fn clear(&self) {
        self.0.clear();
    }

    fn len(&self) -> u64 {
        let len = self.0.len() as u64;
        assert_eq!(self.0.is_empty(), len == 0, "is_empty");
        len
    }
}

/// The operations that the driver does not know: those with a closure.
fn closures<K, V>(
    map: &Map<K, V>,
    model: &Mutex<BTreeMap<K, V>>,
    key: &K,
    new: Option<V>,
    kind: u64,
) where
    K: Key + Debug,
    V: Clone + Eq + Debug + Send + Sync + 'static,
{
    let mut model = model.lock().unwrap();
    let before = model.get(key).cloned();
    let mut calls = 0;
    let update = |seen: Option<&V>| {
        assert_eq!(seen, before.as_ref(), "what the closure sees of {key:?}");
        calls += 1;
        new.clone()
    };
    match (kind, &new) {
        (0, _) => assert_eq!(map.fetch_and_update(key, update), before),
        (1, _) => assert_eq!(map.update_and_fetch(key, update), new),
        (2, Some(new)) => {
            let got = map.get_or_insert_with(key.clone(), || {
                calls += 1;
                new.clone()
            });
            assert_eq!(&got, before.as_ref().unwrap_or(new));
            assert_eq!(calls, u64::from(before.is_none()));
            model.entry(key.clone()).or_insert_with(|| new.clone());
            return;
        }
        (3.., Some(new)) => return entries(map, &mut model, key, new, kind),
        (_, None) => return,
    }
    assert_eq!(calls, 1, "alone, a closure runs once");
    match new {
        Some(value) => model.insert(key.clone(), value),
        None => model.remove(key),
    };
}

/// The same through an entry.
fn entries<K, V>(map: &Map<K, V>, model: &mut BTreeMap<K, V>, key: &K, new: &V, kind: u64)
where
    K: Key + Debug,
    V: Clone + Eq + Debug + Send + Sync + 'static,
{
    let before = model.get(key).cloned();
    let entry = map.entry(key.clone());
    assert_eq!(entry.key(), key);
    assert_eq!(matches!(entry, Entry::Occupied(_)), before.is_some());
    let expected = before.clone().unwrap_or_else(|| new.clone());
    match kind {
        3 => assert_eq!(entry.or_insert(new.clone()), expected),
        4 => assert_eq!(entry.or_insert_with(|| new.clone()), expected),
        5 => {
            let modified = entry.and_modify(|value| value.clone_from(new));
            assert_eq!(modified.or_insert_with_key(|_| new.clone()), *new);
        }
        6 => assert_eq!(entry.insert_entry(new.clone()).get(), new),
        _ => match entry {
            Entry::Occupied(mut entry) => {
                assert_eq!(Some(entry.get()), before.as_ref());
                assert_eq!(entry.insert(new.clone()), before);
                assert_eq!(entry.get(), new);
            }
            Entry::Vacant(entry) => {
                assert!(entry.insert(new.clone()).is_ok());
            }
        },
    }
    let now = if kind <= 4 { expected } else { new.clone() };
    assert_eq!(map.get(key).as_ref(), Some(&now), "after kind {kind}");
    model.insert(key.clone(), now);
}

/// Two phases, so that the tree grows and shrinks again.
fn mixes() -> [Mix; 2] {
    let grows = Mix::default();
    [grows, Mix { insert: 120, remove: 500, ..Mix::default() }]
}

/// Drives a map with tiny pages and one with normal pages.
fn run<K, V>(
    name: &str,
    operations: u64,
    key: impl Fn(&mut Random) -> K,
    value: impl Fn(&mut Random) -> V,
) where
    K: Key + Borrow<K> + EncodeKey + Debug + Hash,
    V: Clone + Eq + Debug + Send + Sync + 'static,
{
    let mut random = Random::new(seed(name));
    let mut total = Tally::default();
    for (pages, make) in [
        ("tiny", Map::<K, V>::with_tiny_pages as fn() -> Map<K, V>),
        ("normal", Map::<K, V>::new as fn() -> Map<K, V>),
    ] {
        let mut map = Mapped(make());
        let model = Mutex::new(BTreeMap::new());
        for round in 0..4 {
            let mix = &mixes()[round % 2];
            let mut own = random.fork();
            let check_every = if pages == "tiny" { 97 } else { 499 };
            let between = |map: &mut Mapped<K, V>, number: u64, model: &Mutex<BTreeMap<K, V>>| {
                if number.is_multiple_of(check_every) {
                    map.0.check().unwrap();
                }
                if own.once_in(20) {
                    let key = key(&mut own);
                    let new = (!own.once_in(4)).then(|| value(&mut own));
                    let kind = own.below(8);
                    closures(&map.0, model, &key, new, kind);
                }
            };
            let makers = (|random: &mut Random| key(random), |random: &mut Random| value(random));
            let tally = drive(&mut map, &model, &mut random, operations / 4, mix, makers, between);
            map.0.check().unwrap();
            total.operations += tally.operations;
            total.hits += tally.hits;
            total.scanned += tally.scanned;
            total.largest = total.largest.max(tally.largest);
        }
        // All of it by the other ways to the same entries.
        let expected: Vec<(K, V)> = model.into_inner().unwrap().into_iter().collect();
        assert!((&map.0).into_iter().eq(expected.iter().cloned()), "into_iter");
        let copy: Map<K, V> = expected.iter().cloned().collect();
        assert!(copy.iter().rev().eq(expected.iter().rev().cloned()), "from_iter");
        copy.check().unwrap();
        let mut extended: Map<K, V> = Map::new();
        let (some, rest) = expected.split_at(expected.len() / 2);
        extended.extend(some.iter().cloned());
        (&extended).extend(rest.iter().cloned());
        assert!(extended.into_iter().eq(expected), "extend, into_iter of the map itself");
    }
    println!("{name}: {total:?}");
    assert!(total.hits > 0 && total.scanned > 0 && total.largest > 50, "{total:?}");
}

#[test]
fn numbers() {
    run("numbers", 60_000, |random| random.below(900), Random::next_u64);
}

#[test]
fn the_edges_of_numbers() {
    let any = |random: &mut Random| match random.below(3) {
        0 => random.below(300),
        1 => u64::MAX - random.below(300),
        _ => (1 << 63) - 150 + random.below(300),
    };
    run("the_edges_of_numbers", 30_000, any, |random| random.next_u64() as u8);
}

#[test]
fn texts() {
    let text = |random: &mut Random| match random.below(4) {
        0 => String::new(),
        1 => format!("common/prefix/of/many/keys/{}", random.below(300)),
        2 => "\u{0}a\u{10ffff}".repeat(random.index(4)) + &random.below(99).to_string(),
        _ => random.below(400).to_string(),
    };
    run("texts", 30_000, text, |random| "v".repeat(random.index(200)));
}

#[test]
fn tuples() {
    let key = |random: &mut Random| {
        let text = match random.below(3) {
            0 => "\u{0}".repeat(random.index(4)),
            1 => String::new(),
            _ => random.below(60).to_string(),
        };
        (random.below(12) as u32, text)
    };
    run("tuples", 30_000, key, |random| random.bytes(40));
}

#[test]
fn signed_numbers_and_shared_values() {
    let key = |random: &mut Random| match random.below(10) {
        0 => *random.pick(&[i64::MIN, i64::MAX, 0, -1, 1]),
        _ => random.below(600) as i64 - 300,
    };
    run("signed_numbers_and_shared_values", 30_000, key, |random| {
        Arc::<str>::from(random.below(1000).to_string())
    });
}

#[test]
fn pairs_of_eight_bytes() {
    let key = |random: &mut Random| (random.below(30) as u32, random.below(40) as i32 - 20);
    run("pairs_of_eight_bytes", 30_000, key, |random| random.once_in(2));
}

#[test]
fn one_byte_keys_and_no_values() {
    run("one_byte_keys_and_no_values", 10_000, |random| random.next_u64() as u8, |_| ());
}

#[test]
fn prefixes() {
    let mut random = Random::new(seed("prefixes"));
    let map: Map<Vec<u8>, u64> = Map::with_tiny_pages();
    let mut model = BTreeMap::new();
    let mut found = 0;
    let bytes = |random: &mut Random, longest: usize| -> Vec<u8> {
        let mut key = random.bytes(longest);
        for byte in &mut key {
            *byte = [0, 1, b'a', 254, 255][*byte as usize % 5];
        }
        key
    };
    for round in 0..3_000 {
        let key = bytes(&mut random, 5);
        assert_eq!(map.insert(key.clone(), round), model.insert(key, round));
        let prefix = bytes(&mut random, 3);
        let expected =
            model.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(k, v)| (k.clone(), *v));
        let expected: Vec<_> = expected.collect();
        assert!(map.prefix(prefix.as_slice()).eq(expected.iter().cloned()), "{prefix:?}");
        assert!(map.prefix(prefix.as_slice()).rev().eq(expected.iter().rev().cloned()));
        found += expected.len();
        if round % 3 == 0 {
            let key = bytes(&mut random, 5);
            assert_eq!(map.remove(key.as_slice()), model.remove(&key));
        }
    }
    map.check().unwrap();
    println!("prefixes: {found} entries found");
    assert!(found > 1000);
}

#[test]
fn long_keys_are_no_trouble() {
    let key = |random: &mut Random| {
        let len = *random.pick(&[0, 1, 63, 64, 65, 100, 1000, 4096]);
        let mut key = vec![b'k'; len];
        if let Some(last) = key.last_mut() {
            *last = random.next_u64() as u8 % 40;
        }
        key
    };
    run("long_keys_are_no_trouble", 6_000, key, |random| random.bytes(8));
}

#[test]
fn ranges_that_are_inside_out_panic_as_in_std() {
    let map: Map<u32, u32> = (0..100).map(|i| (i, i)).collect();
    let inside_out = (Bound::Included(&7), Bound::Excluded(&3));
    assert!(std::panic::catch_unwind(|| map.range(inside_out)).is_err());
    let both = (Bound::Excluded(&3), Bound::Excluded(&3));
    assert!(std::panic::catch_unwind(|| map.range(both)).is_err());
    assert!(std::panic::catch_unwind(|| map.remove_range(inside_out)).is_err());
    assert!(std::panic::catch_unwind(|| map.extract_if(inside_out, |_, _| true)).is_err());
    assert!(std::panic::catch_unwind(|| map.pop_first_in(inside_out)).is_err());
    assert!(std::panic::catch_unwind(|| map.pop_last_in(inside_out)).is_err());
    assert_eq!(map.len(), 100);
    assert_eq!(map.range(3..3).count(), 0);
    assert_eq!(map.range::<u32, _>(3..=3).count(), 1);
}

#[test]
fn ranges_need_no_annotation() {
    let numbers: Map<u64, u64> = (0..10).map(|i| (i, i)).collect();
    let (three, seven) = (3, 7);
    assert_eq!(numbers.range(..).count(), 10);
    assert_eq!(numbers.range(3..7).count(), 4);
    assert_eq!(numbers.range(3..=7).count(), 5);
    assert_eq!(numbers.range(..3).count(), 3);
    assert_eq!(numbers.range(..=3).count(), 4);
    assert_eq!(numbers.range(&three..&seven).count(), 4);
    assert_eq!(numbers.range(&three..=&seven).count(), 5);
    assert_eq!(numbers.range(&seven..).count(), 3);
    assert_eq!(numbers.range((Bound::Excluded(3), Bound::Unbounded)).count(), 6);
    let texts: Map<String, u32> = ["a", "b", "c"].map(|text| (text.to_owned(), 0)).into();
    assert_eq!(texts.range(..).count(), 3);
    assert_eq!(texts.range("a".."c").count(), 2);
    assert_eq!(texts.range("a"..="c").count(), 3);
    assert_eq!(texts.range("b"..).count(), 2);
    assert_eq!(texts.range(.."b").count(), 1);
    assert_eq!(texts.range(..="b").count(), 2);
    assert_eq!(texts.range("b".to_owned()..).count(), 2);
    assert_eq!(texts.range(&"b".to_owned()..&"c".to_owned()).count(), 1);
    assert_eq!(texts.range::<str, _>((Bound::Included("a"), Bound::Unbounded)).count(), 3);
    assert_eq!(texts.range((Bound::Excluded("a"), Bound::Included("b"))).count(), 1);
    assert_eq!(texts.extract_if(.., |key, _| key == "b").count(), 1);
    assert_eq!(texts.pop_first_in("b"..), Some(("c".to_owned(), 0)));
    assert_eq!(texts.remove_range(..), 1);
    let bytes: Map<Vec<u8>, u32> = [(vec![1], 0), (vec![1, 2], 0)].into();
    assert_eq!(bytes.range([1].as_slice()..=[1].as_slice()).count(), 1);
    assert_eq!(bytes.range(vec![1, 0]..).count(), 1);
}

#[test]
fn what_can_be_said_of_the_length_is_said() {
    let map: Map<u32, u32> = (0..100).map(|i| (i, i)).collect();
    let mut iterator = map.iter();
    assert_eq!(iterator.size_hint(), (0, None));
    assert_eq!(iterator.by_ref().count(), 100);
    assert_eq!(iterator.next_back(), None);
    assert_eq!(iterator.size_hint(), (0, Some(0)));
    assert_eq!(map.range(3..3).size_hint(), (0, Some(0)));
    map.insert(200, 0);
    assert_eq!(iterator.clone().next(), None, "a clone of what has ended has ended");
    assert_eq!(iterator.next(), None);
}

#[test]
fn what_extract_if_is_not_asked_for_stays() {
    let map: Map<u32, u32> = (0..100).map(|i| (i, i)).collect();
    let mut tens = map.extract_if(.., |key, _| key % 10 == 0);
    assert_eq!(tens.next(), Some((0, 0)));
    assert_eq!(tens.next_back(), Some((90, 90)));
    assert_eq!(map.len(), 98, "what was given is gone by then");
    drop(tens);
    assert_eq!(map.len(), 98);
}

#[test]
fn copies_extend_from_references() {
    let more = BTreeMap::from([(1, 'a'), (2, 'b')]);
    let mut map: Map<u32, char> = Map::default();
    map.extend(&more);
    (&map).extend([(&3, &'c')]);
    assert!(map.values().eq(['a', 'b', 'c']));
}

/// Iterators go from both ends, stay finished, and can be shown.
#[test]
fn iterators_are_what_iterators_of_maps_are() {
    fn walks<T: DoubleEndedIterator + FusedIterator + Debug>() {}
    fn walks_again<T: DoubleEndedIterator + FusedIterator + Debug + Clone>() {}
    walks_again::<bwtree::map::Iter<'static, String, u32>>();
    walks_again::<bwtree::map::Keys<'static, String, u32>>();
    walks_again::<bwtree::map::Values<'static, String, u32>>();
    walks::<bwtree::map::ExtractIf<'static, String, u32, fn(&String, &u32) -> bool>>();
    walks_again::<bwtree::tree::Range>();
    walks_again::<bwtree::tree::Keys>();
    walks_again::<bwtree::tree::Values>();
    walks::<bwtree::tree::ExtractIf<fn(&[u8], &[u8]) -> bool>>();
}

/// Everything can be handed to and shared with other threads.
#[test]
fn public_types_are_send_and_sync() {
    fn both<T: Send + Sync>() {}
    type Wanted = fn(&String, &Vec<u8>) -> bool;
    both::<Map<String, Vec<u8>>>();
    both::<bwtree::map::Iter<'static, String, Vec<u8>>>();
    both::<bwtree::map::Keys<'static, String, Vec<u8>>>();
    both::<bwtree::map::Values<'static, String, Vec<u8>>>();
    both::<bwtree::map::ExtractIf<'static, String, Vec<u8>, Wanted>>();
    both::<Entry<'_, String, Vec<u8>>>();
    both::<bwtree::map::OccupiedEntry<'_, String, Vec<u8>>>();
    both::<bwtree::map::VacantEntry<'_, String, Vec<u8>>>();
    both::<bwtree::CompareExchangeError<Vec<u8>>>();
    both::<bwtree::Db>();
    both::<bwtree::Tree>();
    both::<bwtree::tree::Range>();
    both::<bwtree::tree::Keys>();
    both::<bwtree::tree::Values>();
    both::<bwtree::tree::ExtractIf<fn(&[u8], &[u8]) -> bool>>();
    both::<bwtree::Builder>();
    both::<bwtree::Stats>();
    both::<bwtree::CleanReport>();
    both::<bwtree::VerifyReport>();
    both::<bwtree::CleaningSchedule>();
    both::<bwtree::Error>();
    both::<bwtree::Bytes>();
}

#[test]
fn an_iterator_keeps_what_it_has_read() {
    let map: Map<u64, String> = (0..500).map(|i| (i, i.to_string())).collect();
    let mut iterator = map.iter();
    assert_eq!(iterator.next().unwrap().0, 0);
    let mut twin = iterator.clone();
    map.clear();
    // What it had read it still has; nothing else is left.
    let rest: Vec<_> = iterator.collect();
    assert!(rest.is_sorted() && !rest.is_empty() && rest.len() < 499);
    assert!(rest.iter().all(|(key, value)| *value == key.to_string()));
    assert!(twin.by_ref().eq(rest));
    assert_eq!((twin.next(), twin.next_back()), (None, None));

    let mut owning = (0..500).map(|i| (i, i.to_string())).collect::<Map<u64, _>>().into_iter();
    assert_eq!(owning.next_back().unwrap().0, 499);
    assert!(owning.map(|(key, _)| key).eq(0..499));
}
