//! Tests of the catalog.

use super::*;
use crate::Db;
use lss::io::MemoryDisk;

/// The head of a page has 24 bits for the number: behind the highest one the pages of a new
/// tree would have been the catalog's.
#[test]
fn numbers_of_trees_are_used_again_when_all_were() {
    let disk = MemoryDisk::new();
    let db = options().open_on(Arc::new(disk.clone())).unwrap();
    let first = db.tree("first").unwrap();
    first.put("k", "first").unwrap();
    db.inner.catalog.lock().last_id = CATALOG_COPY - 3;
    let names = ["a", "b", "c", "d"];
    for name in names {
        db.tree(name).unwrap().put("k", name).unwrap();
    }
    let numbers = |db: &Db| {
        let trees = db.inner.catalog.trees(&db.inner.engine).unwrap();
        trees.into_iter().map(|(_, core)| core.id).collect::<Vec<_>>()
    };
    let last = CATALOG_COPY - 1;
    assert_eq!(numbers(&db), [last - 1, last, 2, 3, 1], "a, b, c, d and first");
    db.drop_tree("c").unwrap();
    // Its pages are there still.
    db.tree("e").unwrap().put("k", "e").unwrap();
    assert_eq!(numbers(&db), [last - 1, last, 3, 4, 1]);
    db.verify().unwrap();
    drop(first);
    db.close().unwrap();
    let db = options().open_on(Arc::new(disk)).unwrap();
    db.tree("f").unwrap().put("k", "f").unwrap();
    assert_eq!(numbers(&db), [last - 1, last, 3, 4, 2, 1]);
    for name in ["a", "b", "d", "e", "f", "first"] {
        assert_eq!(db.tree(name).unwrap().get("k").unwrap().unwrap(), name);
    }
    db.verify().unwrap();
}

/// Cleaning wrote what it moved of the catalog to the stream in which its copy lay.
#[test]
fn the_catalog_and_its_copy_share_no_segment() {
    let db = options().open_on(Arc::new(MemoryDisk::new())).unwrap();
    let engine = &db.inner.engine;
    let segments = |number: u32| -> std::collections::HashSet<u32> {
        let ids = (1..engine.table.id_limit()).map(PageId::new);
        let places = ids.filter_map(|id| engine.place(id, &engine.pin()));
        let parts = places.filter(|place| place.tree == number && !place.is_merged());
        parts.flat_map(|place| place.parts().map(|part| part.segment).collect::<Vec<_>>()).collect()
    };
    let mut random = 7_u64;
    let mut below = |most: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % most
    };
    for turn in 0..600 {
        let name = format!("tree {}", below(40));
        match below(10) {
            0 => drop(db.drop_tree(&name).unwrap()),
            1 => db.checkpoint().unwrap(),
            2 | 3 => {
                let options =
                    crate::CleanOptions { target_ratio: 1.0, ..crate::CleanOptions::default() };
                db.clean(options).unwrap();
            }
            4 => db.sync().unwrap(),
            5 => drop(db.evict_pages()),
            _ => {
                let tree = db.tree(&name).unwrap();
                (0..below(200)).for_each(|key| tree.put(key.to_be_bytes(), "value").unwrap());
            }
        }
        let both: Vec<u32> =
            segments(CATALOG).intersection(&segments(CATALOG_COPY)).copied().collect();
        assert!(both.is_empty(), "turn {turn}: both lie in {both:?}");
    }
    db.verify().unwrap();
}

/// A commit between the loss of a damaged leaf and the writes that put its entries back had a
/// catalog that could be read and had none of them, and an opening would have believed it.
const NAMES: [&str; 3] = ["a", "b", "c"];

fn options() -> crate::Builder {
    Db::builder("unused").tiny().without_background()
}

fn with_trees(disk: &MemoryDisk) -> Db {
    let db = options().open_on(Arc::new(disk.clone())).unwrap();
    for name in NAMES {
        db.tree(name).unwrap().put("k", name).unwrap();
    }
    db.checkpoint().unwrap();
    db
}

/// Evicts all pages, and damages the only leaf of one of the two trees.
fn damage(db: &Db, disk: &MemoryDisk, root: PageId) {
    use lss::io::{Access, Disk};
    db.evict_pages();
    let engine = &db.inner.engine;
    let image = engine.place(root, &engine.pin()).unwrap().image;
    let name = engine.store.log.file_of(image.segment);
    let file = disk.open(name.rsplit('/').next().unwrap(), Access::Write).unwrap();
    file.write_at(&[0xFF; 4], image.offset.into()).unwrap();
}

fn look_after_a_crash(disk: &MemoryDisk) {
    let crashed = MemoryDisk::with_files(disk.files());
    let db = options().open_on(Arc::new(crashed)).unwrap();
    assert_eq!(db.tree_names().unwrap(), NAMES);
    db.verify().unwrap();
}

#[test]
fn a_leaf_is_mended_with_its_entries() {
    let disk = MemoryDisk::new();
    let db = with_trees(&disk);
    let (engine, catalog) = (&db.inner.engine, &db.inner.catalog);
    let whole = Catalog::read_all(engine, &catalog.core).unwrap();
    damage(&db, &disk, ROOT);
    let damaged = Catalog::read_all(engine, &catalog.core);
    assert!(damaged.as_ref().is_err_and(Error::is_damage), "{damaged:?}");
    let at_rest = engine.store.at_rest();
    let mended = Catalog::mend_leaves(engine, &catalog.core, damaged, &whole);
    drop(at_rest);
    assert_eq!(mended.unwrap(), whole);
    db.sync().unwrap();
    look_after_a_crash(&disk);
}

#[test]
fn a_check_mends_the_catalog_and_its_copy() {
    for roots in [&[ROOT][..], &[COPY_ROOT], &[ROOT, COPY_ROOT]] {
        let disk = MemoryDisk::new();
        let db = with_trees(&disk);
        for root in roots {
            damage(&db, &disk, *root);
        }
        _ = db.verify();
        db.verify().unwrap_or_else(|error| panic!("{roots:?} not mended: {error}"));
        look_after_a_crash(&disk);
    }
}
