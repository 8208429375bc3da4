//! Records waiting for the disk, laid out back to back as they are going to lie in the file.
//!
//! Only what depends on the place in the file and on the moment of writing is missing from them: the
//! synced sequence and the two checksums. Where a segment ends is decided here already, because
//! the seal takes a sequence of its own and callers are told theirs when they queue a record.

use crate::{
    Revision, Sequence,
    layout::{
        ALIGNMENT, Checksums, RECORD_HEADER_BYTES, RecordHeader, SEAL_RESERVE_BYTES,
        SEGMENT_HEADER_BYTES, Seed, record_length,
    },
    payload::Payload,
    tracker::Tracker,
};

/// One thing to be done, in order.
#[derive(Debug)]
pub(crate) enum Item {
    /// Write a record.
    Record {
        /// Where it begins in the queue's bytes.
        start: usize,
        header: RecordHeader,
        /// The newest revision covered before it.
        covered: Revision,
    },
    /// Seal the segment; what follows goes into the next.
    Seal {
        sequence: Sequence,
        /// What is known at that point.
        tracker: Box<Tracker>,
    },
}

/// Records back to back.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) bytes: Vec<u8>,
    pub(crate) items: Vec<Item>,
}

/// No buffer is shrunk below this.
const KEEP_BYTES: usize = 64 << 10;

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Empties the queue and keeps its memory for the next group, unless that was far more than this
    /// group needed: one burst does not cost memory for ever, and steady load allocates nothing.
    pub(crate) fn clear(&mut self) {
        if self.bytes.len() < self.bytes.capacity() / 16 {
            self.bytes.shrink_to((self.bytes.len() * 2).max(KEEP_BYTES));
        }
        if self.items.len() < self.items.capacity() / 16 {
            self.items.shrink_to((self.items.len() * 2).max(64));
        }
        self.bytes.clear();
        self.items.clear();
    }

    /// Puts a record at the end.
    pub(crate) fn push(&mut self, payload: &Payload, header: RecordHeader, covered: Revision) {
        let start = self.bytes.len();
        append(&mut self.bytes, payload, &header);
        self.items.push(Item::Record {
            start,
            header,
            covered,
        });
    }
}

/// Appends a record whose checksums are still missing.
fn append(bytes: &mut Vec<u8>, payload: &Payload, header: &RecordHeader) {
    let start = bytes.len();
    let length = usize::try_from(header.length()).expect("bounded by an option");
    bytes.reserve(length);
    bytes.resize(start + RECORD_HEADER_BYTES, 0);
    payload.write_to(bytes);
    assert_eq!(
        bytes.len(),
        start + RECORD_HEADER_BYTES + header.payload_bytes as usize,
        "a payload is as long as it said"
    );
    bytes.resize(start + length, 0);
    debug_assert!(bytes.len().is_multiple_of(ALIGNMENT));
}

/// A single record with everything in place, to be written at `offset`.
pub(crate) fn single(
    payload: &Payload,
    header: &RecordHeader,
    seed: &Seed,
    offset: u64,
) -> (Vec<u8>, Checksums) {
    let mut bytes = Vec::new();
    append(&mut bytes, payload, header);
    let checksums = header.seal_into(&mut bytes, seed, offset);
    (bytes, checksums)
}

/// How full the segment is that the next queued record will go to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    segment_bytes: u64,
    used: u64,
}

impl Room {
    /// An empty segment.
    pub(crate) fn new(segment_bytes: u64) -> Self {
        Self {
            segment_bytes,
            used: SEGMENT_HEADER_BYTES as u64,
        }
    }

    /// Whether a record with this payload fits.
    pub(crate) fn fits(&self, payload_bytes: u32) -> bool {
        self.used + record_length(payload_bytes) <= self.segment_bytes - SEAL_RESERVE_BYTES
    }

    /// Takes the room of a record.
    pub(crate) fn take(&mut self, payload_bytes: u32) {
        self.used += record_length(payload_bytes);
    }

    /// The segment was sealed.
    pub(crate) fn turn(&mut self) {
        *self = Self::new(self.segment_bytes);
    }
}
