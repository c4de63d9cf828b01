//! A process that is forked while a store is open: the child is told so, and harms nothing.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]
#![expect(unsafe_code, reason = "no safe call forks this process")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use bwtree::{Db, Error, LogError, Result, SyncPolicy, Tree};

unsafe extern "C" {
    fn fork() -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn _exit(status: i32) -> !;
}

/// Runs `child` in a fork of this process. It must not panic.
fn in_fork(child: impl FnOnce()) {
    // SAFETY: the child runs on with a copy of this thread only. It uses no lock that another
    // thread may have held, save those of the allocator, which the C library makes whole.
    let pid = unsafe { fork() };
    if pid == 0 {
        let done = catch_unwind(AssertUnwindSafe(child));
        // SAFETY: nothing of the test harness is to run twice.
        unsafe { _exit(i32::from(done.is_err())) }
    }
    let mut status = -1;
    // SAFETY: it writes one number, to where it is told.
    let waited = unsafe { waitpid(pid, &raw mut status, 0) };
    // Ended by itself, with 0.
    assert_eq!((waited, status), (pid, 0), "the child has failed");
}

fn is_forked<T>(result: &Result<T>) -> bool {
    let says = matches!(result, Err(Error::Log(LogError::Forked { .. })));
    if let Err(error) = result {
        assert!(!says || error.to_string().contains("fork"), "{error}");
    }
    says
}

fn check(tree: &Tree, keys: u32) {
    assert_eq!(tree.len(), u64::from(keys));
    for key in 0..keys {
        assert_eq!(tree.get(key.to_be_bytes()).unwrap().as_deref(), Some(b"parent".as_slice()));
    }
}

/// A child wrote into the log of its parent, at the same positions; its drop joined threads that it
/// does not have, and aborted.
#[test]
fn a_fork_is_told_so_and_harms_nothing() {
    for policy in [SyncPolicy::Manual, SyncPolicy::Always, SyncPolicy::EveryMillis(20)] {
        let dir = tempfile::tempdir().unwrap();
        let open = || Db::builder(dir.path()).sync_policy(policy).open().unwrap();
        let db = open();
        let tree = db.tree("t").unwrap();
        let put = |db: &Db, tree: &Tree, from: u32| {
            (from..from + 100).for_each(|key| tree.put(key.to_be_bytes(), "parent").unwrap());
            db.sync().unwrap();
        };
        put(&db, &tree, 0);
        let mut held = Some((db, tree));
        for close in [true, false] {
            in_fork(|| {
                let (db, tree) = held.take().unwrap();
                let found = tree.get(7_u32.to_be_bytes()).unwrap();
                assert_eq!(found.as_deref(), Some(b"parent".as_slice()));
                assert!(is_forked(&db.sync()));
                assert!(is_forked(&db.checkpoint()));
                // Without a sync of its own a put is refused once some KiB were written.
                let puts = (0..2000_u32).map(|key| tree.put(key.to_be_bytes(), "the child of it"));
                let refused = puts.filter(is_forked).count();
                assert!(refused > 0 && (refused == 2000 || policy != SyncPolicy::Always));
                assert!(is_forked(&db.sync()));
                drop(tree);
                if close {
                    db.close().unwrap();
                } else {
                    drop(db);
                }
            });
        }
        let (db, tree) = held.unwrap();
        put(&db, &tree, 100);
        check(&tree, 200);
        db.verify().unwrap();
        drop(tree);
        db.close().unwrap();
        let db = open();
        check(&db.tree("t").unwrap(), 200);
        db.verify().unwrap();
        db.close().unwrap();
    }
}
