//! The cells of `--cfg shuttle`: those of std, as loom calls them.

use core::cell;

/// A cell whose content is reached by pointers.
#[derive(Debug, Default)]
pub struct UnsafeCell<T>(cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    /// A cell with this content.
    pub const fn new(content: T) -> Self {
        Self(cell::UnsafeCell::new(content))
    }

    /// Runs `look` with a pointer to the content, which is read only.
    pub fn with<R>(&self, look: impl FnOnce(*const T) -> R) -> R {
        look(self.0.get())
    }

    /// Runs `change` with a pointer to the content.
    pub fn with_mut<R>(&self, change: impl FnOnce(*mut T) -> R) -> R {
        change(self.0.get())
    }
}
