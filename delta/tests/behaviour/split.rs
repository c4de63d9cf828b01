//! Where a page is split, and the key between two.

use bwtree_delta::{Entry, KeyRef, Layout, shortest_separator, split_index};

use crate::model::{self, KINDS, LAYOUTS, Random};

#[test]
fn the_shortest_separator_is_between_and_no_shorter_one_is() {
    let mut random = Random::new(31);
    let mut pairs = 0;
    for layout in LAYOUTS {
        for kind in 0..KINDS {
            for _ in 0..3 {
                let keys = model::keys(&mut random, layout, kind, 60);
                for pair in keys.windows(2) {
                    let (left, right) = (&pair[0], &pair[1]);
                    let cut = random.below(left.len().min(right.len()) + 1);
                    let piece = |key: &'_ Vec<u8>| (key[..cut].to_vec(), key[cut..].to_vec());
                    let (l, r) = (piece(left), piece(right));
                    let separator = shortest_separator(
                        KeyRef::new(&l.0, &l.1),
                        KeyRef::new(&r.0, &r.1),
                        layout,
                    );
                    assert!(left < &separator && &separator <= right);
                    if layout == Layout::Var {
                        let (_, shorter) = separator.split_last().unwrap();
                        assert!(shorter <= &left[..], "{separator:?} could be shorter");
                    } else {
                        assert_eq!(&separator, right);
                    }
                    pairs += 1;
                }
            }
        }
    }
    println!("{pairs} pairs");
    assert!(pairs > 1_000);
}

#[test]
fn a_split_shares_the_bytes() {
    let mut random = Random::new(32);
    for append in [false, true] {
        for _ in 0..200 {
            let sizes: Vec<usize> =
                (0..2 + random.below(100)).map(|_| random.below(1000)).collect();
            let text = [7_u8; 1000];
            let entries: Vec<_> = sizes.iter().map(|len| Entry::new(b"k", &text[..*len])).collect();
            let index = split_index(&entries, append);
            assert!(index >= 1 && index < entries.len());
            let bytes = |entries: &[Entry<'_>]| -> usize {
                entries.iter().map(|entry| 17 + entry.value.len()).sum()
            };
            let total = bytes(&entries);
            let wanted = if append { total / 10 * 9 } else { total / 2 };
            let left = bytes(&entries[..index]);
            let at_edge = index == 1 || index == entries.len() - 1;
            assert!(at_edge || left.abs_diff(wanted) <= 1017, "{left} of {total}");
        }
    }
}

#[test]
fn two_entries_split_in_the_middle() {
    let large = [0; 1000];
    let (small, large) = (Entry::new(b"a", b""), Entry::new(b"b", &large));
    for append in [false, true] {
        assert_eq!(split_index(&[small, large], append), 1);
        assert_eq!(split_index(&[large, small], append), 1);
        assert_eq!(split_index(&[small, small], append), 1);
    }
}

#[test]
fn keys_in_pieces_compare_like_keys() {
    let mut random = Random::new(33);
    let mut compared = 0;
    for kind in 0..KINDS {
        let keys = model::keys(&mut random, Layout::Var, kind, 40);
        for _ in 0..2_000 {
            let (left, right) = (&keys[random.below(keys.len())], &keys[random.below(keys.len())]);
            let (at, cut) = (random.below(left.len() + 1), random.below(right.len() + 1));
            let whole = &right[..];
            let (l, r) = (left.split_at(at), right.split_at(cut));
            let (l, r) = (KeyRef::new(l.0, l.1), KeyRef::new(r.0, r.1));
            assert_eq!(l.cmp(&r), left.cmp(right));
            assert_eq!(l == r, left == right);
            assert_eq!(l.cmp_bytes(whole), left.cmp(right));
            assert_eq!(l == whole, left == right);
            assert_eq!(l < whole, left < right);
            assert_eq!(l.to_vec(), *left);
            assert_eq!(l.bytes().collect::<Vec<_>>(), *left);
            assert_eq!((l.len(), l.is_empty()), (left.len(), left.is_empty()));
            let skipped = random.below(left.len() + 3);
            assert_eq!(l.skip(skipped).to_vec(), left.get(skipped..).unwrap_or_default());
            compared += 1;
        }
    }
    assert_eq!(compared, 2_000 * KINDS);
}
