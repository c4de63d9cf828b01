//! Every kind of key: there and back, in order, and lent.

use std::borrow::Borrow;
use std::fmt::Debug;

use super::*;

/// A stream of numbers for the tests, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Bytes that are often zero, often `FF`, and often begin alike.
    fn bytes(&mut self, longest: usize) -> Vec<u8> {
        let len = self.next() as usize % (longest + 1);
        (0..len)
            .map(|_| [0, 0, 1, 0xFE, 0xFF, 0xFF, b'a', self.next() as u8][self.next() as usize % 8])
            .collect()
    }

    fn text(&mut self, longest: usize) -> String {
        let len = self.next() as usize % (longest + 1);
        (0..len)
            .map(|_| {
                ['\0', '\0', '\u{1}', 'a', 'b', '\u{7F}', '\u{80}', '\u{10FFFF}']
                    [self.next() as usize % 8]
            })
            .collect()
    }
}

fn nested<K: Key>(key: &K) -> Vec<u8> {
    let mut out = Vec::new();
    key.encode_nested(&mut out);
    out
}

/// Round trip of each key, and the order of each pair, in both forms.
fn check<K: Key + Debug>(keys: &[K]) {
    assert!(keys.len() > 1 || size_of::<K>() == 0, "too few keys to compare");
    for key in keys {
        let plain = key.to_encoded();
        assert_eq!(&K::decode(&plain), key, "from {plain:?}");
        assert!(key.with_encoded(|bytes| bytes == plain), "{key:?}");
        for zeros in [0, 1, 15] {
            let padded = [&plain[..], &[0; 15][..zeros]].concat();
            let lent = K::lend(&padded, plain.len(), EncodeKey::to_encoded);
            assert_eq!(lent, plain, "lent with {zeros} zeros behind");
        }
        assert!(K::FIXED_BYTES.is_none_or(|bytes| bytes == plain.len()), "{key:?}");
        let mut with_more = nested(key);
        with_more.extend_from_slice(b"more");
        let mut rest = &with_more[..];
        assert_eq!(&K::decode_nested(&mut rest), key);
        assert_eq!(rest, b"more");
    }
    for a in keys {
        for b in keys {
            let order = a.cmp(b);
            assert_eq!(a.to_encoded().cmp(&b.to_encoded()), order, "{a:?} {b:?}");
            for (more_a, more_b) in [(0, 0xFF), (0xFF, 0), (7, 7)] {
                let (mut x, mut y) = (nested(a), nested(b));
                x.push(more_a);
                y.push(more_b);
                let expected = order.then(more_a.cmp(&more_b));
                assert_eq!(x.cmp(&y), expected, "{a:?} {b:?} nested");
            }
        }
    }
}

macro_rules! check_integers {
    ($numbers:ident: $($type:ident)*) => {$(
        let mut keys = vec![$type::MIN, $type::MAX, 0, 1, $type::MAX - 1, $type::MIN + 1];
        let one: $type = 1;
        keys.push((one - 1).wrapping_sub(one));
        for shift in 0..$type::BITS {
            keys.push(one << shift);
            keys.push((one << shift).wrapping_sub(1));
        }
        for _ in 0..100 {
            let wide = u128::from($numbers.next()) << 64 | u128::from($numbers.next());
            let key = $type::from_be_bytes(take(&mut &wide.to_be_bytes()[..]));
            keys.extend([key, key >> ($numbers.next() % u64::from($type::BITS))]);
        }
        check(&keys);
    )*};
}

#[test]
fn integers_keep_their_order_and_come_back() {
    let mut numbers = Numbers(1);
    check_integers!(numbers: u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize);
}

#[test]
fn small_types_keep_their_order_and_come_back() {
    check(&[false, true]);
    check(&[()]);
    check(&['\0', 'a', 'z', '\u{D7FF}', '\u{E000}', '\u{FFFF}', '\u{10000}', '\u{10FFFF}']);
    check(&[None, Some(0_u8), Some(1), Some(255)]);
    check(&[None, Some(None), Some(Some(String::new())), Some(Some("\0".to_owned()))]);
}

#[test]
fn byte_runs_keep_their_order_and_come_back() {
    let mut numbers = Numbers(2);
    let mut bytes: Vec<Vec<u8>> = (0..150).map(|_| numbers.bytes(6)).collect();
    bytes.extend([vec![], vec![0], vec![0; 2], vec![0xFF], vec![0, 0xFF], vec![0, 0]]);
    bytes.extend([vec![0; 63], vec![7; 64], vec![7; 65], vec![0; 4096]]);
    check(&bytes);
    check(&bytes.iter().map(|b| b.clone().into_boxed_slice()).collect::<Vec<_>>());
    check(&bytes.iter().map(|b| Arc::<[u8]>::from(&b[..])).collect::<Vec<_>>());
    check(&bytes.iter().map(|b| Bytes::copy_from_slice(b)).collect::<Vec<_>>());
    let texts: Vec<String> = (0..150).map(|_| numbers.text(6)).collect();
    check(&texts);
    check(&texts.iter().map(|t| t.clone().into_boxed_str()).collect::<Vec<_>>());
    check(&texts.iter().map(|t| Arc::<str>::from(&t[..])).collect::<Vec<_>>());
    let arrays: Vec<[u8; 3]> = (0..150)
        .map(|_| numbers.next().to_be_bytes())
        .map(|b| [b[0] & 1, b[1] | 0xFE, b[2] & 1])
        .collect();
    check(&arrays);
    check(&(0..150_u64).map(|_| numbers.next().to_be_bytes()).collect::<Vec<_>>());
}

#[test]
fn tuples_keep_their_order_and_come_back() {
    let mut n = Numbers(3);
    check(&(0..150).map(|_| (n.bytes(3),)).collect::<Vec<_>>());
    check(&(0..150).map(|_| (n.bytes(3), n.text(2))).collect::<Vec<_>>());
    check(&(0..150).map(|_| (n.text(2), n.next() as i8 % 3)).collect::<Vec<_>>());
    check(&(0..150).map(|_| (n.bytes(1), n.bytes(1), n.bytes(2))).collect::<Vec<_>>());
    check(
        &(0..150)
            .map(|_| (n.next() % 2, n.text(2), n.next() as u16 % 2, n.bytes(1)))
            .collect::<Vec<_>>(),
    );
    check(
        &(0..150)
            .map(|_| ((n.bytes(1), n.bytes(1)), (n.text(1), ()), n.bytes(1)))
            .collect::<Vec<_>>(),
    );
    check(&(0..150).map(|_| (n.bytes(1), false, n.bytes(1), 'c', n.bytes(1))).collect::<Vec<_>>());
    check(
        &(0..150)
            .map(|_| {
                let maybe = (n.next().is_multiple_of(2)).then(|| n.bytes(2));
                (maybe, n.next() as i32 % 2, n.bytes(1), 1_u128, n.text(1), n.bytes(1))
            })
            .collect::<Vec<_>>(),
    );
}

#[test]
fn eight_bytes_are_known_at_compile_time() {
    const { assert!(u64::FIXED8 && i64::FIXED8 && usize::FIXED8 && isize::FIXED8) };
    const { assert!(<[u8; 8]>::FIXED8 && <(u32, u32)>::FIXED8 && <(u64,)>::FIXED8) };
    const { assert!(!u32::FIXED8 && !String::FIXED8 && !<(u64, u8)>::FIXED8) };
    const { assert!(!Option::<u64>::FIXED8 && !<(String, u64)>::FIXED8) };
}

#[test]
fn a_borrowed_key_has_the_bytes_of_the_owned_one() {
    fn same<K: Key + Borrow<Q>, Q: EncodeKey + ?Sized>(key: &K) {
        let borrowed: &Q = key.borrow();
        assert_eq!(key.to_encoded(), borrowed.to_encoded());
    }
    same::<String, str>(&"a\0b".to_owned());
    same::<Box<str>, str>(&"a\0b".into());
    same::<Arc<str>, str>(&"a\0b".into());
    same::<Vec<u8>, [u8]>(&vec![1, 0, 2]);
    same::<Box<[u8]>, [u8]>(&vec![1, 0, 2].into());
    same::<Bytes, [u8]>(&Bytes::from_static(b"\0x"));
    same::<[u8; 4], [u8]>(&[1, 0, 2, 0]);
    same::<u64, u64>(&7);
}
