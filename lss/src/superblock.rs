//! The superblock: from where recovery starts, twice, in a file of its own.
//!
//! The file has two slots of 4 KiB. Each checkpoint writes one and syncs, then the other and syncs:
//! so a single damaged slot never means an older state. After an opening the slot that was not
//! believed comes first, because a crash may have left it torn: one slot is whole at any moment.
//!
//! A torn slot is written over with the one that counts before an opening changes anything else.
//! Else a second crash, in the first checkpoint of the opening, could leave just those sectors of
//! it that make the torn one whole: a superblock that never counted, of segments that the opening
//! has removed.
//!
//! On a disk that copies on write there may be no room even to write a slot over. If the first slot
//! fails so, the checkpoint has failed and the other slot counts. If the second does, the
//! checkpoint is durable in one slot, and the other is *stale* until there is room for it.
//!
//! A store that is opened for reading may find another one writing. A slot that is damaged may then
//! be one that is being written, and the other one may have been read before it was: so both slots
//! are read until two looks in a row agree. Numbers go up and no slot comes again, so this is what
//! both held at one moment, as a crash at that moment would have left them.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use types::Address;

use crate::copies::Copied;
use crate::counters::Tally;
use crate::error::Error;
use crate::fields::{Fields, put};
use crate::frame::SEQUENCE_LIMIT;
use crate::io::{Access, Disk, File, read_again};
use crate::part::{
    KIND_CHUNK_DIRECTORY, KIND_SINGLE_CHUNKS_DIRECTORY, KIND_WHOLE_CHUNKS_DIRECTORY,
};
use crate::{FORMAT_VERSION, part, reads_format};

/// Most bytes of the caller's own data in a checkpoint.
pub const MAX_META_BYTES: usize = 64 << 10;

/// The name of the superblock's file.
pub(crate) const FILE: &str = "superblock";

/// The name under which the first superblock of a store is written.
pub(crate) const NEW_FILE: &str = "superblock.new";

/// Bytes of a slot.
pub(crate) const SLOT_BYTES: usize = 4096;

/// Bytes of the file.
pub(crate) const FILE_BYTES: u64 = 2 * SLOT_BYTES as u64;

/// The first eight bytes of every slot.
pub(crate) const MAGIC: [u8; 8] = *b"BWSUPER1";

/// Bytes in front of the caller's data where the chunk directory has no copy.
const SINGLE_FIXED_BYTES: usize = 120;

/// Bytes in front of the caller's data: as long as there is little of it, slots differ in their
/// first sector only.
const FIXED_BYTES: usize = SINGLE_FIXED_BYTES + Address::ENCODED_BYTES;

/// Most bytes of the caller's data that lie in the slot; longer ones lie in the chunk directory.
pub(crate) const INLINE_META_BYTES: usize = SLOT_BYTES - FIXED_BYTES;

const META_IN_DIRECTORY: u32 = 1;

/// Looks at the slots by a reader. All but the first two mean that a checkpoint was written
/// meanwhile, or that what can be read there changes by itself.
const MAX_LOOKS: u32 = 1000;

/// Incompatible feature: a chunk can have several parts, and be newer than where recovery starts.
const FEATURE_DELTA_CHUNKS: u64 = 1;

/// Incompatible feature: parts of chunks, and the list of them, have copies.
const FEATURE_COPIES: u64 = 2;

/// What this version writes.
const FEATURES: u64 = FEATURE_DELTA_CHUNKS | FEATURE_COPIES;

/// The place of a stream's next frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// 0 if the stream has no open segment.
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

/// What a slot says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) store: u64,
    /// Counts the superblocks of this store; the higher of two slots is the newer.
    pub(crate) number: u64,
    pub(crate) generation: u64,
    /// The sequence of the COMMIT behind which recovery starts.
    pub(crate) sequence: u64,
    pub(crate) version: u64,
    /// The chunk directory, or no place.
    pub(crate) directory: Copied,
    /// The kind of the part that it is.
    pub(crate) directory_kind: u8,
    /// No segment up to the checkpoint has this number or a higher one.
    pub(crate) next_segment: u32,
    /// Where frames behind the checkpoint start, by stream.
    pub(crate) positions: [Position; 2],
    /// Rollbacks so far in this generation.
    pub(crate) attempt: u32,
    /// So many sequences behind that are durable: the checkpoint was written while others
    /// committed.
    pub(crate) durable_behind: u32,
    /// The caller's data, or `None` if it lies in the chunk directory.
    pub(crate) meta: Option<Vec<u8>>,
}

/// What a slot turns out to be.
#[derive(Debug)]
enum Slot {
    Whole(Superblock),
    Unsupported { version: u32, features: u64 },
    Damaged,
}

impl Superblock {
    /// That of a store that was just made.
    pub(crate) fn first(store: u64, meta: Vec<u8>) -> Self {
        Self {
            store,
            number: 1,
            generation: 0,
            sequence: 0,
            version: 0,
            directory: Copied::default(),
            directory_kind: KIND_CHUNK_DIRECTORY,
            next_segment: 1,
            positions: [Position::default(); 2],
            attempt: 0,
            durable_behind: 0,
            meta: Some(meta),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; SLOT_BYTES];
        let meta = self.meta.as_deref().unwrap_or_default();
        put(&mut out, 0, MAGIC);
        put(&mut out, 12, FORMAT_VERSION.to_le_bytes());
        // 16: compatible feature bits, none yet.
        put(&mut out, 24, FEATURES.to_le_bytes());
        put(&mut out, 32, self.store.to_le_bytes());
        put(&mut out, 40, self.number.to_le_bytes());
        put(&mut out, 48, self.generation.to_le_bytes());
        put(&mut out, 56, self.sequence.to_le_bytes());
        put(&mut out, 64, self.version.to_le_bytes());
        put(&mut out, 72, self.directory.at.encode());
        put(&mut out, SINGLE_FIXED_BYTES, self.directory.copy.encode());
        put(&mut out, 84, self.next_segment.to_le_bytes());
        for (at, position) in [88, 96].into_iter().zip(self.positions) {
            put(&mut out, at, position.segment.to_le_bytes());
            put(&mut out, at + 4, position.offset.to_le_bytes());
        }
        let flags = u32::from(self.meta.is_none()) * META_IN_DIRECTORY;
        put(&mut out, 104, (meta.len() as u32).to_le_bytes());
        put(&mut out, 108, flags.to_le_bytes());
        put(&mut out, 112, self.attempt.to_le_bytes());
        put(&mut out, 116, self.durable_behind.to_le_bytes());
        out[FIXED_BYTES..FIXED_BYTES + meta.len()].copy_from_slice(meta);
        let sum = crc32c::crc32c(&out[12..]);
        put(&mut out, 8, sum.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Slot {
        Self::try_decode(bytes).unwrap_or(Slot::Damaged)
    }

    fn try_decode(bytes: &[u8]) -> Option<Slot> {
        let bytes = bytes.get(..SLOT_BYTES)?;
        let mut fields = Fields::new(bytes);
        if fields.array::<8>()? != MAGIC || fields.u32()? != crc32c::crc32c(&bytes[12..]) {
            return None;
        }
        let version = fields.u32()?;
        fields.u64()?;
        let features = fields.u64()?;
        let unknown = features & !FEATURES;
        if !reads_format(version) || unknown != 0 {
            return Some(Slot::Unsupported { version, features: unknown });
        }
        let store = fields.u64()?;
        let (number, generation) = (fields.u64()?, fields.u64()?);
        let (sequence, commit_version) = (fields.u64()?, fields.u64()?);
        let mut directory = Copied::single(Address::decode(fields.take(Address::ENCODED_BYTES)?)?);
        let directory_kind = match features {
            0 => KIND_WHOLE_CHUNKS_DIRECTORY,
            FEATURE_DELTA_CHUNKS => KIND_SINGLE_CHUNKS_DIRECTORY,
            _ => KIND_CHUNK_DIRECTORY,
        };
        let next_segment = fields.u32()?;
        let mut positions = [Position::default(); 2];
        for position in &mut positions {
            *position = Position { segment: fields.u32()?, offset: fields.u32()? };
        }
        let (meta_bytes, flags) = (fields.u32()?, fields.u32()?);
        let (attempt, durable_behind) = (fields.u32()?, fields.u32()?);
        if features & FEATURE_COPIES != 0 {
            directory.copy = Address::decode(fields.take(Address::ENCODED_BYTES)?)?;
        }
        let meta = fields.take(meta_bytes as usize)?;
        if number.max(generation).max(sequence) >= SEQUENCE_LIMIT {
            return None;
        }
        Some(Slot::Whole(Self {
            store,
            number,
            generation,
            sequence,
            version: commit_version,
            directory,
            directory_kind,
            next_segment,
            positions,
            attempt,
            durable_behind,
            meta: (flags & META_IN_DIRECTORY == 0).then(|| meta.to_vec()),
        }))
    }
}

/// The open file of the superblock.
#[derive(Debug)]
pub(crate) struct SuperblockFile {
    file: Arc<dyn File>,
    path: String,
    slots: Mutex<Slots>,
}

/// What is known of the two slots.
#[derive(Debug)]
struct Slots {
    /// The offset of the slot that is written last: it is whole and durable.
    believed: u64,
    /// What the other slot is to be, if it is older or half written.
    stale: Option<Vec<u8>>,
}

impl Slots {
    fn other(&self) -> u64 {
        SLOT_BYTES as u64 - self.believed
    }
}

impl SuperblockFile {
    /// Writes the first superblock of a store, so that a crash leaves all of it or none.
    pub(crate) fn create(disk: &dyn Disk, first: &Superblock) -> Result<(), Error> {
        let path = format!("{}/{NEW_FILE}", disk.place());
        let failed = |op| {
            let path = path.clone();
            move |error: io::Error| Error::of_call(op, path, error)
        };
        let slot = first.encode();
        let file = disk.open(NEW_FILE, Access::Create).map_err(failed("create"))?;
        let written = [0, SLOT_BYTES as u64]
            .into_iter()
            .try_for_each(|at| file.write_at(&slot, at).map_err(failed("write")))
            .and_then(|()| file.sync_data().map_err(failed("sync")))
            .and_then(|()| disk.rename(NEW_FILE, FILE).map_err(failed("rename")));
        if written.is_err() {
            // A left-over is replaced by the next creation.
            let _left = disk.remove(NEW_FILE);
        }
        written?;
        disk.sync_directory().map_err(failed("sync directory"))
    }

    /// Opens the file and reads the newer of its whole slots.
    pub(crate) fn open(disk: &dyn Disk, access: Access) -> Result<(Self, Superblock), Error> {
        let path = format!("{}/{FILE}", disk.place());
        let file = disk.open(FILE, access).map_err(|error| Error::of_call("open", &path, error))?;
        let mut slots = read_slots(&*file);
        if access == Access::Read {
            for _ in 0..MAX_LOOKS {
                let again = read_slots(&*file);
                let is_same = |(a, b): (&SlotRead, &SlotRead)| a.as_ref().ok() == b.as_ref().ok();
                let same = slots.iter().zip(&again).all(is_same);
                slots = again;
                if same {
                    break;
                }
            }
        }
        let mut newest: Option<(u64, Superblock, Vec<u8>)> = None;
        let mut whole = 0;
        let mut unreadable = None;
        for (at, slot) in [0, SLOT_BYTES as u64].into_iter().zip(slots) {
            let bytes = match slot {
                Ok(bytes) => bytes,
                // A file cut short has a damaged slot; the other may be whole.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                Err(error) => match Error::of_call("read", &path, error) {
                    // It may be the newer one.
                    error if error.is_passing() => return Err(error),
                    // A sector that can't be read is a damaged slot too.
                    error => {
                        unreadable = Some(error);
                        continue;
                    }
                },
            };
            match Superblock::decode(&bytes) {
                Slot::Whole(found) => {
                    whole += 1;
                    if newest.as_ref().is_none_or(|(_, n, _)| n.number < found.number) {
                        newest = Some((at, found, bytes));
                    }
                }
                Slot::Unsupported { version, features } => {
                    return Err(Error::UnsupportedFormat {
                        file: path,
                        found: version,
                        features,
                        supported: FORMAT_VERSION,
                    });
                }
                Slot::Damaged => {}
            }
        }
        match newest {
            Some((believed, superblock, bytes)) => {
                let stale = (whole == 1).then_some(bytes);
                let slots = Mutex::new(Slots { believed, stale });
                Ok((Self { file, path, slots }, superblock))
            }
            None => Err(unreadable
                .unwrap_or_else(|| Error::corrupt(path, 0, "both superblock slots are damaged"))),
        }
    }

    /// Makes sure that the slot that was believed is durable: it may have been found in the cache
    /// that a killed process left behind. Writing it again makes the sync a real one. A torn slot
    /// is written then.
    pub(crate) fn settle(&self, tally: &Tally) -> Result<(), Error> {
        let mut slot = vec![0; SLOT_BYTES];
        let mut slots = self.slots();
        read_again(&*self.file, &mut slot, slots.believed)
            .map_err(|error| Error::of_call("read", &self.path, error))?;
        self.write_slot(&slot, slots.believed, tally)?;
        self.write_other(&mut slots, tally)
    }

    /// An error if the file was removed or replaced: recovery would not find what is written.
    pub(crate) fn check_linked(&self) -> Result<(), Error> {
        match self.file.is_linked(FILE) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Removed { path: self.path.clone() }),
            Err(error) => Err(Error::of_attempt("look at", &self.path, error)),
        }
    }

    /// Makes `superblock` the durable one.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], [`Error::Refused`]: the superblock from before is the durable one. Anything
    /// else leaves it open which one is.
    pub(crate) fn write(&self, superblock: &Superblock, tally: &Tally) -> Result<(), Error> {
        let slot = superblock.encode();
        let mut slots = self.slots();
        self.write_slot(&slot, slots.other(), tally)?;
        // From here on this one is whole, and the one that was believed is written.
        slots.believed = slots.other();
        slots.stale = Some(slot);
        self.write_other(&mut slots, tally)
    }

    /// Writes the stale slot, if there is one.
    ///
    /// # Errors
    ///
    /// As the system says; what passes leaves the slot stale and is no error.
    pub(crate) fn complete(&self, tally: &Tally) -> Result<(), Error> {
        self.write_other(&mut self.slots(), tally)
    }

    fn write_other(&self, slots: &mut Slots, tally: &Tally) -> Result<(), Error> {
        let Some(slot) = &slots.stale else { return Ok(()) };
        match self.write_slot(slot, slots.other(), tally) {
            Ok(()) => slots.stale = None,
            Err(error) if error.is_passing() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whether both slots were found whole, or have been written.
    pub(crate) fn is_whole(&self) -> bool {
        self.slots().stale.is_none()
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes and syncs a slot. What is in the file besides was durable before: so even a sync that
    /// fails for lack of room has lost nothing else, and writing the slot again is a new try.
    fn write_slot(&self, slot: &[u8], at: u64, tally: &Tally) -> Result<(), Error> {
        let failed = |op| move |error: io::Error| Error::of_call(op, self.path.clone(), error);
        self.file.write_at(slot, at).map_err(failed("write"))?;
        self.file.sync_data().map_err(failed("sync"))?;
        tally.syncs.add(1);
        tally.bytes_written.add(SLOT_BYTES as u64);
        Ok(())
    }
}

/// The bytes of a slot, or why they can't be read.
type SlotRead = io::Result<Vec<u8>>;

fn read_slots(file: &dyn File) -> [SlotRead; 2] {
    [0, SLOT_BYTES as u64].map(|at| {
        let mut bytes = vec![0; SLOT_BYTES];
        read_again(file, &mut bytes, at).map(|()| bytes)
    })
}

const _: () = assert!(MAX_META_BYTES < part::MAX_PART_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Fault, Op, SimDisk};

    #[test]
    fn bytes_of_a_slot_are_as_documented() {
        let superblock = Superblock {
            store: 1,
            number: 2,
            generation: 3,
            sequence: 4,
            version: 5,
            directory: Copied {
                at: Address { segment: 6, offset: 7, len: 8 },
                copy: Address { segment: 16, offset: 17, len: 8 },
            },
            directory_kind: KIND_CHUNK_DIRECTORY,
            next_segment: 9,
            positions: [Position { segment: 10, offset: 11 }, Position { segment: 12, offset: 13 }],
            attempt: 14,
            durable_behind: 15,
            meta: Some(b"meta".to_vec()),
        };
        let bytes = superblock.encode();
        assert_eq!(bytes.len(), 4096);
        assert_eq!(&bytes[..8], b"BWSUPER1");
        assert_eq!(bytes[8..12], crc32c::crc32c(&bytes[12..]).to_le_bytes());
        assert_eq!(bytes[12..16], 2u32.to_le_bytes());
        assert_eq!(bytes[16..24], [0; 8]);
        for (at, value) in [(24, 3u64), (32, 1), (40, 2), (48, 3), (56, 4), (64, 5)] {
            assert_eq!(bytes[at..at + 8], value.to_le_bytes());
        }
        for (index, value) in [6u32, 7, 8, 9, 10, 11, 12, 13, 4, 0, 14, 15].into_iter().enumerate()
        {
            let at = 72 + 4 * index;
            assert_eq!(bytes[at..at + 4], value.to_le_bytes(), "offset {at}");
        }
        assert_eq!(bytes[120..132], superblock.directory.copy.encode());
        assert_eq!(&bytes[132..136], b"meta");
        assert!(bytes[136..].iter().all(|&b| b == 0));
        assert!(matches!(Superblock::decode(&bytes), Slot::Whole(found) if found == superblock));
    }

    /// A crash while the second slot was written left it torn; the next opening began with the
    /// first, and a second crash took that one too.
    #[test]
    fn the_slot_that_is_believed_is_written_last() {
        let first = Superblock::first(1, vec![9; 3000]);
        for torn in [0, SLOT_BYTES as u64] {
            let disk = SimDisk::new();
            SuperblockFile::create(&disk, &first).unwrap();
            let file = disk.open(FILE, Access::Write).unwrap();
            file.write_at(&[1; 100], torn + 2000).unwrap();
            let (opened, found) = SuperblockFile::open(&disk, Access::Write).unwrap();
            assert_eq!(found, first);
            disk.fail(Op::Write, 1, Fault::ShortWrite);
            let second = Superblock { number: 2, ..first.clone() };
            assert!(opened.write(&second, &Tally::default()).is_err());
            let (opened, found) = SuperblockFile::open(&disk, Access::Write).unwrap();
            assert_eq!(found, first);
            opened.write(&second, &Tally::default()).unwrap();
            let (_, found) = SuperblockFile::open(&disk, Access::Write).unwrap();
            assert_eq!(found, second);
        }
    }

    /// A checkpoint left the first sector of its slot, the first checkpoint of the next opening the
    /// others of its own: together they were what the first had written, of segments long removed.
    #[test]
    fn two_torn_writes_make_no_whole_slot() {
        let first = Superblock::first(1, vec![9; 3900]);
        let second = Superblock { number: 2, generation: 1, ..Superblock::first(1, Vec::new()) };
        let third = Superblock { generation: 2, ..second.clone() };
        let disk = SimDisk::new();
        SuperblockFile::create(&disk, &first).unwrap();
        let file = disk.open(FILE, Access::Write).unwrap();
        file.write_at(&second.encode()[..512], SLOT_BYTES as u64).unwrap();
        let (opened, found) = SuperblockFile::open(&disk, Access::Write).unwrap();
        assert_eq!(found, first);
        opened.settle(&Tally::default()).unwrap();
        file.write_at(&third.encode()[512..], SLOT_BYTES as u64 + 512).unwrap();
        let (_, found) = SuperblockFile::open(&disk, Access::Write).unwrap();
        assert_eq!(found, first);
    }

    /// One sector of the superblock could not be read, and the store was refused, though the other
    /// slot was whole: it is there for this.
    #[test]
    fn a_slot_that_cannot_be_read_is_a_damaged_one() {
        let first = Superblock::first(1, Vec::new());
        for unreadable in [1, 2] {
            let disk = SimDisk::new();
            SuperblockFile::create(&disk, &first).unwrap();
            disk.fail(Op::Read, unreadable, Fault::Eio);
            let (opened, found) = SuperblockFile::open(&disk, Access::Write).unwrap();
            assert_eq!(found, first);
            // The one that could not be read is written first: the other stays whole meanwhile.
            let at = (unreadable - 1) * SLOT_BYTES as u64;
            assert_eq!(opened.slots().other(), at);
        }
        let disk = SimDisk::new();
        SuperblockFile::create(&disk, &first).unwrap();
        disk.fail(Op::Read, 1, Fault::Eio);
        disk.fail(Op::Read, 2, Fault::Eio);
        let error = SuperblockFile::open(&disk, Access::Write).unwrap_err();
        assert!(matches!(error, Error::Io { op: "read", .. }), "{error}");
    }
}
