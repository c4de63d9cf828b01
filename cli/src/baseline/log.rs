//! Appending to the log, from several threads at once.
//!
//! A log that holds back keeps what is appended in the memory of the process until it is synced:
//! killing the process then loses what a power cut would lose at least.

use super::{FILE_NAME, FIRST_REGION, frame};
use crate::failure::{Context, Outcome};
use crate::trace::{MAPS, Op};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

#[derive(Debug)]
struct MapFile {
    file: Mutex<Appended>,
    /// Whether anything was appended since the last sync.
    dirty: AtomicBool,
}

#[derive(Debug)]
struct Appended {
    file: File,
    /// The record in work.
    record: Vec<u8>,
    /// What is held back.
    held: Vec<u8>,
}

/// The files of all maps.
#[derive(Debug)]
pub(crate) struct Log {
    files: Vec<MapFile>,
    holds_back: bool,
}

impl Log {
    /// Starts the engine's log below `dir`: new files, in a new region of each map, beside those
    /// of earlier starts.
    pub(crate) fn start(dir: &Path, holds_back: bool) -> Outcome<Self> {
        let mut files = Vec::with_capacity(MAPS.len());
        for map in &MAPS {
            let map = dir.join(map.name);
            let earlier = fs::read_dir(&map).map_or(0, Iterator::count);
            let folder = map.join((FIRST_REGION + earlier as u64).to_string());
            let path = folder.join(FILE_NAME);
            let doing = || format!("cannot create {}", path.display());
            fs::create_dir_all(&folder).context(doing())?;
            let file = File::create(&path).context(doing())?;
            files.push(MapFile {
                file: Mutex::new(Appended { file, record: Vec::new(), held: Vec::new() }),
                dirty: AtomicBool::new(false),
            });
        }
        Ok(Self { files, holds_back })
    }

    /// Appends one record with one write call.
    pub(crate) fn append(&self, op: &Op) -> Outcome {
        let map = &self.files[usize::from(op.map)];
        let mut locked = map.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Appended { file, record, held } = &mut *locked;
        frame::encode(record, op);
        if self.holds_back {
            held.extend_from_slice(record);
        } else {
            file.write_all(record).context("cannot append to the log")?;
        }
        map.dirty.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Makes durable what was appended before the call.
    pub(crate) fn sync(&self) -> Outcome {
        for map in &self.files {
            if map.dirty.swap(false, Ordering::Relaxed) {
                let file = {
                    let mut locked = map.file.lock().unwrap_or_else(PoisonError::into_inner);
                    let Appended { file, held, .. } = &mut *locked;
                    file.write_all(held).context("cannot append to the log")?;
                    held.clear();
                    file.try_clone().context("cannot sync the log")?
                };
                // Without the lock: appends go on concurrently.
                file.sync_data().context("cannot sync the log")?;
            }
        }
        Ok(())
    }
}
