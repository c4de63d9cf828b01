//! A value on its way into a page: whoever makes it owns it until a page does.
//!
//! That changes at the CAS, not when the operation returns: what runs between the two, a
//! consolidation or the end of a key's `with_encoded`, can panic, and the page keeps the value.

use super::Shared;
use crate::memory::Held;
use core::cell::Cell;
use core::marker::PhantomData;

/// A value in the form that pages hold, not installed yet. Dropped, it drops the value: so none is
/// lost when an exchange is refused or a key's code panics.
pub(super) struct Fresh<V: Clone + Send + Sync + 'static> {
    slot: [u8; 8],
    /// 1 from the CAS on that has given the value to the tree.
    taken: Cell<usize>,
    value: PhantomData<V>,
}

impl<V: Clone + Send + Sync + 'static> Fresh<V> {
    pub(super) fn new(value: V, shared: &Shared<V>) -> Self {
        Self {
            slot: Held::into_slot(value, &shared.engine),
            taken: Cell::new(0),
            value: PhantomData,
        }
    }

    /// The same value, to be kept whatever becomes of this.
    pub(super) fn held(&self) -> Held<V> {
        Held::from_slot(&self.slot)
    }

    /// The bytes to be installed.
    pub(super) fn slot(&self) -> &[u8; 8] {
        &self.slot
    }

    /// To be counted up at the CAS that installs the bytes: from then on the value is the tree's.
    pub(super) fn taken(&self) -> &Cell<usize> {
        &self.taken
    }

    /// The value, which was not installed.
    pub(super) fn into_value(self) -> V {
        let held = self.held();
        drop(self);
        held.into_value()
    }
}

impl<V: Clone + Send + Sync + 'static> Drop for Fresh<V> {
    fn drop(&mut self) {
        if self.taken.get() == 0 {
            Held::<V>::disown(&self.slot);
        }
    }
}
