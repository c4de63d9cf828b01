//! Ranges whose entries are lent: no key is copied for the caller.

use super::Map;
use super::bounds::{KeyRange, spanned};
use super::iter::Walk;
use super::snapshot::Snapshot;
use crate::key::{EncodeKey, Key};
use core::ops::ControlFlow;

impl<K: Key, V: Clone + Send + Sync + 'static> Map<K, V> {
    /// Shows the entries whose keys lie in `range` to `see`, in order, until it breaks off; returns
    /// what it broke off with.
    ///
    /// What [`range`](Self::range) gives as the caller's own is lent here: of a text or a run of
    /// bytes a `&str` or `&[u8]`, without an allocation for each entry, and of others a reference
    /// (see [`Key::Lent`]); and no value is cloned.
    ///
    /// `see` is given what was copied out of a page, and runs unpinned: it may use the same map,
    /// take as long as it likes, and panic. What it changes in a page that was read already, or is
    /// being shown, it does not see.
    ///
    /// LINEARIZES: each entry at the load of the word of its page; all together are not one step.
    ///
    /// Cost: `O(log n)` for each page, `O(1)` for each entry in it.
    ///
    /// # Panics
    /// If the start lies behind the end, or both are the same and excluded, as `BTreeMap::range`.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    ///
    /// let map: bwtree::Map<String, u32> = [("a", 1), ("b", 2), ("c", 3)]
    ///     .map(|(key, value)| (key.to_owned(), value))
    ///     .into();
    /// let mut sum = 0;
    /// let all = map.scan("b".., |_, value| {
    ///     sum += value;
    ///     ControlFlow::<()>::Continue(())
    /// });
    /// assert!(all.is_continue() && sum == 5);
    ///
    /// let first_even = map.scan(.., |key, value| match value % 2 {
    ///     0 => ControlFlow::Break(key.to_owned()),
    ///     _ => ControlFlow::Continue(()),
    /// });
    /// assert_eq!(first_even, ControlFlow::Break("b".to_owned()));
    /// ```
    #[track_caller]
    pub fn scan<Q, R, B>(
        &self,
        range: R,
        see: impl FnMut(&K::Lent, &V) -> ControlFlow<B>,
    ) -> ControlFlow<B>
    where
        Q: EncodeKey + ?Sized,
        R: KeyRange<K, Q>,
    {
        spanned(range, |span| Walk::new(&self.shared, span)).scan::<K, B>(see)
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Snapshot<'_, K, V> {
    /// Shows the entries whose keys lay in `range` to `see`, in order, until it breaks off; returns
    /// what it broke off with. As [`Map::scan`], but all of one moment.
    ///
    /// # Panics
    /// As [`Map::scan`].
    ///
    /// ```
    /// use std::ops::ControlFlow;
    ///
    /// let map: bwtree::Map<u32, char> = [(1, 'a'), (2, 'b')].into();
    /// let then = map.snapshot();
    /// map.clear();
    /// let mut text = String::new();
    /// let _all = then.scan(.., |_, letter| {
    ///     text.push(*letter);
    ///     ControlFlow::<()>::Continue(())
    /// });
    /// assert_eq!(text, "ab");
    /// ```
    #[track_caller]
    pub fn scan<Q, R, B>(
        &self,
        range: R,
        see: impl FnMut(&K::Lent, &V) -> ControlFlow<B>,
    ) -> ControlFlow<B>
    where
        Q: EncodeKey + ?Sized,
        R: KeyRange<K, Q>,
    {
        spanned(range, |span| self.walk(span)).scan::<K, B>(see)
    }
}
