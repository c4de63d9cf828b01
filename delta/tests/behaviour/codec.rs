//! Images and delta parts: what is written is what is read.

use bwtree_delta::{
    Base, FLAG_SEPARATED, Layout, Op, Record, Shape, decode_image, decode_records, encode_image,
    encode_records, image_bytes,
};
use types::PageId;

use crate::model::{self, KINDS, LAYOUTS, Page, Random, rows_of, written};

/// The image of a page, written behind other bytes.
pub(crate) fn image_of(page: &Page) -> Vec<u8> {
    let mut out = b"before".to_vec();
    encode_image(&page.shape(), &page.entries(), &mut out);
    assert_eq!(out.len() - 6, image_bytes(&page.shape(), &page.entries()));
    out.split_off(6)
}

#[test]
fn an_image_decodes_to_the_page_it_was_made_of() {
    let mut random = Random::new(41);
    let (mut images, mut entries) = (0, 0);
    for layout in LAYOUTS {
        for kind in 0..KINDS {
            for round in 0..30 {
                let size = random.below(150);
                let page = match round % 2 {
                    0 => model::leaf(&mut random, layout, kind, size),
                    _ => model::inner(&mut random, layout, kind, size),
                };
                let bytes = image_of(&page);
                let image = decode_image(&bytes).unwrap();
                let wanted = Shape { merging: PageId::NONE, ..page.shape() };
                assert_eq!(image.shape(), wanted);
                assert_eq!(rows_of(image.entries().iter().copied()), page.rows);
                assert_eq!(
                    written(&image.shape(), image.entries()),
                    written(&wanted, &page.entries())
                );
                entries += image.entries().len();
                images += 1;
            }
        }
    }
    println!("{images} images, {entries} entries");
    assert!(images > 400 && entries > 10_000);
}

#[test]
fn a_separated_value_keeps_its_bytes_and_flag() {
    let mut page = model::leaf(&mut Random::new(42), Layout::Var, 5, 5);
    page.rows[0].flags = FLAG_SEPARATED;
    page.rows[0].value = (0..24).collect();
    let bytes = image_of(&page);
    let mut image = decode_image(&bytes).unwrap();
    assert_eq!(image.entries()[0].flags, FLAG_SEPARATED);
    assert_eq!(image.entries()[0].value, page.rows[0].value);
    let handle = 77_u64.to_le_bytes();
    image.entries_mut()[0].value = &handle;
    let page = written(&image.shape(), image.entries());
    assert_eq!(Base::new(&page).entry(0).value, handle);
    assert_eq!(Base::new(&page).entry(0).flags, FLAG_SEPARATED);
}

/// Random records, in the order of their keys.
pub(crate) fn part(random: &mut Random, kind: usize, count: usize) -> Vec<u8> {
    let keys = model::keys(random, Layout::Var, kind, count);
    let values: Vec<_> = keys.iter().map(|_| model::value(random, Layout::Var)).collect();
    let records: Vec<_> = keys
        .iter()
        .zip(&values)
        .map(|(key, (value, flags))| {
            let put = random.chance(60);
            Record {
                op: if put { Op::Put } else { Op::Remove },
                flags: if put { *flags } else { 0 },
                net: random.below(3) as i8 - 1,
                key,
                value: if put { value } else { &[] },
            }
        })
        .collect();
    let mut out = b"before".to_vec();
    encode_records(records.iter().copied(), &mut out);
    let out = out.split_off(6);
    assert_eq!(decode_records(&out), Ok(records));
    out
}

#[test]
fn a_delta_part_decodes_to_its_records() {
    let mut random = Random::new(43);
    let mut bytes = 0;
    for kind in 0..KINDS {
        for count in [0, 1, 2, 30, 200] {
            bytes += part(&mut random, kind, count).len();
        }
    }
    println!("{bytes} bytes");
    assert!(bytes > 10_000);
}

#[test]
fn the_format_stands() {
    let shape = Shape {
        low: b"ab",
        high: Some(b"ad"),
        right: PageId::new(7),
        absorbed: &[PageId::new(9)],
        ..Shape::whole(Layout::Var)
    };
    let entries = [bwtree_delta::Entry::new(b"abc", b"xy")];
    let mut out = Vec::new();
    encode_image(&shape, &entries, &mut out);
    let image = b"\x01\x00\x02\x01\x01\0\0\0\x07\0\0\0\x01\0\0\0\x02\0\x02\0\x09\0\0\0abad\
        \x00\x02\0\x02\0\0\0bcxy";
    assert_eq!(out, image);

    let record = Record { op: Op::Put, flags: FLAG_SEPARATED, net: -1, key: b"k", value: b"vw" };
    let mut out = Vec::new();
    encode_records([record].into_iter(), &mut out);
    assert_eq!(out, b"\x01\0\0\0\x01\0\0\0\x01\x01\xff\x01\0\x02\0\0\0kvw");
}

#[test]
fn an_error_says_what_and_where() {
    let error = decode_image(&[1, 0, 9, 0]).unwrap_err();
    assert_eq!(error.to_string(), "unknown layout at byte 2 of the part");
    let error = decode_records(&[2]).unwrap_err();
    assert_eq!(error.to_string(), "unknown version of a delta part at byte 0 of the part");
    let error = decode_records(&[1, 0, 0]).unwrap_err();
    assert_eq!((error.what, error.offset), ("cut short", 3));
}
