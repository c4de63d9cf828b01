//! Place: what committed parts the log holds of a page. Written by the appender alone.

use super::packed::{PackedPlace, Reckoned};
use super::store::DurableEngine;
use super::visit::is_crowded;
use crate::engine::{Engine, Store};
use mapping::PageRef;
use sync::atomic::{AtomicU64, Ordering};
use sync::epoch::Guard;
use types::{Address, PageId};

/// What the log holds of a page, as of the last commit.
///
/// A record is unflushed if its version is above `flushed`. An image is wanted if the base holds
/// versions above `flushed`, or the page's serial is not the image's: its range or its children
/// have changed. A page can be evicted if neither is the case (B1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The tree that the page is of.
    pub(crate) tree: u32,
    /// The cut of the newest part.
    pub(crate) flushed: u64,
    /// Serial of the page that the image was made from; 0 if it was not made by this process.
    pub(crate) serial: u32,
    /// The image; none if the page was merged away.
    pub(crate) image: Address,
    /// Delta parts on top of the image, oldest first.
    pub(crate) deltas: Vec<Address>,
    /// Separated values that the image or a delta part names.
    pub(crate) values: Vec<Address>,
    /// How many of `values` the image names; those behind them came with delta parts.
    pub(crate) image_values: usize,
    /// Entries in the page; about, if it is `uncounted`.
    pub(crate) count: i32,
    /// Whether the newest delta parts have records that were not compared with what is below them.
    pub(crate) uncounted: bool,
    /// Entries in the image; as many as `count` if it was made before the last opening. More, once
    /// entries were replaced by shorter ones: `count` of so many is what is needed of the image.
    pub(crate) image_count: i32,
    /// The page that has absorbed this one, and a durable commit says so.
    pub(crate) merged_into: PageId,
}

/// At least one part in so many of an image counts as needed.
const LEAST_NEEDED: usize = 64;

impl Place {
    /// Whether the log knows that the page was merged away.
    pub(crate) fn is_merged(&self) -> bool {
        self.merged_into.is_some()
    }

    /// Whether it is that of a page with less than so many live bytes: a leaf, perhaps.
    pub(crate) fn is_small(&self, bytes: usize) -> bool {
        !self.is_merged() && self.live_bytes() < bytes
    }

    /// Whether the page was written to without being read until it has more parts than it should.
    pub(crate) fn wants_reading(&self) -> bool {
        self.uncounted && is_crowded(self)
    }

    /// Whether a delta part is not enough for this page.
    pub(crate) fn wants_image(&self, page: PageRef<'_>) -> bool {
        self.image.is_none() || page.base_version() > self.flushed || page.serial() != self.serial
    }

    /// Bytes that an image of a leaf would have now, about: entries that were removed since the
    /// image was written take their share of it with them.
    pub(crate) fn live_bytes(&self) -> usize {
        let image = self.image.len as usize;
        match usize::try_from(self.count) {
            Ok(count) if self.count < self.image_count => image * count / self.image_count as usize,
            _ => image + self.deltas.iter().map(|delta| delta.len as usize).sum::<usize>(),
        }
    }

    /// Of so many bytes in all parts, of which the image has these, those that an image written now
    /// would not have, about. Of inner pages none: each of their images is whole.
    pub(super) fn superseded(&self, of_image: u64, all: u64) -> u64 {
        let as_number = |count: i32| u64::try_from(count).ok();
        match (as_number(self.count), as_number(self.image_count).filter(|entries| *entries > 0)) {
            (Some(count), Some(entries)) => {
                all.saturating_sub(of_image.saturating_mul(count) / entries)
            }
            _ => 0,
        }
    }

    /// Takes note that so many bytes of the image are not needed any more, because a delta part has
    /// less in their place.
    pub(crate) fn shrink_image(&mut self, bytes: usize) {
        if let Some(count) = usize::try_from(self.count).ok().filter(|count| count * bytes > 0) {
            let all = usize::try_from(self.image_count).unwrap_or(0).max(count);
            self.set_needed((self.image.len as usize * count / all).saturating_sub(bytes));
        }
    }

    /// Takes note of the bytes that an image written now would have.
    pub(crate) fn set_needed(&mut self, bytes: usize) {
        let image = self.image.len as usize;
        if let Ok(count) = usize::try_from(self.count) {
            let needed = bytes.max(image / LEAST_NEEDED).max(1);
            self.image_count = i32::try_from(image * count / needed).unwrap_or(i32::MAX);
        }
    }

    /// Keeps the separated values that `wanted` says yes to.
    pub(crate) fn keep_values(&mut self, wanted: impl Fn(Address) -> bool) {
        let of_image = &self.values[..self.image_values];
        self.image_values = of_image.iter().filter(|value| wanted(**value)).count();
        self.values.retain(|value| wanted(*value));
    }

    /// The image, and the delta parts on top of it.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Address> + '_ {
        let image = (!self.image.is_none()).then_some(self.image);
        image.into_iter().chain(self.deltas.iter().copied())
    }

    /// Whether this is a part of the page.
    pub(crate) fn has_part(&self, part: Address) -> bool {
        self.image == part || self.deltas.contains(&part)
    }

    /// All parts of the page, and the values that they name.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Address> + '_ {
        self.parts().chain(self.values.iter().copied())
    }
}

impl<S: Store> Engine<S> {
    /// What the log holds of a page, as the table has it.
    pub(crate) fn packed_place<'g>(
        &'g self,
        id: PageId,
        guard: &'g Guard,
    ) -> Option<PackedPlace<'g>> {
        self.table.place(id, guard).map(PackedPlace::of)
    }

    /// What the log holds of a page.
    pub(crate) fn place(&self, id: PageId, guard: &Guard) -> Option<Place> {
        self.packed_place(id, guard).map(PackedPlace::unpack)
    }

    /// The same without the lists of delta parts and values, for who wants to know little.
    pub(crate) fn place_without_lists(&self, id: PageId, guard: &Guard) -> Option<Place> {
        self.packed_place(id, guard).map(PackedPlace::without_lists)
    }
}

impl DurableEngine {
    /// Sets, or forgets, what the log holds of a page. The next checkpoint says so. Called by who
    /// has the appender.
    pub(crate) fn set_place(&self, id: PageId, place: Option<&Place>, guard: &Guard) {
        let mut bytes = Vec::new();
        if let Some(place) = place {
            PackedPlace::write(place, &mut bytes);
        }
        self.set_packed(id, place.map(|_| PackedPlace::of(&bytes)), guard);
    }

    /// The same, with a location that is packed already.
    pub(crate) fn set_packed(&self, id: PageId, place: Option<PackedPlace<'_>>, guard: &Guard) {
        let reckoned =
            |place: Option<PackedPlace<'_>>| place.map(PackedPlace::reckoned).unwrap_or_default();
        let (old, new) = (reckoned(self.packed_place(id, guard)), reckoned(place));
        // Wraps around in between, if what is taken away comes first.
        let change = |sum: &AtomicU64, old: u64, new: u64| {
            sum.fetch_add(new.wrapping_sub(old), Ordering::Relaxed);
        };
        change(&self.store.superseded, old.superseded, new.superseded);
        change(&self.store.unknown, old.unknown, new.unknown);
        let outgrown =
            |reckoned: &Reckoned| if self.is_outgrown(reckoned) { reckoned.grown } else { 0 };
        change(&self.store.outgrown, outgrown(&old), outgrown(&new));
        self.store.changed().insert(id);
        self.table.set_place(id, place.map(PackedPlace::bytes), guard);
    }
}
