//! Every limit of the system as a named constant.

/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 4096;

/// Longest key of a map in memory, as it is encoded, in bytes.
pub const MAX_MAP_KEY_BYTES: usize = 32 << 10;

/// Longest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 64 << 20;

/// Longest value that lies in its page; a longer one is separated from it and lies in the log as a
/// part of its own.
pub const MAX_INLINE_VALUE_BYTES: usize = 1024;

/// Longest name of a tree, in bytes.
pub const MAX_TREE_NAME_BYTES: usize = 255;

/// Numbers of trees are below this: the head of a page has so many bits for them.
pub const TREE_NUMBERS: u32 = 1 << 24;

const _: () = assert!(MAX_INLINE_VALUE_BYTES <= u16::MAX as usize);
const _: () = assert!(MAX_KEY_BYTES <= MAX_MAP_KEY_BYTES && MAX_MAP_KEY_BYTES < u16::MAX as usize);
