//! Appending to the log, from several threads at once.

use super::{FILE_NAME, REGION, frame};
use crate::failure::{Context, Outcome};
use crate::trace::{MAPS, Op};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

#[derive(Debug)]
struct MapFile {
    file: Mutex<(File, Vec<u8>)>,
    /// Whether anything was appended since the last sync.
    dirty: AtomicBool,
}

/// The files of all maps.
#[derive(Debug)]
pub(crate) struct Log {
    files: Vec<MapFile>,
}

impl Log {
    /// Creates the log's files below `dir`.
    pub(crate) fn create(dir: &Path) -> Outcome<Self> {
        let mut files = Vec::with_capacity(MAPS.len());
        for map in &MAPS {
            let folder = dir.join(map.name).join(REGION);
            let path = folder.join(FILE_NAME);
            let doing = || format!("cannot create {}", path.display());
            fs::create_dir_all(&folder).context(doing())?;
            let file = File::create(&path).context(doing())?;
            files.push(MapFile {
                file: Mutex::new((file, Vec::new())),
                dirty: AtomicBool::new(false),
            });
        }
        Ok(Self { files })
    }

    /// Appends one record with one write call.
    pub(crate) fn append(&self, op: &Op) -> Outcome {
        let map = &self.files[usize::from(op.map)];
        let mut locked = map.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, record) = &mut *locked;
        frame::encode(record, op);
        file.write_all(record).context("cannot append to the log")?;
        map.dirty.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Makes durable what was appended before the call.
    pub(crate) fn sync(&self) -> Outcome {
        for map in &self.files {
            if map.dirty.swap(false, Ordering::Relaxed) {
                let file = {
                    let locked = map.file.lock().unwrap_or_else(PoisonError::into_inner);
                    locked.0.try_clone().context("cannot sync the log")?
                };
                // Without the lock: appends go on meanwhile.
                file.sync_data().context("cannot sync the log")?;
            }
        }
        Ok(())
    }
}
