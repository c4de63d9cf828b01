//! What must be true of a pool that nobody is using: nothing was forgotten.

use super::pool::{Memory, Pool};
use super::slab::NOBODY;
use sync::atomic::Ordering::Acquire;

impl<M: Memory> Pool<M> {
    /// Checks every slab, and says how many have something in use.
    pub(super) fn check_settled(&self) -> u32 {
        let opened = self.opened.load(Acquire) as usize;
        let mut kept = Vec::new();
        for door in &self.doors {
            let Some(mut shard) = door.shard.try_lock() else { panic!("a shard is in use") };
            kept.extend(shard.held().map(|held| (held.slab, held.kept)));
        }
        let mut used = 0;
        for at in 0..opened {
            let slab = self.slab(at);
            let holder = slab.holder.load(Acquire);
            let held = kept.iter().find(|(slab, _)| *slab == at);
            assert_eq!(holder != NOBODY, held.is_some(), "who holds slab {at}?");
            if !slab.is_unused() {
                used += 1;
                let roomy = slab.count.load(Acquire) >> 32 >= u64::from(self.sizes.units / 16);
                let found = self.roomy.next(at, at + 1).is_some();
                assert!(holder != NOBODY || found || !roomy, "slab {at} is forgotten");
            } else if holder == NOBODY {
                let gone = slab.absent.load(Acquire) == self.sizes.pages();
                let found = if gone { &self.vacant } else { &self.spare };
                assert!(found.next(at, at + 1).is_some(), "slab {at} is forgotten");
            } else {
                assert!(held.is_some_and(|(_, kept)| *kept), "slab {at} is empty and held");
            }
        }
        let count = kept.iter().filter(|(_, kept)| *kept).count();
        assert_eq!(self.kept.load(Acquire) as usize, count, "slabs that are kept");
        assert!(count <= self.sizes.most_kept as usize);
        used
    }
}
