//! A tiny engine over the log: a table of pages, written at random, checked against its history.

use std::collections::BTreeMap;
use std::sync::Arc;

use bwtree_lss::io::Disk;
use bwtree_lss::{
    Address, Checkpoint, ChunkPart, Error, Log, Options, PageId, Recovered, RecoveredChunk,
    RecoveredPart, Stream,
};

use crate::random::Random;

pub(crate) const KIND: u8 = 3;
const PAGES: u64 = 12;
const PAGES_PER_CHUNK: u32 = 4;

/// What each page holds.
pub(crate) type Contents = BTreeMap<u32, Vec<u8>>;

/// What may be found after a crash.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// The contents of every version that may have been committed.
    pub(crate) attempted: BTreeMap<u64, Contents>,
    /// The newest version whose commit returned.
    pub(crate) acknowledged: u64,
    pub(crate) acknowledgements: u64,
}

/// Small limits, so that everything happens often.
pub(crate) fn small() -> Options {
    Options {
        frame_bytes: 512,
        segment_bytes_min: 4096,
        segment_bytes_max: 8192,
        store_id: Some(77),
        ..Options::default()
    }
}

#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) log: Log,
    pub(crate) table: BTreeMap<u32, Address>,
    pub(crate) contents: Contents,
    pub(crate) version: u64,
    pub(crate) random: Random,
    /// The table as the chunks of the last checkpoint have it.
    pub(crate) saved: BTreeMap<u32, Address>,
    /// A checkpoint in steps.
    pub(crate) run: Option<Run>,
}

/// A checkpoint in steps.
#[derive(Debug)]
pub(crate) struct Run {
    checkpoint: Checkpoint,
    /// The chunks that had changed when it began, and are not written yet.
    left: Vec<u32>,
    /// The table as its chunks have it.
    saved: BTreeMap<u32, Address>,
}

/// The parts that an opening found behind the checkpoint.
pub(crate) fn read_parts(log: &Log, recovered: &Recovered) -> Result<Vec<RecoveredPart>, Error> {
    let (mut parts, mut reader) = (Vec::new(), log.frame_reader());
    for frame in &recovered.frames {
        parts.extend(reader.parts(frame)?);
    }
    Ok(parts)
}

/// The same, of a disk that can be read.
pub(crate) fn parts_of(log: &Log, recovered: &Recovered) -> Vec<RecoveredPart> {
    read_parts(log, recovered).unwrap()
}

/// The table that an opening found.
pub(crate) fn table_of(log: &Log, recovered: &Recovered) -> Result<BTreeMap<u32, Address>, Error> {
    let mut table = BTreeMap::new();
    let mut as_of = BTreeMap::new();
    for &RecoveredChunk { index, as_of: chunk_as_of, .. } in &recovered.chunks {
        as_of.insert(index, chunk_as_of);
        for (n, bytes) in log.chunk_parts(index)?.into_iter().enumerate() {
            assert_eq!(bytes[0], if n == 0 { 1 } else { 2 });
            for line in bytes[1..].chunks_exact(16) {
                let page = u32::from_le_bytes(line[..4].try_into().unwrap());
                table.insert(page, Address::decode(&line[4..]).unwrap());
            }
        }
    }
    for part in read_parts(log, recovered)? {
        assert_eq!(part.kind, KIND);
        assert_eq!(part.tag, u64::from(part.page.number()) * 3);
        assert!(part.version <= recovered.version);
        let chunk = part.page.number() / PAGES_PER_CHUNK;
        if as_of.get(&chunk).is_none_or(|&as_of| part.sequence > as_of) {
            table.insert(part.page.number(), part.address);
        }
    }
    Ok(table)
}

/// A whole chunk of so many bytes of one value.
pub(crate) fn whole(value: u8, bytes: usize) -> ChunkPart {
    ChunkPart::Whole(vec![value; bytes])
}

/// These lines of a chunk; the first byte makes an empty one different from none.
fn lines<'a>(kind: u8, pages: impl Iterator<Item = (&'a u32, &'a Address)>) -> Vec<u8> {
    let mut bytes = vec![kind];
    for (page, address) in pages {
        bytes.extend_from_slice(&page.to_le_bytes());
        bytes.extend_from_slice(&address.encode());
    }
    if bytes.len() == 1 { Vec::new() } else { bytes }
}

fn pages_of(chunk: u32) -> std::ops::Range<u32> {
    chunk * PAGES_PER_CHUNK..(chunk + 1) * PAGES_PER_CHUNK
}

/// Reads every page of a table.
pub(crate) fn read_all(log: &Log, table: &BTreeMap<u32, Address>) -> Result<Contents, Error> {
    let read = |(&page, &address): (&u32, &Address)| {
        let payload = log.read(address, PageId::new(page), KIND)?;
        Ok((page, payload.to_vec()))
    };
    table.iter().map(read).collect()
}

impl Driver {
    /// Opens and checks that what is found is one of the states that may be; `begin` is left to
    /// the caller.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        history: &mut History,
        random: Random,
    ) -> Result<Self, Error> {
        let (log, recovered) = Log::open(disk, small())?;
        let table = table_of(&log, &recovered)?;
        let contents = read_all(&log, &table)?;
        let version = recovered.version;
        assert!(
            version >= history.acknowledged,
            "version {version} found, {} was acknowledged",
            history.acknowledged
        );
        if version == 0 {
            assert!(contents.is_empty());
        } else {
            let expected = history.attempted.get(&version);
            assert_eq!(Some(&contents), expected, "version {version}");
        }
        for &address in table.values() {
            assert!(log.adopt(address));
        }
        // What `begin` writes.
        let saved = table.clone();
        Ok(Self { log, table, contents, version, random, saved, run: None })
    }

    /// From here on the recovered version is the past, whatever was attempted after it.
    pub(crate) fn settle(&self, history: &mut History) {
        history.acknowledged = self.version;
        history.attempted.retain(|&v, _| v <= self.version);
    }

    pub(crate) fn begin(&self) -> Result<(), Error> {
        let chunks = self.chunks();
        self.log.appender().begin(chunks, b"begin", self.version)
    }

    /// The whole table as chunks.
    pub(crate) fn chunks(&self) -> Vec<(u32, ChunkPart)> {
        let chunk = |index| ChunkPart::Whole(lines(1, self.table.range(pages_of(index))));
        (0..(PAGES as u32).div_ceil(PAGES_PER_CHUNK)).map(|index| (index, chunk(index))).collect()
    }

    /// What has changed in a chunk.
    fn delta(&self, chunk: u32) -> ChunkPart {
        let changed = |line: &(&u32, &Address)| self.saved.get(line.0) != Some(line.1);
        ChunkPart::Delta(lines(2, self.table.range(pages_of(chunk)).filter(changed)))
    }

    /// Begins a checkpoint in steps, or goes a step on with one: what it finds changes in between.
    pub(crate) fn checkpoint_step(&mut self) -> Result<(), Error> {
        let Some(mut run) = self.run.take() else {
            let checkpoint = self.log.appender().start_checkpoint()?;
            let changed = |chunk: &u32| {
                self.table.range(pages_of(*chunk)).ne(self.saved.range(pages_of(*chunk)))
            };
            let left = (0..(PAGES as u32).div_ceil(PAGES_PER_CHUNK)).filter(changed).collect();
            self.run = Some(Run { checkpoint, left, saved: self.saved.clone() });
            return Ok(());
        };
        let mut appender = self.log.appender();
        if self.random.one_in(4) {
            let segments = self.log.segments();
            let any = segments[self.random.below(segments.len() as u64) as usize].id;
            let leaving = [any, any + 1];
            if let Err(error) = appender.move_chunks(&mut run.checkpoint, &leaving, 40) {
                drop(appender);
                self.log.abandon_checkpoint(run.checkpoint);
                return Err(error);
            }
        }
        if let Some(chunk) = run.left.pop() {
            let known = self.saved.range(pages_of(chunk)).next().is_some();
            let part = if known && !self.random.one_in(4) {
                self.delta(chunk)
            } else {
                ChunkPart::Whole(lines(1, self.table.range(pages_of(chunk))))
            };
            if let Err(error) = appender.write_chunks(&mut run.checkpoint, [(chunk, part)]) {
                drop(appender);
                self.log.abandon_checkpoint(run.checkpoint);
                return Err(error);
            }
            run.saved.retain(|page, _| !pages_of(chunk).contains(page));
            run.saved.extend(self.table.range(pages_of(chunk)));
            drop(appender);
            self.run = Some(run);
            return Ok(());
        }
        if self.random.one_in(8) {
            drop(appender);
            self.log.abandon_checkpoint(run.checkpoint);
            return Ok(());
        }
        let meta = vec![self.version as u8; self.random.below(5000) as usize];
        appender.end_checkpoint(run.checkpoint, &meta)?;
        self.saved = run.saved;
        Ok(())
    }

    /// Random writes, then a commit or, one time in five, a rollback.
    pub(crate) fn write(&mut self, history: &mut History) -> Result<(), Error> {
        let next = self.version + 1;
        let mut contents = self.contents.clone();
        let mut table = self.table.clone();
        let mut dead = Vec::new();
        let mut appender = self.log.appender();
        for _ in 0..=self.random.below(4) {
            let page = self.random.below(PAGES) as u32;
            let mut payload = self.random.next().to_le_bytes().to_vec();
            payload.extend_from_slice(&next.to_le_bytes());
            let fill = match self.random.below(12) {
                0 => self.random.below(6000),
                1..4 => self.random.below(700),
                _ => self.random.below(60),
            };
            payload.extend((0..fill).map(|i| i as u8 ^ page as u8));
            let stream =
                if self.random.one_in(3) { Stream::Background } else { Stream::Foreground };
            let refs = table.get(&page).copied();
            let tag = u64::from(page) * 3;
            let address =
                appender.append(stream, PageId::new(page), KIND, tag, refs.as_slice(), &payload)?;
            // Replay takes the streams in the order of their frames, so a page is written once.
            if let Some(old) = table.insert(page, address) {
                if self.table.get(&page) != Some(&old) {
                    drop(appender);
                    return self.log.appender().rollback();
                }
                dead.push(old);
            }
            contents.insert(page, payload);
        }
        if self.random.one_in(5) {
            return appender.rollback();
        }
        history.attempted.insert(next, contents.clone());
        match appender.commit(next) {
            Ok(()) => {}
            Err(error) if error.is_full() => {
                appender.rollback()?;
                history.attempted.remove(&next);
                return Err(error);
            }
            Err(error) => return Err(error),
        }
        drop(appender);
        history.acknowledged = next;
        history.acknowledgements += 1;
        (self.version, self.table, self.contents) = (next, table, contents);
        for address in dead {
            self.log.retire(address);
        }
        Ok(())
    }

    pub(crate) fn checkpoint(&mut self) -> Result<(), Error> {
        let meta = vec![self.version as u8; self.random.below(5000) as usize];
        if let Some(run) = self.run.take() {
            self.log.abandon_checkpoint(run.checkpoint);
        }
        let chunks = self.chunks();
        self.log.appender().checkpoint(chunks, &[], &meta)?;
        self.saved.clone_from(&self.table);
        Ok(())
    }

    /// One random thing.
    pub(crate) fn step(&mut self, history: &mut History) -> Result<(), Error> {
        match self.random.below(16) {
            0 => self.checkpoint(),
            12.. => self.checkpoint_step(),
            1 => self.log.reclaim().map(drop),
            2 => self.log.prepare().map(drop),
            _ => self.write(history),
        }
    }

    pub(crate) fn check_reads(&self) {
        assert_eq!(read_all(&self.log, &self.table).unwrap(), self.contents);
    }
}
