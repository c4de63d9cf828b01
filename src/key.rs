//! A key is stored as bytes whose order is the order of the key.
//!
//! The tree compares bytes and nothing else. So every key type says how it becomes bytes such that
//! `a < b` exactly when `encoded(a) < encoded(b)`, bytewise. Two forms exist:
//!
//! | form | used | bytes of a `String` | bytes of a `u64` |
//! |---|---|---|---|
//! | plain | the key itself, the last component of a tuple | as they are | 8, big endian |
//! | nested | a component with something behind it | escaped, ended by `00 00` | 8, big endian |
//!
//! In the nested form a zero byte becomes `00 FF`. The end `00 00` is then smaller than anything
//! that can stand in its place, and no nested form is the beginning of another, so what follows
//! can't change the order.
//!
//! Signed integers have their sign bit flipped. `usize` and `isize` are 8 bytes on every machine.

use core::convert::identity;
use std::sync::Arc;

use bytes::Bytes;

/// Bytes of the array on the stack that [`EncodeKey::with_encoded`] fills before it allocates.
pub const SMALL_KEY_BYTES: usize = 64;

/// What takes the bytes of a key, piece by piece.
pub trait KeySink {
    /// Appends `bytes`.
    fn push(&mut self, bytes: &[u8]);
}

impl KeySink for Vec<u8> {
    fn push(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Something that has the bytes of a key: every [`Key`], and what a key can be borrowed as.
///
/// Who implements this for `K` and for a `Q` with `K: Borrow<Q>` must give both the same plain
/// form; so `"abc"` finds the `String` `"abc"`.
pub trait EncodeKey {
    /// Appends the plain form.
    fn encode_into(&self, out: &mut impl KeySink);

    /// Appends the nested form: as ordered as the plain one, and never the beginning of another.
    fn encode_nested(&self, out: &mut impl KeySink);

    /// Calls `f` with the plain form. A form of at most [`SMALL_KEY_BYTES`] needs no allocation.
    fn with_encoded<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        let mut buffer = KeyBuffer::new();
        self.encode_into(&mut buffer);
        f(buffer.as_bytes())
    }

    /// The plain form as a vector.
    fn to_encoded(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out
    }
}

/// A type that can be the key of a map.
///
/// An implementation promises that the plain form and the nested form order as `Ord` does, and
/// that decoding gives back what was encoded.
pub trait Key: EncodeKey + Ord + Clone + Send + Sync + 'static {
    /// Bytes of the plain form if every key has the same number of them.
    const FIXED_BYTES: Option<usize>;

    /// Whether the plain form is always exactly 8 bytes, which pages store most compactly.
    const FIXED8: bool = matches!(Self::FIXED_BYTES, Some(8));

    /// What a scan lends of a key, see [`Map::scan`](crate::Map::scan): `str` of texts, `[u8]` of
    /// runs of bytes, the key itself of all others.
    type Lent: EncodeKey + ?Sized;

    /// The key with this plain form.
    ///
    /// # Panics
    ///
    /// May panic, or return any key, if `bytes` did not come from [`EncodeKey::encode_into`].
    fn decode(bytes: &[u8]) -> Self;

    /// Lends the key whose plain form are the first `len` of these bytes to `look`. Of texts and
    /// bytes nothing is copied. What follows are zeros, if anything does, so that a text can be
    /// checked in whole words.
    ///
    /// # Panics
    ///
    /// As [`decode`](Self::decode), and if there are fewer bytes.
    fn lend<R>(bytes: &[u8], len: usize, look: impl FnOnce(&Self::Lent) -> R) -> R;

    /// Takes one nested form off the front of `bytes`.
    ///
    /// # Panics
    ///
    /// May panic, or return any key, if `bytes` does not begin with a nested form of this type.
    fn decode_nested(bytes: &mut &[u8]) -> Self;
}

/// A key whose bytes can be cut anywhere, so that "all keys that begin with" has a meaning.
pub trait ByteKey: Key {}

impl ByteKey for String {}
impl ByteKey for Box<str> {}
impl ByteKey for Arc<str> {}
impl ByteKey for Vec<u8> {}
impl ByteKey for Box<[u8]> {}
impl ByteKey for Arc<[u8]> {}
impl ByteKey for Bytes {}

/// An encoded key: on the stack while it is small.
struct KeyBuffer {
    small: [u8; SMALL_KEY_BYTES],
    /// Bytes used of `small`; of no meaning once `large` is in use.
    len: usize,
    /// Everything, as soon as it does not fit `small`.
    large: Vec<u8>,
}

impl KeyBuffer {
    const fn new() -> Self {
        Self { small: [0; SMALL_KEY_BYTES], len: 0, large: Vec::new() }
    }

    fn as_bytes(&self) -> &[u8] {
        if self.large.is_empty() { &self.small[..self.len] } else { &self.large }
    }
}

impl KeySink for KeyBuffer {
    fn push(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if self.large.is_empty() && end <= SMALL_KEY_BYTES {
            self.small[self.len..end].copy_from_slice(bytes);
            self.len = end;
            return;
        }
        if self.large.is_empty() {
            self.large.reserve(end);
            self.large.extend_from_slice(&self.small[..self.len]);
        }
        self.large.extend_from_slice(bytes);
    }
}

/// Takes `N` bytes off the front.
#[inline]
fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let Some((head, rest)) = bytes.split_first_chunk::<N>() else {
        panic!("an encoded key ends {} bytes early", N - bytes.len());
    };
    *bytes = rest;
    *head
}

/// Appends `bytes` escaped and ended.
fn push_escaped(mut bytes: &[u8], out: &mut impl KeySink) {
    while let Some(zero) = bytes.iter().position(|&byte| byte == 0) {
        out.push(&bytes[..zero]);
        out.push(&[0, 0xFF]);
        bytes = &bytes[zero + 1..];
    }
    out.push(bytes);
    out.push(&[0, 0]);
}

/// Takes escaped bytes and their end off the front.
fn take_escaped(bytes: &mut &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let zero = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        out.extend_from_slice(&bytes[..zero]);
        *bytes = &bytes[zero..];
        match take::<2>(bytes) {
            [_, 0] => return out,
            _ => out.push(0),
        }
    }
}

/// The text with these bytes, which an encoder wrote. Encoders can be anybody's.
#[inline]
fn lent_text(bytes: &[u8]) -> &str {
    match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => panic!("an encoded text key is damaged: {error}"),
    }
}

/// The same, as the reader's own.
fn text(bytes: Vec<u8>) -> String {
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => panic!("an encoded text key is damaged: {error}"),
    }
}

/// Lends a key that has to be decoded for that.
macro_rules! lent_whole {
    () => {
        type Lent = Self;

        #[inline]
        fn lend<R>(bytes: &[u8], len: usize, look: impl FnOnce(&Self) -> R) -> R {
            look(&Self::decode(&bytes[..len]))
        }
    };
}

/// Keys of one length: the nested form is the plain form.
macro_rules! fixed_key {
    ($(@($($params:tt)*))? $type:ty, $bytes:expr, $key:ident => $encode:expr, $decode:expr) => {
        impl $($($params)*)? EncodeKey for $type {
            fn encode_into(&self, out: &mut impl KeySink) {
                let $key = *self;
                out.push(&$encode);
            }

            fn encode_nested(&self, out: &mut impl KeySink) {
                self.encode_into(out);
            }

            #[inline]
            fn with_encoded<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
                let $key = *self;
                f(&$encode)
            }
        }

        impl $($($params)*)? Key for $type {
            const FIXED_BYTES: Option<usize> = Some($bytes);
            lent_whole!();

            #[inline]
            fn decode(mut bytes: &[u8]) -> Self {
                Self::decode_nested(&mut bytes)
            }

            #[inline]
            fn decode_nested(bytes: &mut &[u8]) -> Self {
                $decode(take::<{ $bytes }>(bytes))
            }
        }
    };
}

macro_rules! integer_keys {
    ($($unsigned:ident $signed:ident $bytes:literal),*) => {$(
        fixed_key!($unsigned, $bytes, key => key.to_be_bytes(), $unsigned::from_be_bytes);
        fixed_key!(
            $signed,
            $bytes,
            key => (key ^ $signed::MIN).to_be_bytes(),
            |bytes| $signed::from_be_bytes(bytes) ^ $signed::MIN
        );
    )*};
}

integer_keys!(u8 i8 1, u16 i16 2, u32 i32 4, u64 i64 8, u128 i128 16);

fixed_key!(usize, 8, key => (key as u64).to_be_bytes(), |bytes| u64::from_be_bytes(bytes) as usize);
fixed_key!(
    isize,
    8,
    key => (key as i64 ^ i64::MIN).to_be_bytes(),
    |bytes| (i64::from_be_bytes(bytes) ^ i64::MIN) as isize
);
fixed_key!(bool, 1, key => [u8::from(key)], |[byte]: [u8; 1]| byte != 0);
fixed_key!(char, 4, key => u32::from(key).to_be_bytes(), |bytes| {
    let Some(key) = char::from_u32(u32::from_be_bytes(bytes)) else {
        panic!("an encoded char key is damaged: {bytes:?}");
    };
    key
});
fixed_key!(@(<const N: usize>) [u8; N], N, key => key, |bytes| bytes);
fixed_key!((), 0, _key => [], |_: [u8; 0]| ());

/// Types that are a run of bytes: the plain form is the bytes themselves.
macro_rules! encode_bytes {
    ($($type:ty, $key:ident => $bytes:expr;)*) => {$(
        impl EncodeKey for $type {
            fn encode_into(&self, out: &mut impl KeySink) {
                let $key = self;
                out.push($bytes);
            }

            fn encode_nested(&self, out: &mut impl KeySink) {
                let $key = self;
                push_escaped($bytes, out);
            }

            fn with_encoded<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
                let $key = self;
                f($bytes)
            }
        }
    )*};
}

encode_bytes! {
    str, key => key.as_bytes();
    String, key => key.as_bytes();
    Box<str>, key => key.as_bytes();
    Arc<str>, key => key.as_bytes();
    [u8], key => key;
    Vec<u8>, key => key;
    Box<[u8]>, key => key;
    Arc<[u8]>, key => key;
    Bytes, key => key;
}

macro_rules! byte_keys {
    ($($type:ty as $lent:ty, $view:expr, $from:expr;)*) => {$(
        impl Key for $type {
            const FIXED_BYTES: Option<usize> = None;
            type Lent = $lent;

            #[inline]
            fn lend<R>(bytes: &[u8], len: usize, look: impl FnOnce(&$lent) -> R) -> R {
                look(&$view(bytes)[..len])
            }

            fn decode(bytes: &[u8]) -> Self {
                $from(bytes.to_vec())
            }

            fn decode_nested(bytes: &mut &[u8]) -> Self {
                $from(take_escaped(bytes))
            }
        }
    )*};
}

byte_keys! {
    String as str, lent_text, text;
    Box<str> as str, lent_text, |bytes| text(bytes).into_boxed_str();
    Arc<str> as str, lent_text, |bytes| Arc::from(text(bytes));
    Vec<u8> as [u8], identity, |bytes| bytes;
    Box<[u8]> as [u8], identity, Vec::into_boxed_slice;
    Arc<[u8]> as [u8], identity, Arc::from;
    Bytes as [u8], identity, Bytes::from;
}

/// `None` is one zero byte; `Some` is a one and the key.
impl<K: Key> EncodeKey for Option<K> {
    fn encode_into(&self, out: &mut impl KeySink) {
        out.push(&[u8::from(self.is_some())]);
        if let Some(key) = self {
            key.encode_into(out);
        }
    }

    fn encode_nested(&self, out: &mut impl KeySink) {
        out.push(&[u8::from(self.is_some())]);
        if let Some(key) = self {
            key.encode_nested(out);
        }
    }
}

impl<K: Key> Key for Option<K> {
    const FIXED_BYTES: Option<usize> = None;
    lent_whole!();

    fn decode(mut bytes: &[u8]) -> Self {
        match take::<1>(&mut bytes) {
            [0] => None,
            _ => Some(K::decode(bytes)),
        }
    }

    fn decode_nested(bytes: &mut &[u8]) -> Self {
        match take::<1>(bytes) {
            [0] => None,
            _ => Some(K::decode_nested(bytes)),
        }
    }
}

/// Bytes of a tuple, if all its components have a fixed number of them.
const fn sum(parts: &[Option<usize>]) -> Option<usize> {
    let mut total = 0;
    let mut at = 0;
    while at < parts.len() {
        let Some(bytes) = parts[at] else { return None };
        total += bytes;
        at += 1;
    }
    Some(total)
}

/// Tuples: all components nested, save that the last one is plain in the plain form.
macro_rules! tuple_keys {
    ($(($($name:ident $at:tt,)* | $last:ident $last_at:tt))*) => {$(
        impl<$($name: Key,)* $last: Key> EncodeKey for ($($name,)* $last,) {
            fn encode_into(&self, out: &mut impl KeySink) {
                $(self.$at.encode_nested(out);)*
                self.$last_at.encode_into(out);
            }

            fn encode_nested(&self, out: &mut impl KeySink) {
                $(self.$at.encode_nested(out);)*
                self.$last_at.encode_nested(out);
            }
        }

        impl<$($name: Key,)* $last: Key> Key for ($($name,)* $last,) {
            const FIXED_BYTES: Option<usize> =
                sum(&[$($name::FIXED_BYTES,)* $last::FIXED_BYTES]);
            lent_whole!();

            fn decode(bytes: &[u8]) -> Self {
                let rest = &mut { bytes };
                ($($name::decode_nested(rest),)* $last::decode(rest),)
            }

            fn decode_nested(bytes: &mut &[u8]) -> Self {
                ($($name::decode_nested(bytes),)* $last::decode_nested(bytes),)
            }
        }
    )*};
}

tuple_keys! {
    (| A 0)
    (A 0, | B 1)
    (A 0, B 1, | C 2)
    (A 0, B 1, C 2, | D 3)
    (A 0, B 1, C 2, D 3, | E 4)
    (A 0, B 1, C 2, D 3, E 4, | F 5)
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
