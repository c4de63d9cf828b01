//! The keys: numbers in random order, rising numbers, and texts with shared prefixes.

use crate::random::mix;
use std::borrow::Cow;
use std::fmt::Debug;
use std::hash::Hash;

/// A set of keys, numbered from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum KeySet {
    /// u64, spread over all.
    Random,
    /// u64, one after the other; each thread loads every nth.
    Rising,
    /// E-mail addresses and URLs of 15 to 60 bytes.
    Strings,
}

impl KeySet {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Rising => "rising",
            Self::Strings => "strings",
        }
    }
}

/// A key of a peer.
pub(crate) trait Key:
    Clone
    + Ord
    + Hash
    + Debug
    + Send
    + Sync
    + 'static
    + bwtree::Key
    + concurrent_map::Minimum
    + ferntree::OptimisticRead
{
    /// What a scan shows of a key: the least that every peer can show without a copy.
    type View: ?Sized + Ord + Debug;

    /// The `number`th key of the set.
    fn nth(set: KeySet, number: u64) -> Self;
    /// A key that is not above any other.
    fn lowest() -> Self;
    /// Shows the key.
    fn view(&self) -> &Self::View;
    /// Shows what bwtree's scan lends of a key.
    fn view_lent(lent: &<Self as bwtree::Key>::Lent) -> &Self::View;
    /// Shows the key that has these bytes.
    fn view_bytes<R>(bytes: &[u8], then: impl FnOnce(&Self::View) -> R) -> R;
    /// Bytes in the order of the keys, for peers that know nothing else.
    fn with_bytes<R>(&self, then: impl FnOnce(&[u8]) -> R) -> R;
    /// Longest key, in bytes.
    const MAX_BYTES: usize;
    /// How many accesses are worth preparing for one phase.
    const MAX_ACCESSES: usize;
}

impl Key for u64 {
    type View = u64;
    const MAX_BYTES: usize = 8;
    const MAX_ACCESSES: usize = 16 << 20;

    fn nth(set: KeySet, number: u64) -> Self {
        match set {
            KeySet::Rising => number,
            KeySet::Random | KeySet::Strings => mix(number),
        }
    }
    fn lowest() -> Self {
        0
    }
    fn view(&self) -> &u64 {
        self
    }
    fn view_lent(lent: &u64) -> &u64 {
        lent
    }
    fn view_bytes<R>(bytes: &[u8], then: impl FnOnce(&u64) -> R) -> R {
        let bytes: &[u8; 8] = bytes.first_chunk().unwrap_or(&[0; 8]);
        then(&Self::from_be_bytes(*bytes))
    }
    fn with_bytes<R>(&self, then: impl FnOnce(&[u8]) -> R) -> R {
        then(&self.to_be_bytes())
    }
}

impl Key for String {
    type View = [u8];
    const MAX_BYTES: usize = 60;
    const MAX_ACCESSES: usize = 2 << 20;

    fn nth(_: KeySet, number: u64) -> Self {
        text(number)
    }
    fn lowest() -> Self {
        "!".to_owned()
    }
    fn view(&self) -> &[u8] {
        self.as_bytes()
    }
    fn view_lent(lent: &str) -> &[u8] {
        lent.as_bytes()
    }
    fn view_bytes<R>(bytes: &[u8], then: impl FnOnce(&[u8]) -> R) -> R {
        then(bytes)
    }
    fn with_bytes<R>(&self, then: impl FnOnce(&[u8]) -> R) -> R {
        then(self.as_bytes())
    }
}

const HOSTS: [&str; 12] = [
    "mail.net",
    "post.example",
    "inbox.org",
    "city.example",
    "work.co",
    "uni.edu",
    "shop.example",
    "news.example.org",
    "wiki.example",
    "files.example.net",
    "blog.example",
    "www.example.com",
];
const NAMES: [&str; 16] = [
    "ana", "ben", "carla", "david", "elena", "frank", "grace", "henry", "ines", "jonas", "katia",
    "leon", "maria", "nils", "olga", "peter",
];
const FAMILIES: [&str; 16] = [
    "adler", "berg", "costa", "dahl", "engel", "fuchs", "gomez", "huber", "ivanov", "jansen",
    "kruger", "lopez", "moreau", "nowak", "olsen", "petrov",
];
const SECTIONS: [&str; 12] = [
    "item", "order", "user", "photo", "review", "search", "archive", "product", "comment",
    "category", "download", "p",
];

/// The `number`th text: two in three are an e-mail address, the others a URL. Different for
/// different numbers below 2^32, because a part of its own holds the number, spread over 32 bits.
fn text(number: u64) -> String {
    let bits = mix(number ^ 0x7465_7874);
    let pick = |list: &[&'static str], shift: u32| list[(bits >> shift) as usize % list.len()];
    let id = base36((number as u32).wrapping_mul(0x9e37_79b1));
    let host = pick(&HOSTS, 0);
    if bits >> 62 < 2 || bits >> 59 == 0b10_000 {
        let (name, family) = (pick(&NAMES, 8), pick(&FAMILIES, 16));
        format!("{name}.{family}+{id}@{host}")
    } else {
        let deep = if bits >> 61 & 1 == 0 {
            Cow::from(format!("{}/{}", pick(&SECTIONS, 24), pick(&FAMILIES, 40)))
        } else {
            Cow::from(pick(&SECTIONS, 24))
        };
        format!("https://{host}/{deep}/{id}")
    }
}

fn base36(mut number: u32) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut digits = Vec::with_capacity(7);
    loop {
        digits.push(char::from(DIGITS[number as usize % 36]));
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn keys_are_distinct() {
        const COUNT: u64 = 200_000;
        for set in [KeySet::Random, KeySet::Rising] {
            let keys: HashSet<u64> = (0..COUNT).map(|n| u64::nth(set, n)).collect();
            assert_eq!(keys.len() as u64, COUNT, "{set:?}");
        }
        let texts: HashSet<String> = (0..COUNT).map(text).collect();
        assert_eq!(texts.len() as u64, COUNT);
    }

    #[test]
    fn texts_have_their_lengths() {
        const COUNT: u64 = 100_000;
        let lengths: Vec<usize> = (0..COUNT).map(|n| text(n).len()).collect();
        assert!(lengths.iter().all(|length| (15..=60).contains(length)));
        let mean = lengths.iter().sum::<usize>() as f64 / COUNT as f64;
        assert!((31.0..35.0).contains(&mean), "{mean}");
        assert!((0..COUNT).all(|n| text(n).is_ascii()));
    }

    #[test]
    fn texts_share_prefixes() {
        let mut texts: Vec<String> = (0..100_000).map(text).collect();
        texts.sort();
        let shared = |(a, b): (&String, &String)| {
            a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
        };
        let total: usize = texts.iter().zip(&texts[1..]).map(shared).sum();
        let mean = total as f64 / 100_000.0;
        assert!((10.0..30.0).contains(&mean), "{mean}");
    }

    #[test]
    fn bytes_are_in_the_order_of_the_keys() {
        for (a, b) in (0..1000).map(|n| (mix(n), mix(n + 1))) {
            let ordered = a.with_bytes(|a| b.with_bytes(|b| a < b));
            assert_eq!(ordered, a < b);
            assert_eq!(a.with_bytes(|bytes| u64::view_bytes(bytes, |key| *key)), a);
        }
        assert!((0..1000).all(|n| text(n) > String::lowest()));
    }
}
