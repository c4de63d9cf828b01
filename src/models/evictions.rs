//! Evictions: a page that has something the log has not is not given up.
//!
//! Guarded by the look at the newest record's version in `try_evict`, and by the CAS that names
//! the head that was looked at.

use super::setting::{Logged, ONE, join_both, merging, recovered};
use super::{explore, join, start};
use gc::Evictable;
use std::sync::Arc;

const TWO: &[(u8, &[u8])] = &[(0, &[10]), (30, &[30])];

#[test]
fn an_update_beside_an_eviction_is_kept() {
    explore("evict/update", || {
        let it = Logged::new(merging(3 * ONE), TWO);
        let (one, two) = (Arc::clone(&it), Arc::clone(&it));
        let evictor = start(move || one.setting.engine.try_evict(2));
        join_both(evictor, start(move || two.setting.put(10, 2)));
        it.setting.expect(&[(10, 2), (30, 1)]);
        it.setting.engine.try_evict(2);
        it.setting.expect(&[(10, 2), (30, 1)]);
        assert_eq!(recovered(&it.sync(), merging(3 * ONE)), [(10, 2), (30, 1)]);
    });
}

#[test]
fn an_eviction_beside_a_sync_waits_for_its_commit() {
    explore("evict/sync/update", || {
        let it = Logged::new(merging(3 * ONE), TWO);
        let (one, two, three) = (Arc::clone(&it), Arc::clone(&it), Arc::clone(&it));
        let evictor = start(move || one.setting.engine.try_evict(2));
        let writer = start(move || two.setting.put(10, 2));
        join(start(move || three.sync()));
        join_both(evictor, writer);
        it.setting.expect(&[(10, 2), (30, 1)]);
        assert_eq!(recovered(&it.sync(), merging(3 * ONE)), [(10, 2), (30, 1)]);
    });
}
