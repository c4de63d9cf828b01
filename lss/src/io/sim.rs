//! A disk for tests that keeps what is durable apart from what is visible.
//!
//! Writes are visible at once and durable when their file is synced; creations, removals and
//! renames are durable when the directory is synced. [`SimDisk::crash`] makes a disk as a power cut
//! may leave it: of each file any of the unsynced writes and of the changes of its length, whole,
//! torn at 512 bytes, or not at all; of the directory any prefix of the unsynced changes, with some
//! of the new names left out. A failed sync loses what it was to save,
//! as Linux does: it stays visible and never becomes durable.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::memory::{LockCount, ReaderList, grow, read_from, write_to};
use super::{Access, Disk, DiskLock, File, LockFailure, Reader, Registration};

/// Bytes that a device writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// The kinds of calls that can be counted and made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(hidden)]
pub enum Op {
    /// [`File::read_at`].
    Read,
    /// [`File::write_at`].
    Write,
    /// [`File::sync_data`].
    Sync,
    /// [`File::allocate`].
    Allocate,
    /// [`Disk::open`] with [`Access::Create`].
    Create,
    /// [`Disk::remove`].
    Remove,
    /// [`Disk::rename`].
    Rename,
    /// [`Disk::sync_directory`].
    SyncDirectory,
    /// [`Disk::open`] of a file that exists.
    Open,
    /// [`Disk::list`].
    List,
    /// [`File::len`].
    Len,
    /// [`Disk::is_linked`].
    LookAtDirectory,
    /// [`File::is_linked`].
    LookAtFile,
    /// [`Disk::readers`].
    Readers,
}

impl Op {
    fn only_looks(self) -> bool {
        use Op::{Len, List, LookAtDirectory, LookAtFile, Open, Read, Readers};
        matches!(self, Read | Open | List | Len | LookAtDirectory | LookAtFile | Readers)
    }
}

const OPS: usize = 14;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(hidden)]
pub enum Fault {
    /// An I/O error; nothing is done.
    Eio,
    /// No room; nothing is done.
    Enospc,
    /// No descriptor; nothing is done.
    Emfile,
    /// The system's error of this number; nothing is done.
    Os(i32),
    /// Half of the bytes are written, then an I/O error.
    ShortWrite,
    /// Half of the bytes are written, then there is no room.
    ShortWriteEnospc,
    /// All bytes are written, and yet there is said to be no room.
    WholeWriteEnospc,
    /// A creation, a renaming or a removal is done, and yet said to have failed.
    DoneEio,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, data: Vec<u8> },
    Grow { len: u64 },
}

#[derive(Clone, Debug, Default)]
struct Body {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Unsynced changes, oldest first.
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create { name: String, body: usize },
    Remove { name: String },
    Rename { from: String, to: String },
}

#[derive(Debug, Default)]
struct Sim {
    bodies: Vec<Body>,
    live: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    pending: Vec<NameChange>,
    locks: LockCount,
    readers: Arc<Mutex<ReaderList>>,
    calls: [u64; OPS],
    faults: Vec<(Op, u64, Fault)>,
    /// Faults of one file: its body, the kind of call, how many more go well before.
    file_faults: Vec<(usize, Op, u64, Fault)>,
    /// Kinds of calls that all fail.
    lasting: Vec<(Op, Fault)>,
    /// Calls that change something, so far and at most.
    changes: u64,
    power_cut_at: Option<u64>,
    capacity: Option<u64>,
}

/// A simulated disk. A clone is the same disk.
#[derive(Clone, Debug, Default)]
#[doc(hidden)]
pub struct SimDisk {
    inner: Arc<Mutex<Sim>>,
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// The `nth` call of this kind from now on (1 is the next) fails.
    pub fn fail(&self, op: Op, nth: u64, fault: Fault) {
        let mut sim = self.sim();
        let at = sim.calls[op as usize] + nth;
        sim.faults.push((op, at, fault));
    }

    /// Every call of this kind fails from now on.
    pub fn fail_all(&self, op: Op, fault: Fault) {
        self.sim().lasting.push((op, fault));
    }

    /// No call fails any more that was to fail.
    pub fn heal(&self) {
        let mut sim = self.sim();
        sim.lasting.clear();
        sim.faults.clear();
        sim.file_faults.clear();
    }

    /// The `nth` read, write or sync of this file from now on (1 is the next) fails. Nothing
    /// happens if there is no such file.
    pub fn fail_file(&self, name: &str, op: Op, nth: u64, fault: Fault) {
        let mut sim = self.sim();
        if let Some(&body) = sim.live.get(name) {
            sim.file_faults.push((body, op, nth, fault));
        }
    }

    /// After `changes` more calls that change something, every call fails and does nothing.
    pub fn cut_power_after(&self, changes: u64) {
        let mut sim = self.sim();
        sim.power_cut_at = Some(sim.changes + changes);
    }

    /// Whether calls still reach the disk.
    pub fn is_powered(&self) -> bool {
        self.sim().is_powered()
    }

    /// The files together may have at most this many bytes; `None` for any.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.sim().capacity = bytes;
    }

    /// Bytes of all visible files.
    pub fn used(&self) -> u64 {
        self.sim().used()
    }

    /// Calls of this kind so far.
    pub fn calls(&self, op: Op) -> u64 {
        self.sim().calls[op as usize]
    }

    /// Calls so far that change something.
    pub fn changes(&self) -> u64 {
        self.sim().changes
    }

    /// Unsynced changes, of files and directory.
    pub fn pending(&self) -> usize {
        let sim = self.sim();
        sim.pending.len() + sim.bodies.iter().map(|b| b.pending.len()).sum::<usize>()
    }

    /// A disk as a power cut at this moment may leave it. `choose(n)` picks a number below `n`;
    /// the same choices give the same disk. Faults and limits are not taken along.
    #[must_use]
    pub fn crash(&self, choose: &mut dyn FnMut(u64) -> u64) -> Self {
        let sim = self.sim();
        let kept = choose(sim.pending.len() as u64 + 1) as usize;
        let mut names = sim.durable.clone();
        for change in &sim.pending[..kept] {
            // No order is known between new names.
            let is_new =
                matches!(change, NameChange::Create { name, .. } if !names.contains_key(name));
            if !is_new || choose(8) != 0 {
                apply(&mut names, change);
            }
        }
        let mut after = Sim::default();
        for (name, &body) in &names {
            let bytes = survivor(&sim.bodies[body], choose);
            after.live.insert(name.clone(), after.bodies.len());
            after.bodies.push(Body { durable: bytes.clone(), live: bytes, pending: Vec::new() });
        }
        after.durable = after.live.clone();
        Self { inner: Arc::new(Mutex::new(after)) }
    }

    /// The same disk as a killed process leaves it: all that is visible stays visible, what is
    /// not durable is still not durable, faults and limits and locks are gone.
    #[must_use]
    pub fn kill(&self) -> Self {
        let sim = self.sim();
        Self {
            inner: Arc::new(Mutex::new(Sim {
                bodies: sim.bodies.clone(),
                live: sim.live.clone(),
                durable: sim.durable.clone(),
                pending: sim.pending.clone(),
                ..Sim::default()
            })),
        }
    }

    /// A copy of all visible files.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let sim = self.sim();
        let copy = |(name, &body): (&String, &usize)| (name.clone(), sim.bodies[body].live.clone());
        sim.live.iter().map(copy).collect()
    }

    fn sim(&self) -> MutexGuard<'_, Sim> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of a file after a power cut.
fn survivor(body: &Body, choose: &mut dyn FnMut(u64) -> u64) -> Vec<u8> {
    let mut bytes = body.durable.clone();
    for change in &body.pending {
        let fate = choose(4);
        match change {
            Change::Grow { len } if fate < 2 => grow(&mut bytes, *len),
            Change::Write { offset, data } if fate < 2 => write_to(&mut bytes, data, *offset),
            Change::Write { offset, data } if fate == 2 => {
                for (at, sector) in sectors(*offset, data) {
                    if choose(2) == 0 {
                        write_to(&mut bytes, sector, at);
                    }
                }
            }
            Change::Grow { .. } | Change::Write { .. } => {}
        }
    }
    bytes
}

/// The pieces of a write that lie in one sector each.
fn sectors(offset: u64, data: &[u8]) -> Vec<(u64, &[u8])> {
    let mut pieces = Vec::new();
    let (mut at, mut rest) = (offset, data);
    while !rest.is_empty() {
        let room = SECTOR_BYTES - at as usize % SECTOR_BYTES;
        let (head, tail) = rest.split_at(room.min(rest.len()));
        pieces.push((at, head));
        at += head.len() as u64;
        rest = tail;
    }
    pieces
}

fn apply(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Create { name, body } => {
            names.insert(name.clone(), *body);
        }
        NameChange::Remove { name } => {
            names.remove(name);
        }
        NameChange::Rename { from, to } => {
            if let Some(body) = names.remove(from) {
                names.insert(to.clone(), body);
            }
        }
    }
}

impl Sim {
    fn used(&self) -> u64 {
        let size = |&body: &usize| self.bodies[body].live.len() as u64;
        self.live.values().map(size).sum()
    }

    /// Counts a call; the fault it is to have, if any.
    fn enter(&mut self, op: Op) -> Result<(), Fault> {
        self.calls[op as usize] += 1;
        if !self.is_powered() {
            return Err(Fault::Eio);
        }
        if !op.only_looks() {
            self.changes += 1;
        }
        if let Some((_, fault)) = self.lasting.iter().find(|(of, _)| *of == op) {
            return Err(*fault);
        }
        let call = self.calls[op as usize];
        let planned = |&(o, n, _): &(Op, u64, Fault)| o == op && n == call;
        match self.faults.iter().position(planned) {
            Some(found) => Err(self.faults.swap_remove(found).2),
            None => Ok(()),
        }
    }

    /// Counts a call that may be done and yet fail: what is then to be said of it.
    fn enter_entry(&mut self, op: Op) -> io::Result<io::Result<()>> {
        match self.enter(op) {
            Err(fault @ Fault::DoneEio) if self.is_powered() => Ok(Err(fault.into())),
            entered => Ok(Ok(entered?)),
        }
    }

    /// Counts a call on a file.
    fn enter_file(&mut self, op: Op, body: usize) -> Result<(), Fault> {
        self.enter(op)?;
        let mut found = None;
        for (at, (of, kind, left, _)) in self.file_faults.iter_mut().enumerate() {
            if (*of, *kind) == (body, op) {
                *left -= 1;
                if *left == 0 {
                    found = Some(at);
                }
            }
        }
        match found {
            Some(at) => Err(self.file_faults.swap_remove(at).3),
            None => Ok(()),
        }
    }

    fn is_powered(&self) -> bool {
        self.power_cut_at.is_none_or(|at| self.changes < at)
    }

    fn rename_entry(&mut self, change: NameChange) {
        apply(&mut self.live, &change);
        self.pending.push(change);
    }

    fn room_for(&self, body: usize, len: u64) -> io::Result<()> {
        let growth = len.saturating_sub(self.bodies[body].live.len() as u64);
        match self.capacity {
            Some(capacity) if growth > 0 && self.used() + growth > capacity => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Emfile => rustix::io::Errno::MFILE.into(),
            Fault::Os(number) => io::Error::from_raw_os_error(number),
            Fault::Eio | Fault::ShortWrite | Fault::DoneEio => {
                io::Error::other("simulated I/O error")
            }
            Fault::Enospc | Fault::ShortWriteEnospc | Fault::WholeWriteEnospc => {
                io::ErrorKind::StorageFull.into()
            }
        }
    }
}

impl Disk for SimDisk {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let mut sim = self.sim();
        let body = if access == Access::Create {
            let said = sim.enter_entry(Op::Create)?;
            let body = sim.bodies.len();
            sim.bodies.push(Body::default());
            sim.rename_entry(NameChange::Create { name: name.to_owned(), body });
            said?;
            body
        } else {
            sim.enter(Op::Open)?;
            *sim.live.get(name).ok_or(io::ErrorKind::NotFound)?
        };
        Ok(Arc::new(SimFile { disk: self.clone(), body }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut sim = self.sim();
        sim.enter(Op::List)?;
        Ok(sim.live.keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut sim = self.sim();
        let said = sim.enter_entry(Op::Remove)?;
        if !sim.live.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        sim.rename_entry(NameChange::Remove { name: name.to_owned() });
        said
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut sim = self.sim();
        let said = sim.enter_entry(Op::Rename)?;
        if !sim.live.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        sim.rename_entry(NameChange::Rename { from: from.to_owned(), to: to.to_owned() });
        said
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut sim = self.sim();
        if let Err(fault) = sim.enter(Op::SyncDirectory) {
            return Err(fault.into());
        }
        sim.pending.clear();
        sim.durable = sim.live.clone();
        Ok(())
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(self.sim().enter(Op::LookAtDirectory).map(|()| true)?)
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        let sim = self.sim();
        Ok(sim.capacity.map(|capacity| capacity.saturating_sub(sim.used())))
    }

    fn lock(&self, exclusive: bool) -> Result<Box<dyn DiskLock>, LockFailure> {
        self.sim().locks.take(exclusive)?;
        Ok(Box::new(Held { disk: self.clone(), exclusive }))
    }

    fn register(&self) -> io::Result<Box<dyn Registration>> {
        Ok(ReaderList::enter(&self.sim().readers))
    }

    fn readers(&self) -> io::Result<Vec<Reader>> {
        let mut sim = self.sim();
        sim.enter(Op::Readers)?;
        Ok(ReaderList::all(&sim.readers))
    }

    fn place(&self) -> String {
        "simulated disk".to_owned()
    }
}

#[derive(Debug)]
struct Held {
    disk: SimDisk,
    exclusive: bool,
}

impl DiskLock for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        self.disk.sim().locks.give_back(self.exclusive);
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    body: usize,
}

impl SimFile {
    fn put(&self, sim: &mut Sim, data: &[u8], offset: u64) {
        let body = &mut sim.bodies[self.body];
        write_to(&mut body.live, data, offset);
        body.pending.push(Change::Write { offset, data: data.to_vec() });
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut sim = self.disk.sim();
        sim.enter_file(Op::Read, self.body)?;
        read_from(&sim.bodies[self.body].live, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut sim = self.disk.sim();
        if let Err(fault) = sim.enter_file(Op::Write, self.body) {
            let written = match fault {
                Fault::Eio | Fault::Enospc | Fault::Emfile | Fault::Os(_) | Fault::DoneEio => 0,
                Fault::ShortWrite | Fault::ShortWriteEnospc => bytes.len() / 2,
                Fault::WholeWriteEnospc => bytes.len(),
            };
            if sim.is_powered() && written > 0 {
                self.put(&mut sim, &bytes[..written], offset);
            }
            return Err(fault.into());
        }
        sim.room_for(self.body, offset + bytes.len() as u64)?;
        self.put(&mut sim, bytes, offset);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut sim = self.disk.sim();
        if let Err(fault) = sim.enter_file(Op::Sync, self.body) {
            // The changes are marked as saved though they are not; while the power is off nothing
            // is marked.
            if sim.is_powered() {
                sim.bodies[self.body].pending.clear();
            }
            return Err(fault.into());
        }
        let body = &mut sim.bodies[self.body];
        for change in body.pending.drain(..) {
            match change {
                Change::Write { offset, data } => write_to(&mut body.durable, &data, offset),
                Change::Grow { len } => grow(&mut body.durable, len),
            }
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut sim = self.disk.sim();
        sim.enter(Op::Len)?;
        Ok(sim.bodies[self.body].live.len() as u64)
    }

    fn is_linked(&self, _name: &str) -> io::Result<bool> {
        Ok(self.disk.sim().enter_file(Op::LookAtFile, self.body).map(|()| true)?)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut sim = self.disk.sim();
        sim.enter_file(Op::Allocate, self.body)?;
        sim.room_for(self.body, len)?;
        let body = &mut sim.bodies[self.body];
        grow(&mut body.live, len);
        body.pending.push(Change::Grow { len });
        Ok(())
    }
}
