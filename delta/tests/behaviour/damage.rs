//! Damaged images and parts: an error, or a page that is whole; never a panic.

use bwtree_delta::{Base, Layout, Shape, check, decode_image, decode_records};

use crate::codec::{image_of, part};
use crate::model::{self, KINDS, LAYOUTS, Random, written};

/// Counts of what became of damaged bytes.
#[derive(Default, Debug)]
struct Seen {
    refused: usize,
    decoded: usize,
}

impl Seen {
    fn image(&mut self, bytes: &[u8]) {
        let Ok(image) = decode_image(bytes) else {
            self.refused += 1;
            return;
        };
        let page = written(&image.shape(), image.entries());
        assert_eq!(check(Base::new(&page)), Ok(()));
        self.decoded += 1;
    }

    fn records(&mut self, bytes: &[u8]) {
        let Ok(records) = decode_records(bytes) else {
            self.refused += 1;
            return;
        };
        assert!(records.windows(2).all(|pair| pair[0].key < pair[1].key));
        let whole = Shape::whole(Layout::Var);
        let (mut out, mut dropped) = (Vec::new(), Vec::new());
        assert!(records.iter().all(|record| record.fits(&whole)));
        bwtree_delta::fold_entries(&[], &records, &mut out, &mut dropped);
        written(&whole, &out);
        self.decoded += 1;
    }
}

/// Every byte changed in several ways, every truncation, and a byte too many.
fn damaged(bytes: &[u8], random: &mut Random, mut see: impl FnMut(&[u8])) {
    for at in 0..bytes.len() {
        let mut copy = bytes.to_vec();
        let noise = random.next() as u8 | 1;
        for changed in [bytes[at] ^ 1, bytes[at] ^ 0x80, !bytes[at], 0, 0xff, bytes[at] ^ noise] {
            if changed != bytes[at] {
                copy[at] = changed;
                see(&copy);
            }
        }
    }
    for len in 0..bytes.len() {
        see(&bytes[..len]);
    }
    see(&[bytes, &[0]].concat());
}

#[test]
fn a_damaged_image_is_refused_or_whole() {
    let mut random = Random::new(51);
    let mut seen = Seen::default();
    for layout in LAYOUTS {
        for kind in 0..KINDS {
            // The kind of the longest keys makes images of many kilobytes that show nothing more.
            let size = if layout == Layout::Var && kind == 6 { 1 } else { 12 };
            for level in 0..2 {
                let page = match level {
                    0 => model::leaf(&mut random, layout, kind, size),
                    _ => model::inner(&mut random, layout, kind, size),
                };
                let mut bytes = image_of(&page);
                if bytes.len() > 3_000 {
                    // Long values were drawn: fewer rows do.
                    let mut page = page;
                    page.rows.truncate(2);
                    page.rows[0].value.truncate(20);
                    bytes = image_of(&page);
                }
                damaged(&bytes, &mut random, |bytes| seen.image(bytes));
            }
        }
    }
    println!("{seen:?}");
    assert!(seen.refused > 10_000 && seen.decoded > 1_000, "{seen:?}");
}

#[test]
fn a_truncated_image_is_always_refused() {
    let mut random = Random::new(52);
    for layout in LAYOUTS {
        let bytes = image_of(&model::leaf(&mut random, layout, 0, 30));
        assert!(decode_image(&bytes).is_ok());
        for len in 0..bytes.len() {
            assert!(decode_image(&bytes[..len]).is_err(), "{len} of {}", bytes.len());
        }
    }
    let bytes = part(&mut random, 0, 30);
    for len in 0..bytes.len() {
        assert!(decode_records(&bytes[..len]).is_err(), "{len} of {}", bytes.len());
    }
}

#[test]
fn a_damaged_part_is_refused_or_whole() {
    let mut random = Random::new(53);
    let mut seen = Seen::default();
    for kind in [0, 2, 3, 4, 5, 7] {
        let bytes = part(&mut random, kind, 12);
        damaged(&bytes, &mut random, |bytes| seen.records(bytes));
    }
    println!("{seen:?}");
    assert!(seen.refused > 1_000 && seen.decoded > 1_000, "{seen:?}");
}

#[test]
fn noise_is_refused_or_whole() {
    let mut random = Random::new(54);
    let (mut images, mut parts) = (Seen::default(), Seen::default());
    for round in 0..60_000 {
        // Lengths that an image or a part may well have, and any.
        let lengths = [8, 17, 20, 20 + 7, 20 + 16, 20 + 32, random.below(200)];
        let len = lengths[random.below(lengths.len())];
        let mut noise = random.bytes(len);
        // A plausible start and many zeros get further in.
        if round % 2 == 0 {
            let start = [1, 0, 1 + random.below(2) as u8, 0, random.below(3) as u8, 0, 0, 0];
            for (at, byte) in noise.iter_mut().enumerate() {
                if at < start.len() {
                    *byte = start[at];
                } else if random.chance(95) {
                    *byte = 0;
                }
            }
            images.image(&noise);
            noise.iter_mut().take(4).skip(1).for_each(|byte| *byte = 0);
            parts.records(&noise);
            continue;
        }
        images.image(&noise);
        parts.records(&noise);
    }
    println!("images {images:?}, parts {parts:?}");
    assert!(images.refused > 10_000 && parts.refused > 10_000);
    assert!(images.decoded > 500 && parts.decoded > 500);
}

#[test]
fn a_count_is_not_believed() {
    // Would be 4 Gi entries: refused before anything of that size is allocated.
    let mut image = vec![1, 0, 2, 0, 0xff, 0xff, 0xff, 0xff];
    image.resize(64, 0);
    assert!(decode_image(&image).is_err());
    let mut absorbed = vec![1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    absorbed.resize(64, 0);
    assert!(decode_image(&absorbed).is_err());
    let mut records = vec![1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    records.resize(64, 0);
    assert!(decode_records(&records).is_err());
}
