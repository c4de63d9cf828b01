//! Children that come to an inner page and go from it.

use bwtree_delta::{
    Base, Entry, KeyRef, Layout, Shape, child_of, child_value, inner_with_child,
    inner_without_child, shortest_separator, split_index,
};
use types::PageId;

use crate::model::{self, KINDS, LAYOUTS, Random, Row, rows_of, written};

#[test]
fn a_child_more_and_a_child_less() {
    let mut random = Random::new(21);
    let (mut posted, mut refused, mut removed) = (0, 0, 0);
    for layout in LAYOUTS {
        for kind in 0..KINDS {
            for _ in 0..10 {
                let page = model::inner(&mut random, layout, kind, 30);
                let bytes = page.bytes();
                let base = Base::new(&bytes);
                for key in model::keys(&mut random, layout, kind, 20) {
                    let id = PageId::new(random.next() as u32 | 1);
                    let (child, len) = child_value(layout, id);
                    assert_eq!(child_of(layout, &child[..len]), id);
                    let inside =
                        key >= page.low && page.high.as_ref().is_none_or(|high| &key < high);
                    let there = page.rows.binary_search_by(|row| row.key.cmp(&key));
                    if let (true, Err(at)) = (inside, there) {
                        let mut rows = page.rows.clone();
                        let value = child[..len].to_vec();
                        let row = Row { key: key.clone(), value, flags: 0 };
                        rows.insert(at, row);
                        let entries = inner_with_child(base, &key, &child[..len]).unwrap();
                        let bytes = written(&page.shape(), &entries);
                        let after = Base::new(&bytes);
                        assert_eq!(rows_of(after.entries()), rows);
                        assert_eq!(after.child(after.child_index(&key)), id);
                        posted += 1;
                    } else {
                        assert!(inner_with_child(base, &key, &child[..len]).is_none());
                        refused += 1;
                    }
                }
                for at in 1..base.count() {
                    let mut rows = page.rows.clone();
                    rows.remove(at);
                    let bytes = written(&page.shape(), &inner_without_child(base, at));
                    assert_eq!(rows_of(Base::new(&bytes).entries()), rows);
                    removed += 1;
                }
            }
        }
    }
    println!("{posted} posted, {refused} refused, {removed} removed");
    assert!(posted > 500 && refused > 100 && removed > 1_000);
}

#[test]
fn an_inner_page_splits_at_a_separator() {
    let mut random = Random::new(22);
    let mut splits = 0;
    for layout in LAYOUTS {
        for kind in 0..KINDS {
            for _ in 0..10 {
                let page = model::inner(&mut random, layout, kind, 50);
                if page.rows.len() < 2 {
                    continue;
                }
                let bytes = page.bytes();
                let entries: Vec<Entry<'_>> = Base::new(&bytes).entries().collect();
                let index = split_index(&entries, false);
                let separator = entries[index].key.to_vec();
                let left = Shape { high: Some(&separator), ..page.shape() };
                let right = Shape { low: &separator, ..page.shape() };
                let left = written(&left, &entries[..index]);
                let right = written(&right, &entries[index..]);
                assert_eq!(rows_of(Base::new(&left).entries()), page.rows[..index]);
                assert_eq!(rows_of(Base::new(&right).entries()), page.rows[index..]);
                splits += 1;
            }
        }
    }
    println!("{splits} splits");
    assert!(splits > 50);
}

#[test]
fn a_root_grows_from_two_children() {
    for layout in LAYOUTS {
        let (left, right) = (*b"aaaaaaaa", *b"bbbbbbbb");
        let between = shortest_separator(KeyRef::from(&left[..]), KeyRef::from(&right[..]), layout);
        let wanted: &[u8] = if layout == Layout::Var { b"b" } else { &right };
        assert_eq!(between, wanted);
        let (first, len) = child_value(layout, PageId::new(7));
        let (second, _) = child_value(layout, PageId::new(8));
        let shape = Shape { level: 1, ..Shape::whole(layout) };
        let entries = [Entry::new(b"", &first[..len]), Entry::new(&between, &second[..len])];
        let bytes = written(&shape, &entries);
        let base = Base::new(&bytes);
        assert_eq!(base.child(base.child_index(&left)), PageId::new(7));
        assert_eq!(base.child(base.child_index(&right)), PageId::new(8));
        assert!(base.separator(0).is_empty());
    }
}

#[test]
#[should_panic(expected = "can't be left out")]
fn the_first_child_stays() {
    let page = model::inner(&mut Random::new(23), Layout::Fixed8, 0, 10);
    let bytes = page.bytes();
    let _ = inner_without_child(Base::new(&bytes), 0);
}
