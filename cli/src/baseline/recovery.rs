//! Restarting from the log: every record of every file is read, the newest of a key wins. The
//! records are streamed, which is kinder than what engines do that read each file whole.

use super::{FILE_NAME, frame};
use crate::failure::{Context, Failure, Outcome};
use crate::trace::MAPS;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// What the maps hold: map id and key in one, then value.
pub(crate) type Content = HashMap<Vec<u8>, Vec<u8>>;

/// Replays the log below `dir`.
pub(crate) fn recover(dir: &Path) -> Outcome<Content> {
    let mut content = Content::new();
    records(dir, |map, _, key, value| {
        let key = [&[map], key].concat();
        match value {
            Some(value) => content.insert(key, value.to_vec()),
            None => content.remove(&key),
        };
    })?;
    Ok(content)
}

/// Shows every record below `dir`, map by map, in the order of appending: the map's id, the record,
/// the key, and the value unless it deletes.
pub(crate) fn records(
    dir: &Path,
    mut show: impl FnMut(u8, &[u8], &[u8], Option<&[u8]>),
) -> Outcome {
    for (id, map) in (0_u8..).zip(&MAPS) {
        for path in files(&dir.join(map.name))? {
            replay(&path, |record, key, value| show(id, record, key, value))?;
        }
    }
    Ok(())
}

/// The files of one map, oldest region first.
fn files(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let doing = || format!("cannot list {}", folder.display());
    let mut files = Vec::new();
    for region in fs::read_dir(folder).context(doing())? {
        files.push(region.context(doing())?.path().join(FILE_NAME));
    }
    files.sort();
    Ok(files)
}

fn replay(path: &Path, mut show: impl FnMut(&[u8], &[u8], Option<&[u8]>)) -> Outcome {
    let doing = || format!("cannot replay {}", path.display());
    let file = File::open(path).context(doing())?;
    let mut left = file.metadata().context(doing())?.len();
    let mut input = BufReader::with_capacity(1 << 20, file);
    let mut record = Vec::new();
    let mut header = [0; frame::HEADER_BYTES];
    while left >= header.len() as u64 {
        input.read_exact(&mut header).context(doing())?;
        left -= header.len() as u64;
        let [a, b, c, d, ..] = header;
        let length = u32::from_le_bytes([a, b, c, d]);
        if u64::from(length) > left {
            // A torn tail.
            break;
        }
        left -= u64::from(length);
        record.resize(length as usize, 0);
        input.read_exact(&mut record).context(doing())?;
        let Some((key, value)) = frame::decode(&record) else {
            return Err(Failure::new(format!("{}: a record makes no sense", path.display())));
        };
        show(&record, key, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Log;
    use super::*;
    use crate::process;
    use crate::trace::{Change, Digest, Generator, Ledger, Parameters};
    use std::io::Write;

    #[test]
    fn a_replay_equals_the_operations() {
        let parameters = Parameters {
            ops: 20_000,
            jobs: 9,
            checkpoints: 25,
            metrics_bytes_per_job: 400,
            history_minutes: 2,
            ..Parameters::default()
        };
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::start(dir.path(), false).unwrap();
        let (mut ledger, mut model) = (Ledger::default(), Content::new());
        let mut generator = Generator::new(&parameters);
        let mut started = 0;
        for op in &mut generator {
            log.append(&op).unwrap();
            ledger.apply(&op);
            started += 1;
            if started == 9_000 {
                // Another start of the engine, whose records stand in files of their own.
                log = Log::start(dir.path(), false).unwrap();
            }
            match &op.change {
                Change::Put { value, .. } => {
                    model.insert(op.store_key(), value.bytes().into_owned())
                }
                Change::Delete => model.remove(&op.store_key()),
            };
        }
        log.sync().unwrap();
        let recovered = recover(dir.path()).unwrap();
        assert_eq!(recovered, model);
        let mut digest = Digest::default();
        for (key, value) in &recovered {
            digest.add(key[0], &key[1..], value);
        }
        assert_eq!(digest, ledger.summary(generator.now_ms()).live);
        assert!(process::disk_bytes(dir.path()) >= ledger.log_bytes());

        let torn = dir
            .path()
            .join(MAPS[4].name)
            .join((super::super::FIRST_REGION + 1).to_string())
            .join(FILE_NAME);
        let mut file = File::options().append(true).open(torn).unwrap();
        file.write_all(&[200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 18]).unwrap();
        assert_eq!(recover(dir.path()).unwrap(), model);
    }

    #[test]
    fn what_is_held_back_is_lost_without_a_sync() {
        let parameters = Parameters { ops: 2_000, ..Parameters::default() };
        let dir = tempfile::tempdir().unwrap();
        let log = Log::start(dir.path(), true).unwrap();
        for (number, op) in (1_u64..).zip(Generator::new(&parameters)) {
            log.append(&op).unwrap();
            if number == 1_500 {
                log.sync().unwrap();
            }
        }
        drop(log);
        let mut found = 0;
        records(dir.path(), |_, _, _, _| found += 1).unwrap();
        assert_eq!(found, 1_500);
    }
}
