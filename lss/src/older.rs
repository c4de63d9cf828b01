//! A superblock that is older than the segments: somebody has put one back, of an earlier opening.
//!
//! Recovery from it would find an old state, and writing would go on from there: the segments of
//! later openings would be taken for files of openings that never came to life, and removed.
//!
//! Whether an opening has come to life can be told from its frames. Until its first superblock is
//! durable, nothing that it writes counts, and each of its frames says that what recovery had found
//! is durable, and no more. Recovery finds the same again, however often it is cut short. So a
//! frame or link of a later generation that says more than what is found proves a later superblock;
//! or that what is found has lost its end.
//!
//! An opening that came to life and wrote nothing but its first group has no such frame, and needs
//! none: what it wrote says the same as what it had found.

use crate::error::Error;
use crate::files::FoundFile;
use crate::io::{Access, Disk};
use crate::scan::{Scan, Wanted, Window};
use crate::segment::{HEADER_BYTES, file_name};
use crate::superblock::{FILE, Superblock, SuperblockFile};

/// An error if more than `taken`, up to which recovery finds everything, was durable in a later
/// opening than that of the superblock. A reader may find a writer beside it.
pub(crate) fn check(
    (disk, is_reader): (&dyn Disk, bool),
    files: &[FoundFile],
    superblock: &Superblock,
    taken: u64,
    path: &dyn Fn(u32) -> String,
) -> Result<(), Error> {
    let mut durable = taken;
    let mut proof = None;
    for found in files {
        let Some(header) = found.header.filter(|h| h.generation > superblock.generation) else {
            continue;
        };
        let wanted =
            Wanted { store: superblock.store, generation: header.generation, after: taken };
        let mut scan = Scan { durable, ..Scan::default() };
        let mut window = Window::new(&found.file, path(found.id), found.size);
        scan.segment(&mut window, found.id, HEADER_BYTES as u64, wanted)?;
        if scan.durable > durable {
            durable = scan.durable;
            proof = Some(header);
        }
    }
    let Some(proof) = proof else { return Ok(()) };
    // It may have become older since a reader read it, and then it counts still.
    if is_reader && SuperblockFile::open(disk, Access::Read)?.1.generation >= proof.generation {
        return Ok(());
    }
    let what = format!(
        "it is older than the segments: it leads to frame {taken}, and {} says that frames up to \
         {durable} were durable; put the superblock back that belongs to them, or all files of \
         one copy",
        file_name(proof.id)
    );
    Err(Error::corrupt(format!("{}/{FILE}", disk.place()), 0, what))
}
