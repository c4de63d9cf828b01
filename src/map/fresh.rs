//! A value on its way into a page: whoever makes it owns it until a page does.

use crate::memory::Held;
use core::marker::PhantomData;

/// A value in the form that pages hold, not installed yet. Dropped, it drops the value: so none is
/// lost when an exchange is refused or a key's code panics.
pub(super) struct Fresh<V: Clone + Send + Sync + 'static> {
    slot: [u8; 8],
    /// A page owns the value now.
    installed: bool,
    value: PhantomData<V>,
}

impl<V: Clone + Send + Sync + 'static> Fresh<V> {
    pub(super) fn new(value: V) -> Self {
        Self { slot: Held::into_slot(value), installed: false, value: PhantomData }
    }

    /// The bytes to be installed.
    pub(super) fn slot(&self) -> &[u8; 8] {
        &self.slot
    }

    /// The same value, to be kept whatever becomes of this.
    pub(super) fn held(&self) -> Held<V> {
        Held::from_slot(&self.slot)
    }

    /// Called when the bytes were installed: the page is the owner.
    pub(super) fn installed(mut self) {
        self.installed = true;
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
        if !self.installed {
            Held::<V>::disown(self.slot);
        }
    }
}
