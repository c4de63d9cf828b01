//! Which commits count: the longest run of whole groups behind the checkpoint.
//!
//! A group is the frames from behind one COMMIT up to the next, with no sequence missing and all
//! of one attempt. Up to the highest sequence that any frame or link says was durable, a missing
//! group is damage; beyond it, payloads are checked too, and the first group that is not whole is
//! the torn tail.

use std::collections::{BTreeMap, HashSet};

use crate::error::Error;
use crate::recovered::RecoveredFrame;
use crate::scan::{Found, Scan};

/// The extent of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) len: u64,
}

/// Where the run of groups starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) sequence: u64,
    pub(crate) version: u64,
    pub(crate) attempt: u32,
}

/// What the run of groups amounts to.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) sequence: u64,
    pub(crate) version: u64,
    pub(crate) frames: Vec<RecoveredFrame>,
    /// Bytes of all frames taken.
    pub(crate) bytes: u64,
    /// The segments that they lie in.
    pub(crate) segments: HashSet<u32>,
    /// Frames taken that no later frame proves to be durable.
    pub(crate) unproven: Vec<Place>,
}

/// Follows the groups, which must reach up to `required`. `verify` says whether all payloads of a
/// frame are whole; `path` names a segment's file; `lost` says what is wrong with a segment of
/// which nothing was found.
pub(crate) fn replay(
    scan: &Scan,
    start: Start,
    required: u64,
    verify: &mut dyn FnMut(&Found) -> Result<bool, Error>,
    path: &dyn Fn(u32) -> String,
    lost: &dyn Fn(u32) -> &'static str,
) -> Result<Replay, Error> {
    let mut by_sequence: BTreeMap<(u64, u32), &Found> = BTreeMap::new();
    for found in &scan.frames {
        let key = (found.header.sequence, found.header.attempt);
        by_sequence.entry(key).or_insert(found);
    }
    let mut replay = Replay {
        sequence: start.sequence,
        version: start.version,
        frames: Vec::new(),
        bytes: 0,
        segments: HashSet::new(),
        unproven: Vec::new(),
    };
    let mut attempt = start.attempt;
    let mut last: Option<&Found> = None;
    while let Some(group) = next_group(&by_sequence, &replay, attempt, scan.durable, verify)? {
        let Some(&commit) = group.last() else { break };
        attempt = commit.header.attempt;
        replay.sequence = commit.header.sequence;
        replay.version = commit.header.version;
        for found in group {
            replay.take(found, scan.durable);
        }
        last = Some(commit);
    }
    if replay.sequence < required {
        let first = replay.sequence + 1;
        return Err(match lost_segment(scan, first) {
            Some((id, durable)) => {
                let what = format!("{}, though frames up to {durable} were durable", lost(id));
                Error::corrupt(path(id), 0, what)
            }
            None => missing(scan, (first, required), last, path),
        });
    }
    Ok(replay)
}

/// The group behind what was taken so far, of the highest attempt that has a whole one.
fn next_group<'a>(
    by_sequence: &BTreeMap<(u64, u32), &'a Found>,
    taken: &Replay,
    least_attempt: u32,
    durable: u64,
    verify: &mut dyn FnMut(&Found) -> Result<bool, Error>,
) -> Result<Option<Vec<&'a Found>>, Error> {
    let first = taken.sequence + 1;
    let attempts = by_sequence.range((first, least_attempt)..=(first, u32::MAX));
    for &(_, attempt) in attempts.map(|(key, _)| key).rev() {
        let mut group: Vec<&'a Found> = Vec::new();
        while let Some(&found) = by_sequence.get(&(first + group.len() as u64, attempt)) {
            if found.header.sequence > durable && !verify(found)? {
                break;
            }
            group.push(found);
            if found.header.commit {
                return Ok(Some(group));
            }
        }
    }
    Ok(None)
}

impl Replay {
    fn take(&mut self, found: &Found, durable: u64) {
        let len = found.header.frame_bytes();
        self.bytes += len;
        self.segments.insert(found.segment);
        if found.header.sequence > durable {
            self.unproven.push(Place { segment: found.segment, offset: found.offset, len });
        }
        self.frames.push(RecoveredFrame { found: *found, version: self.version });
    }
}

/// A segment with a frame from this sequence on of which nothing is left, as a link says, and the
/// sequence up to which that was durable.
fn lost_segment(scan: &Scan, first: u64) -> Option<(u32, u64)> {
    let frames = scan.frames.iter().map(|found| found.segment);
    let found: HashSet<u32> = frames.chain(scan.broken.iter().map(|&(_, id, _)| id)).collect();
    let links = scan.links.iter().filter(|link| link.durable >= first);
    let next = links.flat_map(|link| link.next.map(|id| (id, link.durable)));
    next.filter(|(id, _)| *id != 0 && !found.contains(id))
        .min_by_key(|&(id, durable)| (durable, id))
}

/// The error for a group that was durable and is not whole.
fn missing(
    scan: &Scan,
    (sequence, durable): (u64, u64),
    last: Option<&Found>,
    path: &dyn Fn(u32) -> String,
) -> Error {
    let what = format!("frame {sequence} is damaged or missing, though {durable} was durable");
    let broken = scan.broken.iter().find(|(found, _, _)| (sequence..=durable).contains(found));
    match (broken, last) {
        (Some(&(_, segment, offset)), _) => Error::corrupt(path(segment), offset, what),
        (None, Some(last)) => {
            let end = u64::from(last.offset) + last.header.frame_bytes();
            Error::corrupt(path(last.segment), end, what)
        }
        (None, None) => {
            let first = scan.frames.iter().min_by_key(|f| f.header.sequence);
            let (segment, offset) = first.map_or((0, 0), |f| (f.segment, u64::from(f.offset)));
            Error::corrupt(path(segment), offset, what)
        }
    }
}
