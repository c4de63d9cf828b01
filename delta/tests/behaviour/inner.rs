//! Children that come to an inner page and go from it.

use bwtree_delta::{
    Base, Contents, KeyRef, Layout, Shape, Side, child_of, child_value, shortest_separator,
};
use types::PageId;

use crate::model::{self, KINDS, LAYOUTS, Random, Row, built, rows_of};

#[test]
fn a_child_more_and_a_child_less() {
    let mut random = Random::new(21);
    let (mut posted, mut removed) = (0, 0);
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
                    // Above the last key of a left page, a separator is never the smallest key.
                    let inside =
                        page.shape().side(&key) == Side::Inside && key.iter().any(|&byte| byte > 0);
                    let there = page.rows.binary_search_by(|row| row.key.cmp(&key));
                    if let (true, Err(at)) = (inside, there) {
                        let mut rows = page.rows.clone();
                        let value = child[..len].to_vec();
                        let row = Row { key: key.clone(), value, flags: 0 };
                        rows.insert(at, row);
                        let newer = Contents::children(layout, [(&key[..], &child[..len])]);
                        let children = Contents::of(base).overlay(newer, |_, _| unreachable!());
                        let bytes = built(&page.shape(), &children);
                        let after = Base::new(&bytes);
                        assert_eq!(rows_of(after.entries()), rows);
                        assert_eq!(after.child(after.child_index(&key)), id);
                        posted += 1;
                    }
                }
                for at in 1..base.count() {
                    let mut rows = page.rows.clone();
                    rows.remove(at);
                    let bytes = built(&page.shape(), &Contents::without_child(base, at));
                    assert_eq!(rows_of(Base::new(&bytes).entries()), rows);
                    removed += 1;
                }
                let id = PageId::new(random.next() as u32 | 1);
                let (child, len) = child_value(layout, id);
                let bytes = built(&page.shape(), &Contents::with_first_child(base, &child[..len]));
                let after = Base::new(&bytes);
                assert_eq!(after.child(0), id);
                assert_eq!(rows_of(after.entries())[1..], page.rows[1..]);
            }
        }
    }
    println!("{posted} posted, {removed} removed");
    assert!(posted > 500 && removed > 1_000);
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
                let children = Contents::of(Base::new(&bytes));
                let index = children.split_index(false);
                let separator = children.separator(index, &page.shape());
                assert_eq!(separator, children.key(index).to_vec());
                let (left_half, right_half) = children.split_at(index);
                let left = Shape { high: Some(&separator), ..page.shape() };
                let right = Shape { low: &separator, ..page.shape() };
                let left = built(&left, &left_half);
                let right = built(&right, &right_half);
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
        let rows: [(&[u8], &[u8]); 2] = [(b"", &first[..len]), (&between, &second[..len])];
        let children = Contents::children(layout, rows);
        let bytes = built(&shape, &children);
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
    let _ = Contents::without_child(Base::new(&bytes), 0);
}
