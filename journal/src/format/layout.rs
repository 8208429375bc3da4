//! The bytes of a segment, as `docs/format.md` tables them: encoding and decoding of headers, and
//! the seeded checksums.
//!
//! Pure functions over byte slices: no I/O here, and no allocation on the word of a length field.

use crc32fast::Hasher;
use uuid::Uuid;

use crate::{
    format::{
        bytes::{i64_at, put, u16_at, u32_at, u64_at},
        context::Context,
        header::{self, FileKind, H_CRC, H_FIELDS, HEADER_BYTES, HeaderFault},
        kind::Kind,
        position::{RecordPosition, TimelineTag},
    },
    model::{
        ids::{Revision, Sequence},
        time::Timestamp,
    },
};

/// A segment begins with one block of this size.
pub(crate) const SEGMENT_HEADER_BYTES: usize = HEADER_BYTES;
/// A record begins with a header of this size.
pub(crate) const RECORD_HEADER_BYTES: usize = 48;
/// Records begin at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;
/// No payload is longer, whatever the options say.
pub(crate) const MAX_PAYLOAD_BYTES: u32 = 256 << 20;
/// No segment is longer, whatever the options say.
pub(crate) const MAX_SEGMENT_BYTES: u64 = 16 << 30;
/// Kept free at the end of a segment for the seal record.
pub(crate) const SEAL_RESERVE_BYTES: u64 = 16 << 10;
/// A seal has at most this many index points: 256 of at most 33 bytes fit the reserve.
pub(crate) const MAX_INDEX_POINTS: usize = 256;

pub(crate) const MAGIC: &[u8; 8] = b"CAIRNSEG";

const FILE: FileKind = FileKind {
    magic: MAGIC,
    name: "segment",
    context_from: H_CONTEXT,
    context_to: H_COPY,
};

// The segment header, one constant per row of the table.
const H_FIRST: usize = 40;
const H_PREDECESSOR_LAST: usize = 48;
const H_PREDECESSOR_DIGEST: usize = 56;
const H_RESERVED: usize = 60;
const H_COVERED: usize = 64;
const H_CREATED: usize = 72;
const H_SYNCED: usize = 80;
const H_CONTEXT: usize = 88;
const H_COPY: usize = 2048;

const _: () = assert!(H_FIELDS == H_FIRST);
const _: () = assert!(H_FIRST + 8 == H_PREDECESSOR_LAST);
const _: () = assert!(H_PREDECESSOR_LAST + 8 == H_PREDECESSOR_DIGEST);
const _: () = assert!(H_PREDECESSOR_DIGEST + 4 == H_RESERVED);
const _: () = assert!(H_RESERVED + 4 == H_COVERED);
const _: () = assert!(H_COVERED + 8 == H_CREATED);
const _: () = assert!(H_CREATED + 8 == H_SYNCED);
const _: () = assert!(H_SYNCED + 8 == H_CONTEXT);
const _: () = assert!(H_COPY - H_CONTEXT == 1960);
const _: () = assert!(H_COPY + H_CONTEXT <= H_CRC);
const _: () = assert!(SEGMENT_HEADER_BYTES.is_multiple_of(ALIGNMENT));

// The record header.
const R_LENGTH: usize = 0;
const R_KIND: usize = 4;
const R_FLAGS: usize = 5;
const R_TIMELINE: usize = 6;
const R_SEQUENCE: usize = 8;
const R_SYNCED: usize = 16;
const R_REVISION: usize = 24;
const R_PREV_REVISION: usize = 32;
const R_PAYLOAD_CRC: usize = 40;
const R_HEADER_CRC: usize = 44;

/// The record lies within a gap's snapshot diff.
const F_WITHIN: u8 = 1;
const FLAGS: u8 = F_WITHIN;

const _: () = assert!(R_LENGTH + 4 == R_KIND);
const _: () = assert!(R_KIND + 1 == R_FLAGS);
const _: () = assert!(R_FLAGS + 1 == R_TIMELINE);
const _: () = assert!(R_TIMELINE + 2 == R_SEQUENCE);
const _: () = assert!(R_SEQUENCE + 8 == R_SYNCED);
const _: () = assert!(R_SYNCED + 8 == R_REVISION);
const _: () = assert!(R_REVISION + 8 == R_PREV_REVISION);
const _: () = assert!(R_PREV_REVISION + 8 == R_PAYLOAD_CRC);
const _: () = assert!(R_PAYLOAD_CRC + 4 == R_HEADER_CRC);
const _: () = assert!(R_HEADER_CRC + 4 == RECORD_HEADER_BYTES);
const _: () = assert!(RECORD_HEADER_BYTES.is_multiple_of(ALIGNMENT));

/// The length on disk of a record with a payload this long: header, payload, padding.
pub(crate) const fn record_length(payload_bytes: u32) -> u64 {
    RECORD_HEADER_BYTES as u64 + (payload_bytes as u64).next_multiple_of(ALIGNMENT as u64)
}

/// What every checksum of one segment starts from, so that a stale or misplaced block never passes.
#[derive(Clone, Debug)]
pub(crate) struct Seed(Hasher);

impl Seed {
    pub(crate) fn new(uuid: Uuid, salt: u64) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(uuid.as_bytes());
        hasher.update(&salt.to_le_bytes());
        Self(hasher)
    }

    /// A checksum that is to run over bytes that belong to the record at this offset.
    pub(crate) fn at(&self, offset: u64) -> Hasher {
        let mut hasher = self.0.clone();
        hasher.update(&offset.to_le_bytes());
        hasher
    }
}

/// The first block of a segment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SegmentHeader {
    pub(crate) uuid: Uuid,
    pub(crate) salt: u64,
    pub(crate) first: Sequence,
    pub(crate) predecessor_last: Sequence,
    pub(crate) predecessor_digest: u32,
    pub(crate) covered: Revision,
    pub(crate) created_at: Timestamp,
    pub(crate) synced: Sequence,
    pub(crate) context: Context,
}

impl SegmentHeader {
    pub(crate) fn seed(&self) -> Seed {
        Seed::new(self.uuid, self.salt)
    }

    pub(crate) fn encode(&self) -> Box<[u8; SEGMENT_HEADER_BYTES]> {
        let mut b = FILE.begin(self.uuid, self.salt, &self.context);
        let out = b.as_mut_slice();
        put(out, H_FIRST, &self.first.0.to_le_bytes());
        put(
            out,
            H_PREDECESSOR_LAST,
            &self.predecessor_last.0.to_le_bytes(),
        );
        put(
            out,
            H_PREDECESSOR_DIGEST,
            &self.predecessor_digest.to_le_bytes(),
        );
        put(out, H_COVERED, &self.covered.0.to_le_bytes());
        put(out, H_CREATED, &self.created_at.0.to_le_bytes());
        put(out, H_SYNCED, &self.synced.0.to_le_bytes());
        out.copy_within(0..H_CONTEXT, H_COPY);
        header::seal(&mut b);
        b
    }

    pub(crate) fn decode(b: &[u8]) -> Result<Self, HeaderFault> {
        Self::fields(FILE.verify(b)?)
    }

    /// What a damaged header still says by the copy of its fixed fields: enough to verify the
    /// records by. The context is lost. The caller has to check that records verify.
    pub(crate) fn salvage(b: &[u8]) -> Vec<Self> {
        let places = [0, H_COPY].into_iter();
        let places = places.filter_map(|at| b.get(at..at + H_CONTEXT));
        // In one of them just this may be damaged.
        if !places.clone().any(header::is_this_version) {
            return Vec::new();
        }
        let fields = |fields: &[u8]| {
            let mut block = [0; SEGMENT_HEADER_BYTES];
            block[..H_CONTEXT].copy_from_slice(fields);
            header::forget_context(&mut block);
            Self::fields(&block).ok()
        };
        places.filter_map(fields).collect()
    }

    fn fields(b: &[u8]) -> Result<Self, HeaderFault> {
        let (uuid, salt, context) = FILE.common(b)?;
        Ok(Self {
            uuid,
            salt,
            first: Sequence(u64_at(b, H_FIRST)),
            predecessor_last: Sequence(u64_at(b, H_PREDECESSOR_LAST)),
            predecessor_digest: u32_at(b, H_PREDECESSOR_DIGEST),
            covered: Revision(i64_at(b, H_COVERED)),
            created_at: Timestamp(i64_at(b, H_CREATED)),
            synced: Sequence(u64_at(b, H_SYNCED)),
            context,
        })
    }
}

/// The header of a record, without its checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) payload_bytes: u32,
    pub(crate) kind: Kind,
    pub(crate) sequence: Sequence,
    pub(crate) synced: Sequence,
    pub(crate) revision: Revision,
    pub(crate) position: RecordPosition,
}

/// Both checksums of a record, as they stand in it: what a segment's digest is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checksums {
    pub(crate) header: u32,
    pub(crate) payload: u32,
}

impl RecordHeader {
    /// Length on disk.
    pub(crate) fn length(&self) -> u64 {
        record_length(self.payload_bytes)
    }

    /// Writes the header into the first 48 bytes of a record whose payload and zero padding are in
    /// place.
    pub(crate) fn seal_into(&self, record: &mut [u8], seed: &Seed, offset: u64) -> Checksums {
        let payload_crc = Self::payload_checksum(&record[RECORD_HEADER_BYTES..], seed, offset);
        self.complete(record, payload_crc, seed, offset)
    }

    /// The checksum of a payload with its padding.
    pub(crate) fn payload_checksum(padded: &[u8], seed: &Seed, offset: u64) -> u32 {
        let mut crc = seed.at(offset);
        crc.update(padded);
        crc.finalize()
    }

    /// Writes the header into a record whose payload's checksum is known: see [`Self::seal_into`].
    pub(crate) fn complete(
        &self,
        record: &mut [u8],
        payload_crc: u32,
        seed: &Seed,
        offset: u64,
    ) -> Checksums {
        assert!(offset.is_multiple_of(ALIGNMENT as u64) && record.len() as u64 == self.length());
        assert!(
            self.synced < self.sequence,
            "a record cannot be durable before it is written"
        );
        let header = &mut record[..RECORD_HEADER_BYTES];
        put(header, R_LENGTH, &self.payload_bytes.to_le_bytes());
        header[R_KIND] = self.kind as u8;
        header[R_FLAGS] = if self.position.within { F_WITHIN } else { 0 };
        put(header, R_TIMELINE, &self.position.timeline.0.to_le_bytes());
        put(header, R_SEQUENCE, &self.sequence.0.to_le_bytes());
        put(header, R_SYNCED, &self.synced.0.to_le_bytes());
        put(header, R_REVISION, &self.revision.0.to_le_bytes());
        put(
            header,
            R_PREV_REVISION,
            &self.position.prev_revision.0.to_le_bytes(),
        );
        put(header, R_PAYLOAD_CRC, &payload_crc.to_le_bytes());
        let mut header_crc = seed.at(offset);
        header_crc.update(&header[..R_HEADER_CRC]);
        let header_crc = header_crc.finalize();
        put(header, R_HEADER_CRC, &header_crc.to_le_bytes());
        Checksums {
            header: header_crc,
            payload: payload_crc,
        }
    }

    /// Whether these bytes could begin a record at all: a cheap look, so that a search through
    /// zeros and payload seldom computes a checksum.
    pub(crate) fn is_plausible(b: &[u8]) -> bool {
        Kind::from_byte(b[R_KIND]).is_some()
            && b[R_FLAGS] & !FLAGS == 0
            && u32_at(b, R_LENGTH) <= MAX_PAYLOAD_BYTES
    }

    /// Reads a header and verifies its own checksum; `Err` says what does not fit. `at`:
    /// [`Seed::at`] its offset.
    #[inline(always)]
    pub(crate) fn decode(b: &[u8], at: &Hasher) -> Result<(Self, Checksums), String> {
        let mut crc = at.clone();
        crc.update(&b[..R_HEADER_CRC]);
        let header_crc = u32_at(b, R_HEADER_CRC);
        if crc.finalize() != header_crc {
            return Err("the record header's checksum does not match".to_owned());
        }
        let Some(kind) = Kind::from_byte(b[R_KIND]) else {
            return Err(format!("record type {} is unknown", b[R_KIND]));
        };
        if b[R_FLAGS] & !FLAGS != 0 {
            return Err(format!("the record header's flags are {}", b[R_FLAGS]));
        }
        let header = Self {
            payload_bytes: u32_at(b, R_LENGTH),
            kind,
            sequence: Sequence(u64_at(b, R_SEQUENCE)),
            synced: Sequence(u64_at(b, R_SYNCED)),
            revision: Revision(i64_at(b, R_REVISION)),
            position: RecordPosition {
                prev_revision: Revision(i64_at(b, R_PREV_REVISION)),
                timeline: TimelineTag(u16_at(b, R_TIMELINE)),
                within: b[R_FLAGS] & F_WITHIN != 0,
            },
        };
        if header.payload_bytes > MAX_PAYLOAD_BYTES {
            return Err(format!(
                "the record claims a payload of {} bytes",
                header.payload_bytes
            ));
        }
        if header.synced >= header.sequence {
            return Err(format!(
                "the record claims that sequence {} was durable before it",
                header.synced
            ));
        }
        let checksums = Checksums {
            header: header_crc,
            payload: u32_at(b, R_PAYLOAD_CRC),
        };
        Ok((header, checksums))
    }
}

/// Whether a payload with its padding fits the checksum in its header. `at`: [`Seed::at`] the
/// record's offset.
#[inline]
pub(crate) fn payload_matches(padded: &[u8], checksums: Checksums, mut at: Hasher) -> bool {
    at.update(padded);
    at.finalize() == checksums.payload
}

/// The digest of a segment: over the checksums of its records, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Digest(Hasher);

impl Digest {
    pub(crate) fn add(&mut self, c: Checksums) {
        let mut pair = [0; 8];
        put(&mut pair, 0, &c.header.to_le_bytes());
        put(&mut pair, 4, &c.payload.to_le_bytes());
        self.0.update(&pair);
    }

    pub(crate) fn value(&self) -> u32 {
        self.0.clone().finalize()
    }
}
