//! The files of a store's directory: which of them are the store's, and which are left alone.
//!
//! A directory may hold other files: `lost+found` of a file system, hidden files of a desktop,
//! files that are named like segments and are none. A new store is made among harmless ones only.
//! An existing store ignores whatever it does not need; but a file that is named like a segment and
//! holds frames that count is a segment, and damaged.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use crate::FORMAT_VERSION;
use crate::error::Error;
use crate::frame::SEQUENCE_LIMIT;
use crate::io::{Access, Disk, File, LOCK_FILE, is_reader_file};
use crate::options::Options;
use crate::pool::{FilePool, PooledFile};
use crate::segment::{Decoded, HEADER_BYTES, SegmentHeader, file_name, id_of};
use crate::superblock::{FILE, NEW_FILE};

/// A creation that was cut short left a number that is less than this above the last one in use.
const NEAR: u32 = 1 << 16;

/// What is known of the owner of a file that is named like a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This store.
    Store,
    /// This store if it has a live part in it; else it is left alone.
    Unclear,
    /// Another store; it is left alone.
    Other,
}

/// A file that is named like a segment, as it was found.
#[derive(Debug)]
pub(crate) struct FoundFile {
    pub(crate) id: u32,
    pub(crate) file: Arc<PooledFile>,
    /// Its bytes, as far as they are a segment's.
    pub(crate) size: u64,
    /// `None` if there is none that belongs to a file of this name.
    pub(crate) header: Option<SegmentHeader>,
    pub(crate) owner: Owner,
}

impl FoundFile {
    /// Whether it has fewer bytes than its header says: it was damaged, or the group that made it
    /// has not become durable.
    pub(crate) fn is_short(&self) -> bool {
        self.header.is_some_and(|header| self.size < header.size)
    }

    /// Whether a crash may have left it as it is before the group that made it was durable.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.header.is_none() || self.is_short()
    }
}

/// Whether there is a store; an error if there is none and none may be created.
pub(crate) fn check_present(disk: &dyn Disk, options: Options) -> Result<bool, Error> {
    let path = disk.place();
    let names = disk.list().map_err(|e| Error::of_call("list", &path, e))?;
    if names.iter().any(|name| name == FILE) {
        return Ok(true);
    }
    // A store that is being made meanwhile has its superblock before its first segment, but a list
    // is of no one moment.
    let names = disk.list().map_err(|e| Error::of_call("list", &path, e))?;
    if names.iter().any(|name| name == FILE) {
        return Ok(true);
    }
    for id in names.iter().filter_map(|name| id_of(name)) {
        let opened = disk.open(&file_name(id), Access::Read);
        let Some(file) = if_any(disk, id, opened)? else { continue };
        if header(disk, id, &*file)?.0 != Decoded::Nothing {
            let what = format!("there is the segment {} and no superblock", file_name(id));
            return Err(Error::corrupt(format!("{path}/{FILE}"), 0, what));
        }
    }
    if let Some(file) = names.into_iter().find(|name| !is_harmless(name)) {
        return Err(Error::NotAStore { path, file });
    }
    if options.read_only || !options.create {
        return Err(Error::Missing { path });
    }
    Ok(false)
}

/// Whether a new store may be made beside a file of this name.
fn is_harmless(name: &str) -> bool {
    let own = [LOCK_FILE, NEW_FILE].contains(&name) || is_reader_file(name);
    own || name == "lost+found" || name.starts_with('.') || id_of(name).is_some()
}

/// Opens all files that are named like segments, and reads their headers. `next_segment` is what
/// the superblock says. Besides: the numbers of names that are not segments of this store for sure,
/// whatever has them.
pub(crate) fn segment_files(
    disk: &dyn Disk,
    pool: &Arc<FilePool>,
    (store, next_segment): (u64, u32),
) -> Result<(Vec<FoundFile>, HashSet<u32>), Error> {
    let names = disk.list().map_err(|e| Error::of_call("list", disk.place(), e))?;
    let mut ids: Vec<u32> = names.iter().filter_map(|name| id_of(name)).collect();
    ids.sort_unstable();
    let mut found = Vec::new();
    let mut taken: HashSet<u32> = ids.iter().copied().collect();
    for id in ids {
        found.extend(segment_file(disk, id, pool, store)?);
    }
    let used = found.iter().filter(|f| f.header.is_some()).map(|f| f.id).max().unwrap_or(0);
    let near = used.max(next_segment).saturating_add(NEAR);
    for file in found.iter_mut().filter(|f| f.header.is_none() && f.id > near) {
        file.owner = file.owner.max_doubt();
    }
    for file in found.iter().filter(|f| f.header.is_some()) {
        taken.remove(&file.id);
    }
    Ok((found, taken))
}

impl Owner {
    /// The owner, if the number of the file is none that this store may have given.
    fn max_doubt(self) -> Self {
        if self == Self::Store { Self::Unclear } else { self }
    }
}

fn path(disk: &dyn Disk, id: u32) -> String {
    format!("{}/{}", disk.place(), file_name(id))
}

/// A file that was opened; `None` if it is a directory or the like, or gone.
fn if_any<F>(disk: &dyn Disk, id: u32, opened: io::Result<F>) -> Result<Option<F>, Error> {
    match opened {
        Err(e) if [io::ErrorKind::IsADirectory, io::ErrorKind::NotFound].contains(&e.kind()) => {
            Ok(None)
        }
        opened => opened.map(Some).map_err(|e| Error::of_call("open", path(disk, id), e)),
    }
}

/// The header of a file, and whether there is anything in its place.
fn header(disk: &dyn Disk, id: u32, file: &dyn File) -> Result<(Decoded, bool), Error> {
    let len = file.len().map_err(|e| Error::of_call("measure", path(disk, id), e))?;
    let mut bytes = [0; HEADER_BYTES];
    let there = len.min(HEADER_BYTES as u64) as usize;
    match file.read_at(&mut bytes[..there], 0) {
        Ok(()) => Ok((SegmentHeader::decode(&bytes), bytes.iter().any(|&byte| byte != 0))),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok((Decoded::Nothing, false)),
        Err(e) => Err(Error::of_call("read", path(disk, id), e)),
    }
}

fn segment_file(
    disk: &dyn Disk,
    id: u32,
    pool: &Arc<FilePool>,
    store: u64,
) -> Result<Option<FoundFile>, Error> {
    let Some(file) = if_any(disk, id, pool.open(file_name(id), false))? else {
        return Ok(None);
    };
    let len = file.len().map_err(|e| Error::of_call("measure", path(disk, id), e))?;
    let (decoded, written) = header(disk, id, &*file)?;
    let nameless =
        |owner| FoundFile { id, file: Arc::clone(&file), size: len, header: None, owner };
    let header = match decoded {
        // Zeros are what a creation leaves that was cut short. Anything else is not of this store,
        // or was a header once.
        Decoded::Nothing if written => return Ok(Some(nameless(Owner::Unclear))),
        Decoded::Nothing => return Ok(Some(nameless(Owner::Store))),
        Decoded::Unsupported { version, features } => {
            return Err(Error::UnsupportedFormat {
                file: path(disk, id),
                found: version,
                features,
                supported: FORMAT_VERSION,
            });
        }
        Decoded::Header(header) => header,
    };
    if header.store != store {
        return Ok(Some(nameless(Owner::Other)));
    }
    if header.id != id {
        // A recycling that a crash cut short: name or header came first.
        return Ok(Some(nameless(Owner::Store)));
    }
    if len < header.size && header.first_sequence == 0 {
        // Its creation was cut short.
        return Ok(Some(nameless(Owner::Store)));
    }
    if header.generation >= SEQUENCE_LIMIT {
        return Err(Error::corrupt(path(disk, id), 32, "the generation is out of range"));
    }
    let size = header.size.min(len);
    Ok(Some(FoundFile { size, header: Some(header), ..nameless(Owner::Store) }))
}
