//! Ids: the stack of free ids gives no id to two owners.
//!
//! Guarded by the count in the head of the stack: without it, a head that was popped and pushed
//! again in between compares equal, and its stale link is installed (ABA).

use super::setting::join_both;
use super::{explore, start};
use mapping::Table;
use std::collections::HashSet;
use std::sync::Arc;
use types::PageId;

fn allocate(table: &Table) -> PageId {
    match table.allocate() {
        Ok(id) => id,
        Err(full) => panic!("{full:?}"),
    }
}

#[test]
fn no_id_has_two_owners() {
    explore("free/reuse of ids", || {
        let table = Arc::new(Table::new());
        let ids = [allocate(&table), allocate(&table)];
        ids.into_iter().for_each(|id| table.release(id));
        let (one, two) = (Arc::clone(&table), Arc::clone(&table));
        let first = start(move || allocate(&one));
        let second = start(move || {
            let (first, second) = (allocate(&two), allocate(&two));
            two.release(first);
            second
        });
        let (first, second) = join_both(first, second);
        let all = [first, second, allocate(&table), allocate(&table)];
        let distinct: HashSet<PageId> = all.into_iter().collect();
        assert_eq!(distinct.len(), all.len(), "an id was handed out twice: {all:?}");
    });
}

#[test]
fn two_that_give_back_lose_no_id() {
    explore("free/free of ids", || {
        let table = Arc::new(Table::new());
        let ids = [allocate(&table), allocate(&table)];
        let (one, two) = (Arc::clone(&table), Arc::clone(&table));
        join_both(start(move || one.release(ids[0])), start(move || two.release(ids[1])));
        let again: HashSet<PageId> = [allocate(&table), allocate(&table)].into_iter().collect();
        assert_eq!(again, ids.into_iter().collect(), "an id was lost");
    });
}
