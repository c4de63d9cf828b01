//! Snapshots: each is the map of one moment, for as long as it lives, and holds back no more than
//! it must.
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]
#![expect(clippy::print_stdout, reason = "a test says how much it has tested")]

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::ops::{Bound, ControlFlow};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bwtree::{EncodeKey, Key, Map, Snapshot};
use bwtree_tests::{Random, seed};

/// Keys and values of a kind of map.
trait Kind: 'static {
    type Key: Key + Ord + Clone + Debug + Send + Sync;
    type Value: Clone + Debug + PartialEq + Send + Sync;
    fn key(number: u64) -> Self::Key;
    fn value(number: u64) -> Self::Value;
}

/// Numbers to numbers: nothing but bytes in a page.
struct Numbers;
/// Numbers to what has a destructor.
struct Boxes;
/// Texts to texts.
struct Texts;

impl Kind for Numbers {
    type Key = u64;
    type Value = u64;
    fn key(number: u64) -> u64 {
        number
    }
    fn value(number: u64) -> u64 {
        number
    }
}

impl Kind for Boxes {
    type Key = u64;
    type Value = Box<u64>;
    fn key(number: u64) -> u64 {
        number
    }
    fn value(number: u64) -> Box<u64> {
        Box::new(number)
    }
}

impl Kind for Texts {
    type Key = String;
    type Value = String;
    fn key(number: u64) -> String {
        format!("a key of text {number:06}")
    }
    fn value(number: u64) -> String {
        format!("value {number}")
    }
}

type Model<M> = BTreeMap<<M as Kind>::Key, <M as Kind>::Value>;
type Shot<'m, M> = Snapshot<'m, <M as Kind>::Key, <M as Kind>::Value>;

/// Keys of a run.
const KEYS: u64 = 400;

/// Everything that can be asked of a snapshot.
fn agree<M: Kind>(shot: &Shot<'_, M>, model: &Model<M>, random: &mut Random) {
    let owned = |entry: Option<(&M::Key, &M::Value)>| entry.map(|(k, v)| (k.clone(), v.clone()));
    let (a, b) = (random.below(KEYS), random.below(KEYS));
    let (low, high) = (M::key(a.min(b)), M::key(a.max(b)));
    assert_eq!(shot.get(&low), model.get(&low).cloned());
    assert_eq!(shot.contains_key(&high), model.contains_key(&high));
    assert_eq!(shot.get_with(&low, Clone::clone), model.get(&low).cloned());
    assert_eq!(shot.lt(&low), owned(model.range(..&low).next_back()));
    assert_eq!(shot.le(&low), owned(model.range(..=&low).next_back()));
    let above = (Bound::Excluded(&low), Bound::Unbounded);
    assert_eq!(shot.gt(&low), owned(model.range::<M::Key, _>(above).next()));
    assert_eq!(shot.ge(&low), owned(model.range(&low..).next()));
    assert_eq!(shot.first_key_value(), owned(model.first_key_value()));
    assert_eq!(shot.last_key_value(), owned(model.last_key_value()));
    assert_eq!(shot.is_empty(), model.is_empty());
    let inside = || model.range(&low..=&high).map(|(k, v)| (k.clone(), v.clone()));
    assert!(shot.range(low.clone()..=high.clone()).eq(inside()));
    assert!(shot.range(low.clone()..=high.clone()).rev().eq(inside().rev()));
    let mut inside = inside();
    let differs = shot.scan(low.clone()..=high.clone(), |key, value| match inside.next() {
        Some(entry) if (key.to_encoded(), value) == (entry.0.to_encoded(), &entry.1) => {
            ControlFlow::Continue(())
        }
        other => ControlFlow::Break(other),
    });
    assert_eq!((differs, inside.next()), (ControlFlow::Continue(()), None));
    assert_eq!(
        shot.multi_get([&low, &high]),
        [model.get(&low), model.get(&high)].map(Option::<&_>::cloned)
    );
}

/// All of a snapshot, from both ends.
fn same<M: Kind>(shot: &Shot<'_, M>, model: &Model<M>) {
    assert_eq!(shot.len(), model.len());
    assert!(shot.iter().eq(model.iter().map(|(k, v)| (k.clone(), v.clone()))));
    assert!(shot.keys().rev().eq(model.keys().rev().cloned()));
    assert!(shot.values().eq(model.values().cloned()));
    let mut both = shot.into_iter();
    let (mut front, mut back) = (Vec::new(), Vec::new());
    while let Some((key, _)) = both.next() {
        front.push(key);
        back.extend(both.next_back().map(|(key, _)| key));
    }
    assert_eq!(both.next(), None);
    front.extend(back.into_iter().rev());
    assert!(front.iter().eq(model.keys()));
}

/// One change of both.
fn change<M: Kind>(
    map: &Map<M::Key, M::Value>,
    model: &mut Model<M>,
    random: &mut Random,
    at: u64,
) {
    let number = random.below(KEYS);
    match random.below(20) {
        0..9 => {
            let (key, value) = (M::key(number), M::value(at));
            assert_eq!(map.insert(key.clone(), value.clone()), model.insert(key, value));
        }
        9..17 => {
            let key = M::key(number);
            assert_eq!(map.remove(&key), model.remove(&key));
        }
        // A run of keys that are gone: pages merge.
        17 => {
            let end = number + random.below(KEYS / 4);
            map.remove_range(M::key(number)..M::key(end + 1));
            model.retain(|key, _| *key < M::key(number) || *key > M::key(end));
        }
        // Keys that ascend: pages are built of them.
        18 => {
            let run = (number..number + 10 + random.below(80)).step_by(1 + random.index(3));
            let run: Vec<_> = run.map(|key| (M::key(key % 1000), M::value(at + key))).collect();
            (&*map).extend(run.clone());
            model.extend(run);
        }
        _ => {
            let key = M::key(number);
            map.fetch_and_update(&key, |_| Some(M::value(at)));
            model.insert(key, M::value(at));
        }
    }
}

fn many_open<M: Kind>(name: &str) {
    let mut random = Random::new(seed(name));
    let (mut taken, mut most) = (0_u64, 0);
    for round in 0..12 {
        let map: Map<M::Key, M::Value> = Map::with_tiny_pages();
        let mut model = Model::<M>::new();
        // More at once than the clock has cells of its own, in one of the rounds.
        let wanted = if round == 0 { 200 } else { 1 + random.index(12) };
        let mut open: VecDeque<(Shot<'_, M>, Model<M>)> = VecDeque::new();
        for at in 0..2500 {
            change::<M>(&map, &mut model, &mut random, at);
            if random.once_in(9) {
                open.push_back((map.snapshot(), model.clone()));
                taken += 1;
            }
            while open.len() > wanted {
                let at = if random.once_in(3) { random.index(open.len()) } else { 0 };
                let (shot, model) = open.remove(at).unwrap();
                same::<M>(&shot, &model);
            }
            most = most.max(open.len());
            if !open.is_empty() {
                let (shot, model) = &open[random.index(open.len())];
                agree::<M>(shot, model, &mut random);
            }
        }
        for (shot, model) in &open {
            same::<M>(shot, model);
        }
        map.check().unwrap();
        drop(open);
        assert_eq!(map.kept_pages(), 0, "old pages are left when no snapshot is");
    }
    println!("{name}: {taken} snapshots, {most} at once");
    assert!(taken > 1000 && most >= 200);
}

#[test]
fn many_snapshots_of_numbers_beside_a_model() {
    many_open::<Numbers>("many_snapshots_of_numbers_beside_a_model");
}

#[test]
fn many_snapshots_of_boxes_beside_a_model() {
    many_open::<Boxes>("many_snapshots_of_boxes_beside_a_model");
}

#[test]
fn many_snapshots_of_texts_beside_a_model() {
    many_open::<Texts>("many_snapshots_of_texts_beside_a_model");
}

/// One random change of a map that others change as well.
fn churn<M: Kind>(map: &Map<M::Key, M::Value>, random: &mut Random, at: u64) {
    let number = random.below(KEYS);
    match random.below(30) {
        0..14 => drop(map.insert(M::key(number), M::value(at))),
        14..26 => drop(map.remove(&M::key(number))),
        26 => drop(map.remove_range(M::key(number)..M::key(number + random.below(60)))),
        27 => {
            let run = number..number + 9 + random.below(60);
            { map }.extend(run.map(|key| (M::key(key), M::value(at))));
        }
        28 => drop(map.pop_first_in(..M::key(KEYS))),
        _ => drop(map.fetch_and_update(&M::key(number), |seen| Some(seen?.clone()))),
    }
}

/// Snapshots that are looked at beside writers, at least.
const LOOKS: u64 = 100;

/// Runs `look` in two threads and changes in two others, for a while. Says how often it ran.
fn beside_writers<M: Kind>(
    name: &str,
    map: &Map<M::Key, M::Value>,
    look: impl Fn(&mut Random) + Sync,
) -> u64 {
    let mut random = Random::new(seed(name));
    let (done, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            let (mut random, done) = (random.fork(), &done);
            scope.spawn(move || {
                for at in 0.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    churn::<M>(map, &mut random, at);
                }
            });
        }
        let begin = Instant::now();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (mut random, look, looks) = (random.fork(), &look, &looks);
                scope.spawn(move || {
                    while begin.elapsed() < Duration::from_secs(2)
                        || looks.load(Ordering::Relaxed) < LOOKS
                    {
                        look(&mut random);
                        looks.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let ended: Vec<_> = readers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        for reader in ended {
            reader.unwrap();
        }
    });
    assert_eq!(map.kept_pages(), 0, "old pages are left when no snapshot is");
    let looks = looks.into_inner();
    println!("{name}: {looks} snapshots");
    looks
}

fn stays<M: Kind>(name: &str) {
    let map: Map<M::Key, M::Value> = Map::with_tiny_pages();
    let looks = beside_writers::<M>(name, &map, |random| {
        let shot = map.snapshot();
        let model: Model<M> = shot.iter().collect();
        let younger = map.snapshot();
        same::<M>(&shot, &model);
        (0..8).for_each(|_| agree::<M>(&shot, &model, random));
        let later: Model<M> = younger.iter().rev().collect();
        drop(shot);
        same::<M>(&younger, &later);
    });
    map.check().unwrap();
    assert!(looks >= LOOKS, "{looks} snapshots");
}

#[test]
fn a_snapshot_of_numbers_stays_as_it_is() {
    stays::<Numbers>("a_snapshot_of_numbers_stays_as_it_is");
}

#[test]
fn a_snapshot_of_boxes_stays_as_it_is() {
    stays::<Boxes>("a_snapshot_of_boxes_stays_as_it_is");
}

#[test]
fn a_snapshot_of_texts_stays_as_it_is() {
    stays::<Texts>("a_snapshot_of_texts_stays_as_it_is");
}

/// Sets a flag when it is dropped.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One thread writes the same number to keys in far pages, one after the other; any moment has a
/// prefix of it.
fn in_order<M: Kind<Value = u64>>(name: &str) {
    let map: Map<M::Key, u64> = Map::with_tiny_pages();
    let marks: Vec<M::Key> = (0..5).map(|at| M::key(10_000 + 37 * at)).collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 1.. {
                if done.load(Ordering::Relaxed) {
                    return number;
                }
                for mark in &marks {
                    map.insert(mark.clone(), number);
                }
                // Neighbours come and go, so that the pages of the marks split and merge.
                for near in (0..200).filter(|near| near % 37 != 0) {
                    let key = M::key(10_000 + near);
                    if number / 3 % 2 == 0 {
                        map.insert(key, number);
                    } else {
                        map.remove(&key);
                    }
                }
            }
            0
        });
        // Dropped, it ends the writer, also when a look has panicked.
        let ends = Ends(&done);
        let looks = beside_writers::<M>(name, &map, |random| {
            let from = map.get(&marks[4]).unwrap_or(0);
            let shot = map.snapshot();
            let upto = map.get(&marks[0]).unwrap_or(0);
            let mut order: Vec<usize> = (0..5).collect();
            random.shuffle(&mut order);
            let mut seen = [0; 5];
            for at in order {
                seen[at] = shot.get(&marks[at]).unwrap_or(0);
            }
            assert!(seen.is_sorted_by(|a, b| a >= b), "not one moment: {seen:?}");
            assert!(seen[0] <= seen[4] + 1, "not one moment: {seen:?}");
            assert!(from <= seen[4] && seen[0] <= upto, "not its own: {from}, {seen:?}, {upto}");
        });
        drop(ends);
        let rounds = writer.join().unwrap();
        map.check().unwrap();
        println!("{name}: {rounds} rounds");
        assert!(looks >= LOOKS && rounds > 20, "{looks} snapshots, {rounds} rounds");
    });
}

#[test]
fn a_snapshot_of_numbers_is_one_moment() {
    in_order::<Numbers>("a_snapshot_of_numbers_is_one_moment");
}

/// Texts to numbers.
struct Named;

impl Kind for Named {
    type Key = String;
    type Value = u64;
    fn key(number: u64) -> String {
        Texts::key(number)
    }
    fn value(number: u64) -> u64 {
        number
    }
}

#[test]
fn a_snapshot_of_texts_is_one_moment() {
    in_order::<Named>("a_snapshot_of_texts_is_one_moment");
}

/// Kinds of threads that may use one.
fn shared<T: Send + Sync>(_: &T) {}
fn moved<T: Send>(_: &T) {}

#[test]
fn a_snapshot_is_read_by_several_threads() {
    let map: Map<u64, u64> = (0..10_000).map(|key| (key, key)).collect();
    let shot = map.snapshot();
    shared(&shot);
    moved(&shot.iter());
    moved(&shot.keys());
    moved(&shot.values());
    map.clear();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert!(shot.iter().eq((0..10_000).map(|key| (key, key)))));
        }
    });
    let half = shot.range(..5_000);
    let again = half.clone();
    assert_eq!(half.chain(again).count(), 10_000);
    assert_eq!(format!("{:?}", map.snapshot()), "{}");
}

#[test]
fn a_snapshot_of_a_map_that_is_loaded_is_of_before() {
    let map: Map<u64, u64> = Map::new();
    let empty = map.snapshot();
    { &map }.extend((0..50_000).map(|key| (key, 1)));
    let ones = map.snapshot();
    { &map }.extend((0..50_000).map(|key| (key * 2, 2)));
    assert!(empty.is_empty() && empty.iter().next_back().is_none());
    assert!(ones.values().all(|value| value == 1));
    assert_eq!((empty.len(), ones.len(), map.len()), (0, 50_000, 75_000));
    drop(empty);
    assert_eq!((ones.lt(&0), ones.le(&9)), (None, Some((9, 1))));
    drop(ones);
    assert_eq!(map.kept_pages(), 0);
}

/// Nanoseconds of an update, the best of some rounds.
fn update_ns(map: &Map<u64, u64>, random: &mut Random) -> u64 {
    let mut round = || {
        let begin = Instant::now();
        for at in 0..2_000 {
            map.insert(random.below(5_000), at);
        }
        begin.elapsed().as_nanos() as u64 / 2_000
    };
    (0..8).map(|_| round()).min().unwrap()
}

/// With 500 open an update took a hundred times as long: each copy of a page went through all old
/// pages, for each of them once; and through the cells of all snapshots that ever were.
#[test]
fn open_snapshots_cost_a_writer_next_to_nothing() {
    let mut random = Random::new(seed("open_snapshots_cost_a_writer_next_to_nothing"));
    let map: Map<u64, u64> = (0..5_000).map(|key| (key, key)).collect();
    let none = update_ns(&map, &mut random);
    let mut open = VecDeque::new();
    for _ in 0..500 {
        open.push_back(map.snapshot());
        for at in 0..400 {
            map.insert(random.below(5_000), at);
        }
    }
    let many = update_ns(&map, &mut random);
    let kept = map.kept_pages();
    assert!(kept > 500, "{kept} old pages");
    // Any order: none is left, and each goes with the last that needs it.
    while let Some(last) = open.pop_back() {
        drop((last, open.pop_front()));
    }
    assert_eq!(map.kept_pages(), 0);
    drop((0..30_000).map(|_| map.snapshot()).collect::<Vec<_>>());
    let one = map.snapshot();
    let after_a_burst = update_ns(&map, &mut random);
    drop(one);
    println!("{none} ns an update, {many} with 500 open, {after_a_burst} after a burst");
    assert!(many < 5 * none + 200, "{none} ns an update, {many} with 500 snapshots open");
    assert!(after_a_burst < 5 * none + 200, "{none} ns, {after_a_burst} after a burst");
}
