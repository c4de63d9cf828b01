//! What the caller of [`Log::open`](crate::Log::open) chooses.

/// The choices at opening; [`Options::default`] suits a store that may be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Create the store if the directory holds none.
    pub create: bool,
    /// Open without the right to write: nothing on disk is changed, other readers are welcome,
    /// a writer is not.
    pub read_only: bool,
    /// Bytes at which an open frame is sealed and written.
    pub frame_bytes: u32,
    /// Bytes of a segment file while the store is small; a power of two is wise.
    pub segment_bytes_min: u32,
    /// Bytes of a segment file when the store is large.
    pub segment_bytes_max: u32,
    /// Most files of segments that are open at a time, besides those that are being written or read
    /// just now; at least 8.
    pub max_open_files: usize,
    /// The number that a store gets at its creation and that ties its files together; `None` for a
    /// random one. Tests that compare bytes set it.
    pub store_id: Option<u64>,
}

/// No frame buffer is smaller, so that a directory line always has room beside its header.
const LEAST_FRAME_BYTES: u32 = 256;

/// No segment is smaller: one page of most devices.
const LEAST_SEGMENT_BYTES: u32 = 4096;

/// No segment of ordinary size is larger, so that offsets fit in 32 bits with room to spare.
const MOST_SEGMENT_BYTES: u32 = 1 << 30;

/// The two that streams write to, and some to read.
const LEAST_OPEN_FILES: usize = 8;

impl Options {
    /// The options with every number brought into its range.
    pub(crate) fn in_range(mut self) -> Self {
        self.frame_bytes = self.frame_bytes.clamp(LEAST_FRAME_BYTES, MOST_SEGMENT_BYTES);
        self.segment_bytes_min =
            self.segment_bytes_min.clamp(LEAST_SEGMENT_BYTES, MOST_SEGMENT_BYTES);
        self.segment_bytes_max =
            self.segment_bytes_max.clamp(self.segment_bytes_min, MOST_SEGMENT_BYTES);
        self.max_open_files = self.max_open_files.max(LEAST_OPEN_FILES);
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            create: true,
            read_only: false,
            frame_bytes: 1 << 20,
            segment_bytes_min: 64 << 10,
            segment_bytes_max: 128 << 20,
            max_open_files: 256,
            store_id: None,
        }
    }
}
