//! The settings of a journal, each with its default and the reason for it.

use std::time::Duration;

use crate::{
    error::{Error, Result},
    format::layout,
};

/// The settings of a journal. They may differ from one opening to the next: everything that is
/// needed to read a journal is in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Size at which a segment is sealed and the next one started, in bytes. Default 64 MiB: large
    /// enough that a rotation is rare, small enough that the last segment is scanned in well under
    /// a second at opening.
    pub segment_bytes: u64,
    /// The largest payload of one record that is accepted, in bytes. Default 16 MiB; the format
    /// allows 256 MiB, and that is what a reader may allocate on the word of a header whose
    /// checksum matched: it does not know with which option the journal was written.
    pub max_payload_bytes: u32,
    /// How much may be queued for the next group, in bytes. Default 32 MiB: the memory that a slow
    /// disk can cost (twice this, as one group is being written while the next is queued). A caller
    /// of `append` who finds the queue full waits for the disk.
    pub max_queued_bytes: usize,
    /// After how long without a new record a watermark record is written, so that the last
    /// acknowledged record is known to be acknowledged. Default 1 s; `None`: only at close.
    pub idle_watermark: Option<Duration>,
    /// Whether the next segment is created and zero-filled in the background. Default true. Writing
    /// into allocated, written blocks saves the file system a metadata commit per sync.
    pub preallocate: bool,
    /// From this size on a group is written past the page cache, in bytes. Default 64 KiB: below,
    /// a copy in memory costs little and spares those who read along a look at the disk; above,
    /// the copy and its write-back cost up to half of the time. 0, where nobody reads what was just
    /// written: a twentieth to a tenth more commits. `usize::MAX`: never.
    pub uncached_bytes: usize,
    /// How much of the sealed history is verified at opening, newest first, in bytes, besides the
    /// last segment, which always is. Default 256 MiB: a bound, so that opening does not take
    /// longer as history grows. Reading verifies all that it reads in any case.
    pub verify_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            max_payload_bytes: 16 << 20,
            max_queued_bytes: 32 << 20,
            idle_watermark: Some(Duration::from_secs(1)),
            preallocate: true,
            uncached_bytes: 64 << 10,
            verify_bytes: 256 << 20,
        }
    }
}

impl Options {
    /// Checks that the values fit together.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] names the option and what it has to be.
    pub fn validate(&self) -> Result<()> {
        let record = layout::record_length(self.max_payload_bytes);
        let needed = layout::SEGMENT_HEADER_BYTES as u64 + record + layout::SEAL_RESERVE_BYTES;
        let invalid = |option, detail| Err(Error::InvalidOption { option, detail });
        let at_most = |bytes: u64| format!("the format allows at most {bytes} bytes");
        if self.max_payload_bytes > layout::MAX_PAYLOAD_BYTES {
            let most = u64::from(layout::MAX_PAYLOAD_BYTES);
            return invalid("max_payload_bytes", at_most(most));
        }
        if self.segment_bytes < needed {
            let detail = format!("a segment must hold the largest record: at least {needed} bytes");
            return invalid("segment_bytes", detail);
        }
        if self.segment_bytes > layout::MAX_SEGMENT_BYTES {
            return invalid("segment_bytes", at_most(layout::MAX_SEGMENT_BYTES));
        }
        if (self.max_queued_bytes as u64) < record {
            let detail = format!("the queue must hold the largest record: at least {record} bytes");
            return invalid("max_queued_bytes", detail);
        }
        if self.idle_watermark == Some(Duration::ZERO) {
            let detail = "must be longer than nothing; None switches it off".to_owned();
            return invalid("idle_watermark", detail);
        }
        Ok(())
    }
}
