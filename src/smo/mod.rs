//! Structure modifications: split, post, merge. The rule they all obey: every step is one CAS, and
//! leaves a tree in which every key is found (I4).
//!
//! ```text
//!   split   right pages under fresh ids, Unborn -> CAS left to the leftmost -> list left
//!           -> the right ones are born -> post the separators (best effort: links are enough)
//!   root    all pages under fresh ids, Unborn -> CAS root to an inner page over them
//!   merge   CAS parent: merging = R -> cap R -> CAS L to L+R -> CAS parent: without R -> bury R
//!   lower   CAS root: merging = C -> cap C -> CAS root to what C has -> bury C
//! ```
//!
//! Inner pages carry no records: each change is a copy and a CAS.

mod lower;
mod merge;
mod post;
mod split;

pub(crate) use split::points_at;

use crate::engine::{Engine, Store};
use delta::{Base, Contents, Shape};
use mapping::Chain;
use sync::epoch::Guard;
use types::PageId;

impl<S: Store> Engine<S> {
    /// Puts a changed inner page in place of the one that was seen, and lists it.
    pub(crate) fn replace_inner(
        &self,
        id: PageId,
        seen: Chain<'_>,
        shape: &Shape<'_>,
        contents: &Contents<'_>,
        guard: &Guard,
    ) -> bool {
        let page = self.build(shape, contents, &[], 0, self.smo_birth(seen.page().tree(), 0));
        let size = page.page().size_bytes();
        self.charge(size);
        let Ok(replaced) = self.table.replace(id, seen, page) else {
            self.discharge(size);
            return false;
        };
        self.list(id);
        self.retire(replaced, Vec::new(), guard);
        true
    }

    /// Puts an inner page in place of the one that was seen that intends this merge, or none, and
    /// is the same otherwise, but for absorbed pages that the log knows of by now.
    pub(crate) fn intend(
        &self,
        id: PageId,
        seen: Chain<'_>,
        merging: PageId,
        guard: &Guard,
    ) -> bool {
        let base = Base::new(seen.base());
        let absorbed = self.still_absorbed(base, guard);
        let shape = Shape { merging, ..base.shape(&absorbed) };
        self.replace_inner(id, seen, &shape, &Contents::of(base), guard)
    }
}
