//! Programs that would break memory, and do not compile.
//!
//! Each of these could once be written in safe code, and used memory that was freed, or never
//! written, or somebody else's. What types can't see is refused when it is done: see
//! `tests/misuse.rs`. This is how the functions are meant:
//!
//! ```
//! # use bwtree_mapping::*;
//! # use sync::epoch::Guard;
//! # use types::PageId;
//! fn put(table: &Table, id: PageId, guard: &Guard, bytes: &[u8]) -> bool {
//!     let Word::Resident(chain) = table.load(id, guard) else { return false };
//!     let page = chain.page();
//!     let Some(reserved) = page.reserve(Records::Sized, bytes.len()) else { return false };
//!     let record = reserved.write(1, 0, |payload| payload.put(bytes));
//!     table.append(id, chain, record).is_ok()
//! }
//!
//! fn replace(table: &Table, id: PageId, guard: &Guard, page: PageBox) {
//!     let Word::Resident(chain) = table.load(id, guard) else { return };
//!     let Ok(replaced) = table.replace(id, chain, page) else { return };
//!     replaced.retire(guard, || ());
//! }
//! ```
//!
//! What was loaded is used after the table is gone, which has freed it.
//!
//! ```compile_fail,E0505
//! # use bwtree_mapping::*;
//! # use sync::epoch::Guard;
//! # use types::PageId;
//! fn table_is_gone(table: Table, id: PageId, guard: &Guard) {
//!     let Word::Resident(chain) = table.load(id, guard) else { return };
//!     drop(table);
//!     chain.base();
//! }
//! ```
//!
//! The same with what is known of its place.
//!
//! ```compile_fail,E0505
//! # use bwtree_mapping::*;
//! # use sync::epoch::Guard;
//! # use types::PageId;
//! fn place_is_gone(table: Table, id: PageId, guard: &Guard) -> Option<Vec<u8>> {
//!     let place = table.place(id, guard);
//!     drop(table);
//!     place.map(<[u8]>::to_vec)
//! }
//! ```
//!
//! A page is retired twice.
//!
//! ```compile_fail,E0382
//! # use bwtree_mapping::*;
//! # use sync::epoch::Guard;
//! # use types::PageId;
//! fn retired_twice(page: Unlinked, guard: &Guard) {
//!     page.retire(guard, || ());
//!     page.retire(guard, || ());
//! }
//! ```
//!
//! A page is retired, or its history closed, while it is still linked: nobody has an
//! [`Unlinked`](crate::Unlinked) of it.
//!
//! ```compile_fail,E0599
//! # use bwtree_mapping::*;
//! # use sync::epoch::Guard;
//! # use types::PageId;
//! fn retired_while_linked(chain: Chain<'_>, guard: &Guard) {
//!     chain.page().retire(guard, || ());
//! }
//! ```
//!
//! ```compile_fail,E0599
//! # use bwtree_mapping::*;
//! # use sync::epoch::Guard;
//! # use types::PageId;
//! fn closed_while_linked(chain: Chain<'_>, guard: &Guard) {
//!     chain.close_history(guard);
//! }
//! ```
//!
//! A record is installed that was not written.
//!
//! ```compile_fail,E0308
//! # use bwtree_mapping::*;
//! # use sync::epoch::Guard;
//! # use types::PageId;
//! fn not_written(table: &Table, id: PageId, chain: Chain<'_>) {
//!     let Some(reserved) = chain.page().reserve(Records::Sized, 8) else { return };
//!     let _ = table.append(id, chain, reserved);
//! }
//! ```
//!
//! A record is written again that others may look at.
//!
//! ```compile_fail,E0382
//! # use bwtree_mapping::*;
//! # use sync::epoch::Guard;
//! # use types::PageId;
//! fn written_twice(reserved: Reservation<'_>) {
//!     reserved.write(1, 0, |payload| payload.put(b"one"));
//!     reserved.write(1, 0, |payload| payload.put(b"two"));
//! }
//! ```
//!
//! A record is installed twice.
//!
//! ```compile_fail,E0382
//! # use bwtree_mapping::*;
//! # use sync::epoch::Guard;
//! # use types::PageId;
//! fn installed_twice(table: &Table, id: PageId, chain: Chain<'_>, record: Written<'_>) {
//!     let _ = table.append(id, chain, record);
//!     let _ = table.append(id, chain, record);
//! }
//! ```
//!
//! The bytes at any place of a page are taken for a record.
//!
//! ```compile_fail,E0624
//! # use bwtree_mapping::*;
//! # use sync::epoch::Guard;
//! # use types::PageId;
//! fn any_head(chain: Chain<'_>) -> u64 {
//!     chain.page().record(60_000).version()
//! }
//! ```
//!
//! An old page is used after what it was found by is gone.
//!
//! ```compile_fail,E0505
//! # use bwtree_mapping::*;
//! # use sync::epoch::Guard;
//! # use types::PageId;
//! fn old_is_gone(old: Old, guard: &Guard) {
//!     let Some(chain) = old.chain(guard) else { return };
//!     drop(old);
//!     chain.base();
//! }
//! ```
//!
//! The pointer to a history is changed as if it were a number.
//!
//! ```compile_fail,E0624
//! # use bwtree_mapping::*;
//! # use sync::epoch::Guard;
//! # use types::PageId;
//! fn listed(chain: Chain<'_>) {
//!     chain.page().listed();
//! }
//! ```
//!
//! A history is looked at that no pin protects.
//!
//! ```compile_fail,E0599
//! # use bwtree_mapping::*;
//! # use sync::epoch::Guard;
//! # use types::PageId;
//! fn unpinned(page: &PageBox) {
//!     page.page().history();
//! }
//! ```
