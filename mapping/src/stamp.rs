//! Stamping: how a record gets its version, and its page onto the dirty list before that.
//!
//! A record is installed with stamp 0 and stamped right after, by whoever meets it first: its
//! writer, a reader that returns it, a writer that installs on top of it, a consolidation before
//! it copies it, the flush. The order inside the loop is the whole protocol:
//!
//! 1. read `listed` of the page,
//! 2. fence,
//! 3. read the clock `c`,
//! 4. if they are equal, CAS the stamp from 0 to `c`;
//! 5. else push `(page, c)` on the dirty list, *then* set `listed` to `c`, and start again.
//!
//! The drain of a cut `g` takes the entries with `c <= g` only, after its bump and a fence. So a
//! record stamped `v` is in the commit of every cut `>= v` (I13). The races that break each
//! variant (clock first, listed before push, no fence, a drain that takes all) are in the models.

use crate::clock::Clock;
use crate::dirty::DirtyList;
use crate::history::Old;
use crate::page::{Chain, PageRef, RecordRef};
use sync::atomic::{Ordering, fence};
use types::PageId;

/// Gives `record` of page `id` its version if it has none, and returns the version.
///
/// # Panics
/// If the page has a history: then it is of a tree in memory, and is not listed.
#[inline]
pub fn stamp(
    record: RecordRef<'_>,
    page: PageRef<'_>,
    id: PageId,
    clock: &Clock,
    dirty: &DirtyList,
) -> u64 {
    // Who reads a version sees the push before it.
    let version = record.version();
    if version != 0 { version } else { decide(record, page, id, clock, dirty) }
}

/// As [`stamp`], where no log follows and no page is listed.
///
/// The same store buffering is left: install, then clock, here; bump, then word, in who opens a
/// cut. It is decided by the one order of those four `SeqCst` accesses, and costs nothing more.
#[inline]
pub fn date(record: RecordRef<'_>, clock: &Clock) -> u64 {
    let version = record.version();
    if version != 0 {
        return version;
    }
    // Loom takes SeqCst accesses for AcqRel ones.
    #[cfg(loom)]
    fence(Ordering::SeqCst);
    record.set_version(clock.now())
}

/// Gives a page in memory its base version if that is not decided, and returns it.
///
/// Entries that a page was built of, and that were in no page before, come into being with the CAS
/// of its word. So, like a record, it gets its version afterwards, by whoever meets it first. All
/// pages that took the place of one get the same, which is decided in the [`Old`] that
/// each of them has in its history: their entries come into being together.
///
/// A history is trimmed only when the version is decided, so who reads it, and then finds the
/// version not decided, has read the whole one.
///
/// # Panics
/// If the page has no history: then it was built with a version, or found by an [`Old`].
#[inline]
pub fn date_page(chain: Chain<'_>, clock: &Clock) -> u64 {
    let version = chain.page().base_version();
    if version != 0 { version } else { date_together(chain, clock) }
}

#[cold]
#[inline(never)]
fn date_together(chain: Chain<'_>, clock: &Clock) -> u64 {
    let (history, page) = (chain.history(), chain.page());
    let version = page.base_version();
    if version != 0 {
        return version;
    }
    let Some(history) = history else { panic!("a page without version and history") };
    let version = date_successors(history.newest(), clock);
    page.decide(version);
    version
}

/// As [`date_page`], of all pages that took the place of this one.
pub fn date_successors(old: &Old, clock: &Clock) -> u64 {
    let version = old.hidden_at();
    if version != 0 {
        return version;
    }
    // As in `date`.
    #[cfg(loom)]
    fence(Ordering::SeqCst);
    old.hide(clock.now())
}

fn decide(
    record: RecordRef<'_>,
    page: PageRef<'_>,
    id: PageId,
    clock: &Clock,
    dirty: &DirtyList,
) -> u64 {
    loop {
        // ORDERING: Acquire pairs with the Release below: who reads `listed == c` sees the push.
        let listed = page.listed().load(Ordering::Acquire);
        // ORDERING: the stamper's side of the store buffering with `Clock::open`.
        fence(Ordering::SeqCst);
        let now = clock.now();
        if listed == now {
            return record.set_version(now);
        }
        dirty.push(id, now);
        page.listed().store(now, Ordering::Release);
    }
}
