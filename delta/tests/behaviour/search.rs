//! Search, child index, side and the entries of a base page against a sorted vector.

use bwtree_delta::{Base, Hashed, Layout, Probe, Side, check};

use crate::model::{self, KINDS, LAYOUTS, Page, Random, probes, row_of, rows_of};

const SIZES: [usize; 6] = [0, 1, 2, 7, 60, 300];

#[test]
fn a_leaf_finds_what_a_sorted_vector_finds() {
    let mut random = Random::new(1);
    let (mut found, mut missed) = (0, 0);
    for layout in LAYOUTS {
        for kind in 0..KINDS {
            for round in 0..4 * SIZES.len() {
                let page = model::leaf(&mut random, layout, kind, SIZES[round % SIZES.len()]);
                let bytes = page.bytes();
                let base = Base::new(&bytes);
                for key in probes(&mut random, &page) {
                    let wanted = page.rows.binary_search_by(|row| row.key.cmp(&key));
                    assert_eq!(base.search(&key), wanted, "{key:?} in {base:?}");
                    if base.side(&key) == Side::Inside {
                        assert_eq!(Hashed::new(&key).find(base).0, wanted.ok(), "{key:?} by hash");
                    }
                    match wanted {
                        Ok(_) => found += 1,
                        Err(_) => missed += 1,
                    }
                }
            }
        }
    }
    println!("{found} found, {missed} missed");
    assert!(found > 10_000 && missed > 10_000);
}

#[test]
fn an_inner_page_leads_to_the_child_whose_range_holds_the_key() {
    let mut random = Random::new(2);
    let mut asked = 0;
    for layout in LAYOUTS {
        for kind in 0..KINDS {
            for round in 0..4 * SIZES.len() {
                let page = model::inner(&mut random, layout, kind, SIZES[round % SIZES.len()]);
                let bytes = page.bytes();
                let base = Base::new(&bytes);
                for key in probes(&mut random, &page) {
                    let not_above = page.rows.iter().take_while(|row| row.key <= key).count();
                    let wanted = not_above.saturating_sub(1);
                    assert_eq!(base.child_index(&key), wanted, "{key:?} in {base:?}");
                    asked += 1;
                }
                for (at, row) in page.rows.iter().enumerate() {
                    let mut id = row.value.clone();
                    id.truncate(4);
                    assert_eq!(base.child(at).number().to_le_bytes().to_vec(), id);
                    assert_eq!(base.separator(at), row.key[..]);
                }
            }
        }
    }
    println!("{asked} asked");
    assert!(asked > 10_000);
}

fn read_back(random: &mut Random, page: &Page) {
    let bytes = page.bytes();
    let base = Base::new(&bytes);
    assert_eq!(base.shape(&page.absorbed), page.shape());
    assert_eq!(base.absorbed().collect::<Vec<_>>(), page.absorbed);
    assert_eq!(base.absorbed().len(), page.absorbed.len());
    assert_eq!(base.count(), page.rows.len());
    assert_eq!(base.is_leaf(), page.level == 0);

    assert_eq!(base.entries().len(), page.rows.len());
    assert_eq!(rows_of(base.entries()), page.rows);
    let mut backward = rows_of(base.entries().rev());
    backward.reverse();
    assert_eq!(backward, page.rows);
    for (at, row) in page.rows.iter().enumerate() {
        assert_eq!(&row_of(&base.entry(at)), row);
        assert_eq!(base.entries().nth(at).map(|entry| row_of(&entry)).as_ref(), Some(row));
    }
    assert!(base.entries().nth(page.rows.len()).is_none());

    for key in probes(random, page) {
        let wanted = if key < page.low {
            Side::Left
        } else if page.high.as_ref().is_some_and(|high| &key >= high) {
            Side::Right
        } else {
            Side::Inside
        };
        assert_eq!(base.side(&key), wanted, "{key:?} beside {base:?}");
        assert_eq!(page.shape().side(&key), wanted);
    }
}

#[test]
fn a_page_reads_back_as_it_was_written() {
    let mut random = Random::new(3);
    let mut pages = 0;
    for layout in LAYOUTS {
        for kind in 0..KINDS {
            for size in SIZES {
                let page = model::leaf(&mut random, layout, kind, size);
                read_back(&mut random, &page);
                let page = model::inner(&mut random, layout, kind, size);
                read_back(&mut random, &page);
                pages += 2;
            }
        }
    }
    assert_eq!(pages, 2 * KINDS * SIZES.len() * 2);
}

#[test]
fn an_oversized_page_works() {
    let mut random = Random::new(4);
    for (layout, count) in [(Layout::Fixed8, 32_000), (Layout::Var, 9_000)] {
        let page = model::leaf(&mut random, layout, 0, count);
        let bytes = page.bytes();
        let base = Base::new(&bytes);
        for (at, row) in page.rows.iter().enumerate() {
            assert_eq!(base.search(&row.key), Ok(at));
        }
    }
    // Long values: half a mebibyte of heap.
    let mut page = model::leaf(&mut random, Layout::Var, 7, 600);
    for row in &mut page.rows {
        (row.value, row.flags) = (random.bytes(900), 0);
    }
    let bytes = page.bytes();
    assert!(bytes.len() > 500 << 10, "{} bytes", bytes.len());
    assert_eq!(rows_of(Base::new(&bytes).entries()), page.rows);
}

#[test]
fn fences_cut_their_common_prefix_off() {
    let mut random = Random::new(5);
    let mut page = model::leaf(&mut random, Layout::Var, 1, 100);
    page.low = page.rows[0].key.clone();
    page.high = Some([&page.low[..300], b"x"].concat());
    page.rows.retain(|row| Some(&row.key) < page.high.as_ref() && row.key >= page.low);
    let cut = page.bytes().len();
    page.high = None;
    let whole = page.bytes().len();
    assert!(whole > cut + 290 * (page.rows.len() - 1), "{whole} and {cut} bytes");
}

/// Whether every entry is found where it is.
fn finds_itself(base: Base<'_>) -> bool {
    base.entries().enumerate().all(|(at, entry)| {
        let key = entry.key.to_vec();
        let found =
            if base.is_leaf() { base.search(&key).ok() } else { Some(base.child_index(&key)) };
        base.side(&key) == Side::Inside && found == Some(at)
    })
}

#[test]
fn a_page_that_passes_the_check_finds_all_it_holds() {
    let mut random = Random::new(6);
    let (mut refused, mut passed) = (0, 0);
    for layout in LAYOUTS {
        for kind in 0..KINDS {
            for level in 0..2 {
                let page = match level {
                    0 => model::leaf(&mut random, layout, kind, 12),
                    _ => model::inner(&mut random, layout, kind, 12),
                };
                let bytes = page.bytes();
                // The heap of long keys and values is mostly bytes that may be anything.
                for at in 0..Base::new(&bytes).byte_len().min(700) {
                    let mut damaged = bytes.clone();
                    damaged[at] ^= 1 << random.below(8);
                    let base = Base::new(&damaged);
                    if check(base).is_ok() {
                        assert!(finds_itself(base), "byte {at} of {base:?}");
                        passed += 1;
                    } else {
                        refused += 1;
                    }
                }
            }
        }
    }
    println!("{refused} refused, {passed} passed");
    assert!(refused > 4_000 && passed > 1_000);
}
