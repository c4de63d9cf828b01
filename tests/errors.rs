//! Every call that a store makes of its disk fails, once and for good, with every error that a
//! system has for it: what passes is waited out, only what may have lost bytes ends all writing,
//! nothing that was acknowledged is lost, and a close that failed can be repeated.
//!
//! `BWTREE_ERRORS=1` fails each call of each kind in turn, instead of some.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]
#![expect(clippy::print_stdout, reason = "a test says what it has measured")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bwtree::io::{Access, Disk, DiskLock, File, LockFailure, Reader, Registration, SimDisk};
use bwtree::{Builder, CleanOptions, Db, Error, Result, SyncPolicy, Tree};
use bwtree_tests::watch::Watch;
use bwtree_tests::{Random, amount};

/// The calls of the seam to the disk.
const CALLS: [&str; 17] = [
    "open",
    "create",
    "list",
    "remove",
    "rename",
    "sync directory",
    "directory is linked",
    "file is linked",
    "free bytes",
    "lock",
    "register",
    "readers",
    "read",
    "write",
    "sync",
    "len",
    "allocate",
];

/// Errors that pass: no room, no descriptors, no memory, no calm.
const PASSING: [(&str, i32); 8] = [
    ("ENOSPC", 28),
    ("EDQUOT", 122),
    ("EFBIG", 27),
    ("EMFILE", 24),
    ("ENFILE", 23),
    ("ENOMEM", 12),
    ("EINTR", 4),
    ("EAGAIN", 11),
];
const OTHERS: [(&str, i32); 7] = [
    ("EIO", 5),
    ("EROFS", 30),
    ("EACCES", 13),
    ("EPERM", 1),
    ("ENOENT", 2),
    ("ENODEV", 19),
    ("ESTALE", 116),
];

#[derive(Debug, Default)]
struct Plan {
    calls: [AtomicU64; CALLS.len()],
    /// The kind of call that fails, or none, and from which on.
    kind: AtomicU64,
    from: AtomicU64,
    lasting: AtomicU64,
    errno: AtomicI32,
}

impl Plan {
    fn enter(&self, call: &str) -> io::Result<()> {
        let kind = CALLS.iter().position(|of| *of == call).unwrap();
        let nth = self.calls[kind].fetch_add(1, Ordering::SeqCst) + 1;
        let from = self.from.load(Ordering::SeqCst);
        let is_it = self.kind.load(Ordering::SeqCst) == kind as u64;
        let lasting = self.lasting.load(Ordering::SeqCst) == 1;
        if is_it && from > 0 && (nth == from || lasting && nth > from) {
            return Err(io::Error::from_raw_os_error(self.errno.load(Ordering::SeqCst)));
        }
        Ok(())
    }
}

/// A disk in front of a simulated one. A clone is the same disk.
#[derive(Clone, Debug)]
struct Failing {
    disk: SimDisk,
    plan: Arc<Plan>,
}

impl Failing {
    fn new(disk: SimDisk) -> Self {
        Self { disk, plan: Arc::default() }
    }

    /// The `nth` call of this kind from now on fails, and with `lasting` all behind it.
    fn fail(&self, kind: usize, errno: i32, nth: u64, lasting: bool) {
        self.plan.errno.store(errno, Ordering::SeqCst);
        self.plan.kind.store(kind as u64, Ordering::SeqCst);
        self.plan.lasting.store(u64::from(lasting), Ordering::SeqCst);
        let now = self.plan.calls[kind].load(Ordering::SeqCst);
        self.plan.from.store(now + nth, Ordering::SeqCst);
    }

    fn heal(&self) {
        self.plan.from.store(0, Ordering::SeqCst);
    }

    fn calls(&self, kind: usize) -> u64 {
        self.plan.calls[kind].load(Ordering::SeqCst)
    }
}

impl Disk for Failing {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        self.plan.enter(if access == Access::Create { "create" } else { "open" })?;
        let file = self.disk.open(name, access)?;
        Ok(Arc::new(FailingFile { file, plan: Arc::clone(&self.plan) }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.plan.enter("list")?;
        self.disk.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.plan.enter("remove")?;
        self.disk.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.plan.enter("rename")?;
        self.disk.rename(from, to)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.plan.enter("sync directory")?;
        self.disk.sync_directory()
    }

    fn is_linked(&self) -> io::Result<bool> {
        self.plan.enter("directory is linked")?;
        self.disk.is_linked()
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        self.plan.enter("free bytes")?;
        self.disk.free_bytes()
    }

    fn lock(&self, exclusive: bool) -> std::result::Result<Box<dyn DiskLock>, LockFailure> {
        self.plan.enter("lock").map_err(LockFailure::Io)?;
        self.disk.lock(exclusive)
    }

    fn register(&self) -> io::Result<Box<dyn Registration>> {
        self.plan.enter("register")?;
        self.disk.register()
    }

    fn readers(&self) -> io::Result<Vec<Reader>> {
        self.plan.enter("readers")?;
        self.disk.readers()
    }

    fn place(&self) -> String {
        self.disk.place()
    }
}

#[derive(Debug)]
struct FailingFile {
    file: Arc<dyn File>,
    plan: Arc<Plan>,
}

impl File for FailingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.plan.enter("read")?;
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.plan.enter("write")?;
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.plan.enter("sync")?;
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.plan.enter("len")?;
        self.file.len()
    }

    fn is_linked(&self, name: &str) -> io::Result<bool> {
        self.plan.enter("file is linked")?;
        self.file.is_linked(name)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.plan.enter("allocate")?;
        self.file.allocate(len)
    }
}

fn builder(background: bool) -> Builder {
    let builder = Db::builder("unused").tiny().memory_budget_bytes(1 << 20);
    if background {
        builder.sync_policy(SyncPolicy::EveryMillis(2))
    } else {
        builder.sync_policy(SyncPolicy::Manual).without_background()
    }
}

/// What each key may have: what was acknowledged last, and what was tried since.
#[derive(Debug, Default)]
struct Model(BTreeMap<u64, Vec<(Option<u64>, bool)>>);

impl Model {
    /// A write that was said to be done, or that may have been.
    fn tried(&mut self, key: u64, value: Option<u64>, is_done: bool) {
        self.0.entry(key).or_insert_with(|| vec![(None, true)]).push((value, is_done));
    }

    fn acknowledged(&mut self) {
        for all in self.0.values_mut() {
            let last = all.iter().rposition(|(_, is_done)| *is_done).unwrap();
            all.drain(..last);
        }
    }

    fn check(&self, tree: &Tree, what: &str) {
        for (key, may) in &self.0 {
            let found = tree.get(text(*key)).unwrap_or_else(|e| panic!("{what}, key {key}: {e}"));
            let found = found.map(|v| u64::from_be_bytes(v[..8].try_into().unwrap()));
            assert!(
                may.iter().any(|(may, _)| *may == found),
                "{what}, key {key}: {found:?}, not of {may:?}"
            );
        }
    }
}

fn text(key: u64) -> String {
    format!("key {key:05}")
}

fn value(number: u64) -> Vec<u8> {
    // Some lie apart from their page, and they fill segments.
    let len = if number.is_multiple_of(5) { 4000 } else { 8 + number as usize % 30 };
    let mut value = number.to_be_bytes().to_vec();
    value.resize(len, 7);
    value
}

/// What a life of a store came to.
#[derive(Debug, Default)]
struct Seen {
    errors: Vec<Error>,
    /// Whether the store refused to write to its end.
    poisoned: bool,
    /// Closes that failed before one that did not.
    closes: u64,
}

/// Writes, syncs, evicts, checkpoints and cleans a while; the errors that it met.
fn live(db: &Db, tree: &Tree, model: &mut Model, steps: u64) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut random = Random::new(steps);
    for step in 0..steps {
        let mut note =
            |done: Result<()>| done.inspect_err(|error| errors.push(error.clone())).is_ok();
        for _ in 0..12 {
            let (key, number) = (random.below(120), random.next_u64() >> 8);
            if random.once_in(4) {
                let is_done = note(tree.delete(text(key)).map(drop));
                model.tried(key, None, is_done);
            } else {
                let is_done = note(tree.put(text(key), value(number)));
                model.tried(key, Some(number), is_done);
            }
        }
        match step % 8 {
            3 => drop(db.evict_pages()),
            5 => drop(note(db.checkpoint())),
            7 => drop(note(db.clean(CleanOptions::default()).map(drop))),
            _ => {}
        }
        if note(db.sync()) {
            model.acknowledged();
        }
    }
    errors
}

fn passes(error: &Error) -> bool {
    matches!(error, Error::Log(log) if log.is_passing())
}

/// Whether the store goes on after it, in the log's own words.
fn stops_one_group(error: &Error) -> bool {
    matches!(error, Error::Log(log) if log.stops_one_group())
}

/// What may come of a failed call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    /// The same call may succeed, and every error says so.
    Passes,
    /// No group but one fails, and what was wanted is told.
    StopsOneGroup,
    /// Nobody knows what is durable of what was to be made so.
    MayEndWriting,
}

fn rule(call: &str, passing: bool) -> Rule {
    match call {
        "sync" | "sync directory" => Rule::MayEndWriting,
        "write" if !passing => Rule::MayEndWriting,
        _ if passing => Rule::Passes,
        _ => Rule::StopsOneGroup,
    }
}

/// One life with this fault from its `nth` call on, in the middle of it or from its opening.
fn one(call: usize, errno: i32, nth: u64, lasting: bool, opening: bool, background: bool) -> Seen {
    let sim = SimDisk::new();
    let what = format!(
        "{} {nth} errno {errno}, lasting {lasting}, opening {opening}, background {background}",
        CALLS[call]
    );
    let rule = rule(CALLS[call], PASSING.iter().any(|(_, of)| *of == errno));
    let mut model = Model::default();
    let mut seen = Seen::default();
    let disk = Failing::new(sim.clone());
    let db = builder(background).open_on(Arc::new(disk.clone())).unwrap();
    let mut tree = db.tree("t").unwrap();
    assert!(live(&db, &tree, &mut model, 8).is_empty(), "{what}");
    let mut db = db;
    if opening {
        drop(tree);
        db.close().unwrap();
        disk.fail(call, errno, nth, lasting);
        let opened = builder(background).open_on(Arc::new(disk.clone()));
        let opened = opened.and_then(|db| {
            let tree = db.tree("t")?;
            Ok((db, tree))
        });
        match opened {
            Ok((again, of)) => (db, tree) = (again, of),
            Err(error) => {
                seen.errors.push(error);
                disk.heal();
                let again = builder(background).open_on(Arc::new(disk.clone()));
                let again = again.unwrap_or_else(|e| panic!("{what}, opening again: {e}"));
                let of = again.tree("t").unwrap_or_else(|e| panic!("{what}, tree: {e}"));
                model.check(&of, &what);
                (db, tree) = (again, of);
            }
        }
    } else {
        disk.fail(call, errno, nth, lasting);
    }
    seen.errors.extend(live(&db, &tree, &mut model, 16));
    // With its disk as it should be: what passed is over, what is poisoned is for good.
    let other = db.clone();
    if lasting && !opening {
        // A close under it; then it is over, and the close is repeated.
        if let Err(error) = other.close() {
            seen.closes += 1;
            seen.errors.push(error);
        }
        disk.heal();
    } else {
        disk.heal();
        // Puts may be refused until a sync of the background has found that there is room.
        let begun = Instant::now();
        while let Err(error) = db.sync().and_then(|()| tree.put("again", "x")) {
            if !stops_one_group(&error) || begun.elapsed() > Duration::from_secs(5) {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        let more = live(&db, &tree, &mut model, 2);
        seen.poisoned = !more.is_empty();
        if rule != Rule::MayEndWriting {
            assert!(more.is_empty(), "{what}: not over: {more:?}");
            model.check(&tree, &what);
        }
    }
    for error in &seen.errors {
        let message = error.to_string();
        assert!(!message.contains('\n') && !message.is_empty(), "{what}: {message:?}");
    }
    let closed = db.clone().close();
    if rule != Rule::MayEndWriting {
        closed.as_ref().unwrap_or_else(|e| panic!("{what}: a close that can't be repeated: {e}"));
    }
    for error in &seen.errors {
        match rule {
            Rule::Passes => assert!(passes(error), "{what}: {error}"),
            // What could not be read is damaged, until it can.
            Rule::StopsOneGroup if !opening => assert!(
                stops_one_group(error) || CALLS[call] == "read" && error.is_damage(),
                "{what}: {error}"
            ),
            _ => {}
        }
    }
    if closed.is_ok() {
        model.acknowledged();
    }
    seen.poisoned |= closed.is_err();
    // By a crash nothing is lost that was acknowledged, and by an end of the process no more.
    let mut random = Random::new(nth);
    let crashed = sim.crash(&mut |n| random.below(n));
    drop((tree, db));
    for disk in [crashed, sim.kill()] {
        let db = builder(false).open_on(Arc::new(disk));
        let db = db.unwrap_or_else(|e| panic!("{what}, recovery: {e}"));
        let tree = db.find_tree("t").unwrap().unwrap_or_else(|| panic!("{what}: no tree"));
        model.check(&tree, &what);
        db.verify().unwrap_or_else(|e| panic!("{what}, verify: {e}"));
    }
    seen
}

/// Calls of each kind that a life without faults makes behind its beginning.
fn calls_of_a_life(opening: bool, background: bool) -> [u64; CALLS.len()] {
    let disk = Failing::new(SimDisk::new());
    let db = builder(background).open_on(Arc::new(disk.clone())).unwrap();
    let tree = db.tree("t").unwrap();
    let mut model = Model::default();
    let _none = live(&db, &tree, &mut model, 8);
    let before = std::array::from_fn::<u64, { CALLS.len() }, _>(|kind| disk.calls(kind));
    if opening {
        drop(tree);
        db.close().unwrap();
        let before = std::array::from_fn::<u64, { CALLS.len() }, _>(|kind| disk.calls(kind));
        let db = builder(background).open_on(Arc::new(disk.clone())).unwrap();
        let _tree = db.tree("t").unwrap();
        return std::array::from_fn(|kind| disk.calls(kind) - before[kind]);
    }
    let _none = live(&db, &tree, &mut model, 16);
    drop(tree);
    db.close().unwrap();
    std::array::from_fn(|kind| disk.calls(kind) - before[kind])
}

fn every_error(background: bool) {
    let all = amount("BWTREE_ERRORS", 0) != 0;
    let watch = Watch::new(Duration::from_secs(60));
    let mut wrong = Vec::new();
    // Calls of which a failure has stopped a group or nothing at all.
    let mut harmless = BTreeSet::new();
    let (mut lives, mut met, mut poisoned, mut closes, mut silent) = (0, 0, 0, 0, 0);
    for opening in [true, false] {
        let calls = calls_of_a_life(opening, background);
        for (call, &of_life) in calls.iter().enumerate() {
            for (name, errno) in PASSING.into_iter().chain(OTHERS) {
                let mut of_kind = (0, 0, 0);
                for lasting in [false, true] {
                    let nths: Vec<u64> = if all {
                        (1..=of_life).collect()
                    } else {
                        // The last, if there are fewer: a life has two to four renames.
                        let some = [(1 + errno as u64 % 3).min(of_life), 5 + errno as u64 % 37];
                        some.into_iter().filter(|nth| (1..=of_life).contains(nth)).collect()
                    };
                    for nth in nths {
                        watch.report(format!(
                            "{} {nth} of {of_life} {name}, lasting {lasting}, opening {opening}, \
                             background {background}",
                            CALLS[call]
                        ));
                        let life = || one(call, errno, nth, lasting, opening, background);
                        let seen = catch_unwind(life).unwrap_or_else(|panic| {
                            let said = panic.downcast::<String>().map_or_else(
                                |panic| format!("{:?}", panic.downcast::<&str>()),
                                |said| *said,
                            );
                            wrong.push(format!("{name}: {said}"));
                            Seen::default()
                        });
                        lives += 1;
                        of_kind.0 += 1;
                        of_kind.1 += u64::from(!seen.errors.is_empty());
                        of_kind.2 += u64::from(seen.poisoned);
                        closes += seen.closes;
                        silent += u64::from(seen.errors.is_empty());
                    }
                }
                if of_kind.0 > 0 && errno == 5 && of_kind.2 == 0 {
                    harmless.insert(CALLS[call]);
                }
                met += of_kind.1;
                poisoned += of_kind.2;
                if of_kind.0 > 0 {
                    println!(
                        "opening {opening}, {} {name}: {} lives, {} told, {} poisoned",
                        CALLS[call], of_kind.0, of_kind.1, of_kind.2
                    );
                }
            }
        }
        println!("opening {opening}: calls {:?}", CALLS.iter().zip(calls).collect::<Vec<_>>());
    }
    println!(
        "background {background}: {lives} lives, {met} were told, {silent} were not, {poisoned} \
         ended all writing, {closes} closes repeated"
    );
    assert!(wrong.is_empty(), "{} are wrong: {:#?}", wrong.len(), wrong);
    for call in ["create", "allocate", "rename", "remove", "readers"] {
        assert!(harmless.contains(call), "EIO of {call}");
    }
    for call in ["directory is linked", "file is linked", "free bytes", "len", "list"] {
        assert!(harmless.contains(call), "EIO of {call}");
    }
    assert!(lives > 200 && met > 100 && poisoned > 10 && closes > 10);
}

#[test]
fn every_call_with_every_error() {
    every_error(false);
}

#[test]
fn every_call_with_every_error_beside_the_background() {
    every_error(true);
}
