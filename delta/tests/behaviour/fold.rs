//! Folding records, and merging two neighbours, against a `BTreeMap`.

use std::collections::BTreeMap;

use bwtree_delta::{
    Base, Contents, Entry, FLAG_SEPARATED, Layout, Op, Record, Shape, fold, fold_entries,
    shortest_separator, split_index,
};

use crate::model::{self, KINDS, LAYOUTS, Page, Random, Row, built, rows_of, written};

struct Change {
    op: Op,
    key: Vec<u8>,
    value: Vec<u8>,
    flags: u8,
}

impl Change {
    fn record(&self) -> Record<'_> {
        Record { op: self.op, flags: self.flags, net: 0, key: &self.key, value: &self.value }
    }
}

/// Random changes inside the fences, newest first; half of them of keys that are there.
fn changes(random: &mut Random, page: &Page, kind: usize, count: usize) -> Vec<Change> {
    let pool = model::keys(random, page.layout, kind, 40);
    let mut changes: Vec<Change> = Vec::new();
    for _ in 0..count {
        let key = match random.below(4) {
            0 if !changes.is_empty() => changes[random.below(changes.len())].key.clone(),
            0 | 1 if !page.rows.is_empty() => page.rows[random.below(page.rows.len())].key.clone(),
            _ => pool[random.below(pool.len())].clone(),
        };
        let inside = key >= page.low && page.high.as_ref().is_none_or(|high| &key < high);
        if !inside {
            continue;
        }
        let change = if random.chance(40) {
            Change { op: Op::Remove, key, value: Vec::new(), flags: 0 }
        } else {
            let (value, flags) = model::value(random, page.layout);
            Change { op: Op::Put, key, value, flags }
        };
        changes.push(change);
    }
    changes
}

/// The changes, each with a value of eight bytes.
fn made_uniform(random: &mut Random, mut changes: Vec<Change>) -> Vec<Change> {
    for change in changes.iter_mut().filter(|change| change.op == Op::Put) {
        (change.value, change.flags) = (random.bytes(8), 0);
    }
    changes
}

/// What the page holds after the changes, and every value that is gone.
fn applied(page: &Page, newest_first: &[Change]) -> (Vec<Row>, Vec<(u8, Vec<u8>)>) {
    let mut map: BTreeMap<Vec<u8>, (Vec<u8>, u8)> = BTreeMap::new();
    let mut gone = Vec::new();
    for row in &page.rows {
        map.insert(row.key.clone(), (row.value.clone(), row.flags));
    }
    for change in newest_first.iter().rev() {
        let old = match change.op {
            Op::Put => map.insert(change.key.clone(), (change.value.clone(), change.flags)),
            Op::Remove => map.remove(&change.key),
        };
        gone.extend(old.map(|(value, flags)| (flags, value)));
    }
    let rows = map.into_iter().map(|(key, (value, flags))| Row { key, value, flags }).collect();
    gone.sort();
    (rows, gone)
}

fn sorted(dropped: &[(u8, &[u8])]) -> Vec<(u8, Vec<u8>)> {
    let mut dropped: Vec<_> = dropped.iter().map(|(f, v)| (*f, v.to_vec())).collect();
    dropped.sort();
    dropped
}

#[test]
fn folding_is_applying_the_records_in_order() {
    let mut random = Random::new(11);
    let (mut records_folded, mut values_dropped, mut separated) = (0, 0, 0);
    for layout in LAYOUTS {
        for kind in 0..KINDS {
            for round in 0..40 {
                let size = random.below(120);
                let page = model::leaf(&mut random, layout, kind, size);
                let changes = changes(&mut random, &page, kind, round * 3);
                let records: Vec<_> = changes.iter().map(Change::record).collect();
                let (rows, gone) = applied(&page, &changes);

                let bytes = page.bytes();
                let (mut out, mut dropped) = (Vec::new(), Vec::new());
                fold(Base::new(&bytes), &records, &mut out, &mut dropped);
                assert_eq!(rows_of(out.iter().copied()), rows);
                assert_eq!(sorted(&dropped), gone);

                let (mut again, mut dropped_again) = (Vec::new(), Vec::new());
                fold_entries(&page.entries(), &records, &mut again, &mut dropped_again);
                assert_eq!(again, out);
                assert_eq!(dropped_again, dropped);

                let mut dropped_again = Vec::new();
                let versioned: Vec<_> = records.iter().map(|record| (0, *record)).collect();
                let contents = Contents::fold(Base::new(&bytes), &versioned, &mut dropped_again);
                assert_eq!(dropped_again, dropped);
                let bytes = built(&page.shape(), &contents);
                assert_eq!(rows_of(Base::new(&bytes).entries()), rows);
                records_folded += records.len();
                values_dropped += dropped.len();
                separated += dropped.iter().filter(|(f, _)| *f == FLAG_SEPARATED).count();
            }
        }
    }
    println!("{records_folded} folded, {values_dropped} dropped, {separated} of them separated");
    assert!(records_folded > 10_000 && values_dropped > 5_000 && separated > 100);
}

#[test]
fn what_was_folded_is_split_and_put_together_again() {
    let mut random = Random::new(15);
    let (mut longer, mut folds, mut uniform) = (0, 0, 0);
    for kind in 0..KINDS {
        for round in 0..120 {
            let size = random.below(120);
            let mut page = model::uniform_leaf(&mut random, kind, size);
            if round % 3 == 0 {
                page = model::leaf(&mut random, Layout::Var, kind, size);
            }
            let mut changes = changes(&mut random, &page, kind, round);
            // Now and then a value comes that makes another page of it.
            if round % 3 != 0 && !random.chance(10) {
                changes = made_uniform(&mut random, changes);
            }
            let records: Vec<_> = changes.iter().map(|change| (0, change.record())).collect();
            let (rows, gone) = applied(&page, &changes);
            let bytes = page.bytes();
            let mut dropped = Vec::new();
            let contents = Contents::fold(Base::new(&bytes), &records, &mut dropped);
            assert_eq!(sorted(&dropped), gone);
            let whole = built(&page.shape(), &contents);
            assert_eq!(rows_of(Base::new(&whole).entries()), rows);
            uniform += usize::from(model::is_uniform(&whole));
            folds += 1;
            if rows.len() < 2 {
                continue;
            }
            let index = contents.split_index(random.chance(30));
            assert!(index >= 1 && index < rows.len());
            let separator = contents.separator(index, &page.shape());
            let (mut left, right) = contents.split_at(index);
            let of_left = Shape { high: Some(&separator), ..page.shape() };
            let of_right = Shape { low: &separator, ..page.shape() };
            let (left_page, right_page) = (built(&of_left, &left), built(&of_right, &right));
            assert_eq!(rows_of(Base::new(&left_page).entries()), rows[..index]);
            assert_eq!(rows_of(Base::new(&right_page).entries()), rows[index..]);
            longer += usize::from(of_left.prefix().len() > page.shape().prefix().len());
            left.extend(right);
            let together = built(&page.shape(), &left);
            assert_eq!(rows_of(Base::new(&together).entries()), rows);
        }
    }
    println!("{folds} folds, {uniform} uniform, {longer} longer prefixes");
    assert!(folds > 900 && uniform > 400 && longer > 90);
}

#[test]
fn a_split_and_a_merge_lose_nothing() {
    let mut random = Random::new(12);
    let mut splits = 0;
    for layout in LAYOUTS {
        for kind in 0..KINDS {
            for _ in 0..20 {
                let page = model::leaf(&mut random, layout, kind, 80);
                if page.rows.len() < 2 {
                    continue;
                }
                split_and_merge(&mut random, &page);
                splits += 1;
            }
        }
    }
    println!("{splits} splits");
    assert!(splits > 100);
}

fn split_and_merge(random: &mut Random, page: &Page) {
    let entries = page.entries();
    let index = split_index(&entries, random.chance(30));
    assert!(index >= 1 && index < entries.len());
    let (left, right) = entries.split_at(index);
    let separator = shortest_separator(left[index - 1].key, right[0].key, page.layout);
    let shape = page.shape();
    let left_shape = Shape { high: Some(&separator), ..shape };
    let right_shape = Shape { low: &separator, ..shape };
    let left = written(&left_shape, left);
    let right = written(&right_shape, right);

    // Merged with records on both sides, whose keys lie in one piece or in two.
    let pool: Vec<Vec<u8>> = page.rows.iter().step_by(7).map(|row| row.key.clone()).collect();
    let removals: Vec<Record<'_>> = pool.iter().map(|key| removal(key)).collect();
    let (of_left, of_right): (Vec<_>, Vec<_>) =
        removals.iter().partition(|record| record.key < &separator[..]);
    let (mut out, mut dropped) = (Vec::new(), Vec::new());
    fold(Base::new(&left), &of_left, &mut out, &mut dropped);
    fold(Base::new(&right), &of_right, &mut out, &mut dropped);
    assert_eq!(dropped.len(), pool.len());
    let merged = written(&shape, &out);
    let mut rows = page.rows.clone();
    rows.retain(|row| !pool.contains(&row.key));
    assert_eq!(rows_of(Base::new(&merged).entries()), rows);
}

fn removal(key: &[u8]) -> Record<'_> {
    Record { op: Op::Remove, flags: 0, net: -1, key, value: &[] }
}

#[test]
fn a_page_without_records_folds_to_itself() {
    let mut random = Random::new(13);
    let page = model::leaf(&mut random, Layout::Var, 5, 100);
    let bytes = page.bytes();
    let base = Base::new(&bytes);
    let mut out: Vec<Entry<'_>> = Vec::new();
    let mut dropped = Vec::new();
    fold(base, &[], &mut out, &mut dropped);
    assert!(dropped.is_empty());
    assert_eq!(written(&base.shape(&page.absorbed), &out), bytes);
}

#[test]
fn records_read_back_as_they_were_written() {
    let mut random = Random::new(14);
    let mut prints = [0_usize; 256];
    for round in 0..5_000_usize {
        let key_len = if round % 50 == 0 { 4096 } else { random.below(40) };
        let key = random.bytes(key_len);
        let (value, flags) = model::value(&mut random, Layout::Var);
        let record = Record {
            op: if random.chance(50) { Op::Put } else { Op::Remove },
            flags,
            net: random.below(3) as i8 - 1,
            key: &key,
            value: &value,
        };
        let len = Record::encoded_len(key.len(), value.len());
        let mut bytes = Vec::new();
        let print = bwtree_delta::fingerprint(&key);
        record.put_payload(Layout::Var, print, |part| bytes.extend_from_slice(part));
        assert_eq!(bytes.len(), len);
        assert_eq!(Record::decode(&bytes), record);
        assert_eq!(Record::len_at(&bytes), len);
        assert_eq!(len % 8, 0);
        assert_eq!(Record::fingerprint_at(&bytes), print);
        prints[print as usize] += 1;
    }
    assert_eq!(prints[0], 0);
    let most = prints.iter().max().copied().unwrap_or(0);
    println!("most of one fingerprint: {most}");
    assert!(most < 300, "a fingerprint that {most} of 5,000 keys have");
}

#[test]
fn fingerprints_of_dense_keys_spread() {
    let mut prints = [0_usize; 256];
    for key in 0..25_500_u64 {
        prints[bwtree_delta::fingerprint(&key.to_be_bytes()) as usize] += 1;
    }
    assert_eq!(prints[0], 0);
    assert!(prints[1..].iter().all(|count| (50..200).contains(count)), "{prints:?}");
}

#[test]
fn a_record_fits_a_leaf_whose_range_and_layout_it_has() {
    let low = 5_u64.to_be_bytes();
    let high = 9_u64.to_be_bytes();
    let shape = Shape { low: &low, high: Some(&high), ..Shape::whole(Layout::Fixed8) };
    let put = |key, value| Record { op: Op::Put, flags: 0, net: 1, key, value };
    let inside = 7_u64.to_be_bytes();
    assert!(put(&inside, &low).fits(&shape));
    assert!(put(&low, &low).fits(&shape));
    assert!(removal(&inside).fits(&shape));
    assert!(!put(&high, &low).fits(&shape), "at the high key");
    let below = 4_u64.to_be_bytes();
    assert!(!put(&below, &low).fits(&shape), "below the low key");
    assert!(!put(&inside, b"short").fits(&shape));
    assert!(!removal(b"\0\0\0\0\0\0\0\x07\x01").fits(&shape));
    assert!(put(b"any", b"thing").fits(&Shape::whole(Layout::Var)));
    let inner = Shape { level: 1, ..Shape::whole(Layout::Var) };
    assert!(!put(b"any", b"thing").fits(&inner));
}
