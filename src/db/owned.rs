//! What a tree takes for a value: anything that is bytes, borrowed or owned.

use bytes::{Bytes, BytesMut};
use std::borrow::Cow;

/// A value for a [`Tree`](super::Tree).
///
/// Implemented by references to whatever is bytes (texts, slices, arrays, vectors, [`Bytes`]), by
/// arrays, and by vectors, boxes, strings and [`Bytes`] themselves. A value of up to 1 KiB is
/// copied into its page, without an allocation; one of up to 32 KiB to memory from where pages have
/// theirs. A longer one is kept as it is if it is owned, and copied once if it is borrowed: if it
/// is a part of larger [`Bytes`], all of these stay in memory as long as it does.
///
/// ```
/// # fn main() -> bwtree::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let tree = bwtree::Db::open(dir.path().join("store"))?.tree("t")?;
/// tree.put("text", "1")?;
/// tree.put("bytes", b"2")?;
/// tree.put("number", 3_u64.to_be_bytes())?;
/// tree.put("slice", &[4, 5, 6][1..])?;
/// tree.put("vector", vec![7; 100_000])?;
/// assert_eq!(tree.get("slice")?.as_deref(), Some([5, 6].as_slice()));
/// # Ok(())
/// # }
/// ```
pub trait ByteValue {
    /// The bytes.
    fn as_bytes(&self) -> &[u8];
    /// The bytes as a value that is owned, copied only if they are not.
    fn into_bytes(self) -> Bytes;
}

impl<B: AsRef<[u8]> + ?Sized> ByteValue for &B {
    fn as_bytes(&self) -> &[u8] {
        (**self).as_ref()
    }

    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self.as_ref())
    }
}

impl<const LEN: usize> ByteValue for [u8; LEN] {
    fn as_bytes(&self) -> &[u8] {
        self
    }

    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self)
    }
}

macro_rules! owned {
    ($($owned:ty, $value:ident => $bytes:expr;)*) => {$(
        impl ByteValue for $owned {
            fn as_bytes(&self) -> &[u8] {
                AsRef::<[u8]>::as_ref(self)
            }

            fn into_bytes(self) -> Bytes {
                let $value = self;
                $bytes
            }
        }
    )*};
}

owned! {
    Bytes, value => value;
    BytesMut, value => value.freeze();
    Vec<u8>, value => value.into();
    Box<[u8]>, value => value.into();
    String, value => value.into();
    Cow<'_, [u8]>, value => value.into_owned().into();
}

impl ByteValue for Cow<'_, str> {
    fn as_bytes(&self) -> &[u8] {
        str::as_bytes(self)
    }

    fn into_bytes(self) -> Bytes {
        self.into_owned().into()
    }
}
