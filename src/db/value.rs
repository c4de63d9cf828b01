//! Values of a tree: bytes in the page or apart from it, read under a pin and loaded without one.

use super::owned::ByteValue;
use crate::engine::{Change, Decision, Found, TreeCore, Unseen};
use crate::error::{Error, Result};
use crate::paging::values::Separated;
use crate::paging::{CATALOG, CATALOG_COPY, DurableEngine};
use bytes::Bytes;
use core::cell::Cell;
use delta::{FLAG_SEPARATED, Hashed, Probe as _};
use mapping::Block;
use std::sync::Arc;
use types::limits::{MAX_INLINE_VALUE_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES};

/// A value that was found: its bytes, or what loads them.
#[derive(Debug, Clone)]
pub(crate) enum Read {
    Inline(Bytes),
    Separated(Arc<Separated>),
}

impl Read {
    /// Takes what is needed of a value in a page; called pinned.
    pub(crate) fn of(found: Found<'_>) -> Self {
        if found.flags & FLAG_SEPARATED == 0 {
            Self::Inline(Bytes::copy_from_slice(found.value))
        } else {
            Self::Separated(Separated::from_handle(found.value))
        }
    }

    /// The bytes; called unpinned.
    pub(crate) fn load(self, engine: &DurableEngine) -> Result<Bytes> {
        match self {
            Self::Inline(bytes) => Ok(bytes),
            Self::Separated(value) => value.load(&engine.store),
        }
    }

    /// Whether a value in a page can be had without the log; called pinned.
    pub(crate) fn is_at_hand(found: Found<'_>) -> bool {
        found.flags & FLAG_SEPARATED == 0 || Separated::from_handle(found.value).is_in_memory()
    }

    /// Whether a page still has this value. A handle is the same only if the value is, since this
    /// keeps what is behind it alive.
    fn is(&self, found: Found<'_>) -> bool {
        match self {
            Self::Inline(bytes) => {
                found.flags & FLAG_SEPARATED == 0 && found.value == bytes.as_ref()
            }
            Self::Separated(value) => {
                found.flags & FLAG_SEPARATED != 0
                    && Arc::ptr_eq(value, &Separated::from_handle(found.value))
            }
        }
    }
}

/// What is to be written.
#[derive(Debug)]
pub(crate) enum Write<'a> {
    Inline(&'a [u8]),
    Separated(Arc<Separated>),
    Remove,
}

impl Write<'_> {
    /// What `then` does with the write of this value.
    pub(crate) fn with<R>(
        engine: &DurableEngine,
        value: impl ByteValue,
        then: impl FnOnce(&Write<'_>) -> Result<R>,
    ) -> Result<R> {
        // What tells its bytes may tell others the next time: each length is that of what is taken.
        let bytes = value.as_bytes();
        match bytes.len() {
            0..=MAX_INLINE_VALUE_BYTES => return then(&Write::Inline(bytes)),
            len if len > MAX_VALUE_BYTES => return Err(Error::ValueTooLong { len }),
            // A copy, however it is owned: the buffer of the caller may be a thousand times larger.
            len if len <= Block::MOST_BYTES => {
                let copy = Bytes::from_owner(Block::copy_of(bytes));
                return then(&Write::Separated(Separated::new(copy, engine.store.value_meter())));
            }
            _ => {}
        }
        let owned = value.into_bytes();
        match owned.len() {
            0..=MAX_INLINE_VALUE_BYTES => then(&Write::Inline(&owned)),
            len if len > MAX_VALUE_BYTES => Err(Error::ValueTooLong { len }),
            _ => then(&Write::Separated(Separated::new(owned, engine.store.value_meter()))),
        }
    }
}

impl Write<'_> {
    /// Bytes of the value that is to be put.
    pub(crate) fn len(&self) -> Option<usize> {
        match self {
            Self::Inline(value) => Some(value.len()),
            Self::Separated(value) => Some(value.len()),
            Self::Remove => None,
        }
    }
}

/// What is to be told of what a write finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// What it was.
    Value,
    /// Whether there was anything.
    Whether,
    /// Nothing: so a page that is away need not be read.
    Nothing,
}

/// What a write found before it: nothing was there, or this. `None` outside: not written, since
/// `wanted` said no.
type Before = Option<Option<Read>>;

pub(crate) fn check_key(key: &[u8]) -> Result<()> {
    match key.len() {
        0..=MAX_KEY_BYTES => Ok(()),
        len => Err(Error::KeyTooLong { len }),
    }
}

/// Writes if `wanted` agrees with what is there; a removal of nothing is not written but counts.
pub(crate) fn write_if(
    engine: &DurableEngine,
    tree: &TreeCore,
    key: &[u8],
    write: &Write<'_>,
    mut wanted: impl FnMut(Option<Found<'_>>) -> bool,
    ask: Ask,
) -> Result<Before> {
    check_key(key)?;
    // The catalog is let through: a tree must be droppable on a full disk.
    match write.len() {
        Some(bytes) if !matches!(tree.id, CATALOG | CATALOG_COPY) => {
            engine.admit_put(key.len() + bytes)?;
        }
        Some(_) => {}
        None => engine.pace_removal(key.len()),
    }
    let handle = match write {
        Write::Separated(value) => Some(Handle::of(value)),
        _ => None,
    };
    let change = match (write, &handle) {
        (Write::Inline(value), _) => Change::Put { flags: 0, value },
        (Write::Separated(_), Some(handle)) => {
            Change::Put { flags: FLAG_SEPARATED, value: &handle.bytes }
        }
        _ => Change::Remove,
    };
    let decide = |found: Option<Found<'_>>| {
        if !wanted(found) {
            return Decision::Keep(None);
        }
        let before = match found {
            Some(found) if ask == Ask::Value => Some(Read::of(found)),
            // Only whether there was one is wanted: nothing is copied.
            Some(_) => Some(Read::Inline(Bytes::new())),
            None => None,
        };
        if matches!(change, Change::Remove) && found.is_none() {
            return Decision::Keep(Some(None));
        }
        Decision::Write(change, Some(before))
    };
    let (Write::Separated(value), Some(handle)) = (write, &handle) else {
        let key = Hashed::new(key);
        if ask != Ask::Nothing {
            return engine.update(tree, key, decide, &Cell::new(0));
        }
        let record = change.record(key.bytes(), 0);
        return engine.update_or(tree, key, decide, &Cell::new(0), |away, guard| {
            match engine.write_blind(tree, away, key, record, guard) {
                Unseen::Done(()) => Unseen::Done(Some(None)),
                Unseen::Again => Unseen::Again,
                Unseen::Refused => Unseen::Refused,
            }
        });
    };
    // By this much the memory may be above the budget, and not by as much for each thread.
    let _turn = engine.store.turn_of_large(value.len());
    let written = engine.update(tree, Hashed::new(key), decide, &handle.taken);
    if handle.taken.get() > 0 {
        value.count();
    }
    written
}

/// One count of a value for the page. Dropped, it gives the count back, unless a page has it.
struct Handle {
    bytes: [u8; 8],
    /// 1 from the CAS on that has given the count to a page.
    taken: Cell<usize>,
}

impl Handle {
    fn of(value: &Arc<Separated>) -> Self {
        Self { bytes: Arc::clone(value).into_handle(), taken: Cell::new(0) }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.taken.get() == 0 {
            Separated::release(u64::from_le_bytes(self.bytes));
        }
    }
}

/// Looks at a key, and loads its value; called unpinned.
///
/// A value in the log that was replaced or moved since it was seen can be gone when it is to be
/// loaded: then the key is looked at again. What is seen again and gone again is damage.
pub(crate) fn look(
    engine: &DurableEngine,
    tree: &TreeCore,
    key: &[u8],
) -> Result<(Option<Read>, Option<Bytes>)> {
    let mut gone = None;
    loop {
        let seen = engine.read(tree, Hashed::new(key), |found| found.map(Read::of))?;
        match seen.clone().map(|read| read.load(engine)).transpose() {
            Err(Error::Log(lss::Error::Gone { address })) if gone != Some(address) => {
                gone = Some(address);
            }
            loaded => return Ok((seen, loaded?)),
        }
    }
}

/// Writes, and returns whether the key had a value.
pub(crate) fn write(
    engine: &DurableEngine,
    tree: &TreeCore,
    key: &[u8],
    write: &Write<'_>,
) -> Result<bool> {
    let before = write_if(engine, tree, key, write, |_| true, Ask::Whether)?;
    Ok(before.flatten().is_some())
}

/// Writes, whatever was there.
pub(crate) fn write_unseen(
    engine: &DurableEngine,
    tree: &TreeCore,
    key: &[u8],
    write: &Write<'_>,
) -> Result<()> {
    write_if(engine, tree, key, write, |_| true, Ask::Nothing).map(drop)
}

/// Writes if the key still has the value that was `seen`.
pub(crate) fn exchange(
    engine: &DurableEngine,
    tree: &TreeCore,
    key: &[u8],
    seen: Option<&Read>,
    write: &Write<'_>,
) -> Result<bool> {
    let same = |found: Option<Found<'_>>| match (seen, found) {
        (None, None) => true,
        (Some(seen), Some(found)) => seen.is(found),
        _ => false,
    };
    let before = write_if(engine, tree, key, write, same, Ask::Whether)?;
    Ok(before.is_some())
}
