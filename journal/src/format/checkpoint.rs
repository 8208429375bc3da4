//! The bytes of a checkpoint, as `docs/format.md` tables them: header, block header, entry, footer.
//!
//! Pure functions over byte slices: no I/O here, and no allocation on the word of a length field.

use uuid::Uuid;

use crate::{
    format::{
        bytes::{i64_at, put, u32_at, u64_at},
        context::Context,
        header::{self, FileKind, H_CRC, H_FIELDS, HEADER_BYTES, HeaderFault},
        layout::{ALIGNMENT, Checksums, MAX_PAYLOAD_BYTES, Seed},
    },
    model::{
        entry::{Gap, Timeline},
        ids::{Revision, Sequence},
        time::Timestamp,
    },
};

/// A block begins with a header of this size.
pub(crate) const BLOCK_HEADER_BYTES: usize = 32;
/// A block is closed when it has this much; one entry that is larger has a block to itself. Small,
/// as a merge holds one block of each of its inputs.
pub(crate) const BLOCK_BYTES: usize = 64 << 10;
/// No block is longer: a row once fitted the payload of a record, behind 8 bytes of time, and has
/// at most 8 bytes more here, its revision.
pub(crate) const MAX_BLOCK_BYTES: u32 = MAX_PAYLOAD_BYTES;
/// What the footer says, behind a block header of its own.
pub(crate) const FOOTER_BYTES: usize = 40;

const FILE: FileKind = FileKind {
    magic: b"CAIRNCKP",
    name: "checkpoint",
    context_from: H_CONTEXT,
    context_to: H_CRC,
};

// The header, one constant per row of the table.
const H_SEQUENCE: usize = 40;
const H_REVISION: usize = 48;
const H_OBSERVED: usize = 56;
const H_CREATED: usize = 64;
const H_SEGMENT_FIRST: usize = 72;
const H_SEGMENT_SALT: usize = 80;
const H_COUNTING_FROM: usize = 88;
const H_COUNTING_AT: usize = 96;
const H_CONTEXT: usize = 104;

const _: () = assert!(H_FIELDS == H_SEQUENCE);
const _: () = assert!(H_SEQUENCE + 8 == H_REVISION);
const _: () = assert!(H_REVISION + 8 == H_OBSERVED);
const _: () = assert!(H_OBSERVED + 8 == H_CREATED);
const _: () = assert!(H_CREATED + 8 == H_SEGMENT_FIRST);
const _: () = assert!(H_SEGMENT_FIRST + 8 == H_SEGMENT_SALT);
const _: () = assert!(H_SEGMENT_SALT + 8 == H_COUNTING_FROM);
const _: () = assert!(H_COUNTING_FROM + 8 == H_COUNTING_AT);
const _: () = assert!(H_COUNTING_AT + 8 == H_CONTEXT);
const _: () = assert!(H_CRC - H_CONTEXT == 3988);

// The block header.
const B_LENGTH: usize = 0;
const B_KIND: usize = 4;
const B_RESERVED: usize = 5;
const B_BEFORE: usize = 8;
const B_ENTRIES: usize = 16;
const B_RESERVED_2: usize = 20;
const B_BODY_CRC: usize = 24;
const B_HEADER_CRC: usize = 28;

const _: () = assert!(B_LENGTH + 4 == B_KIND);
const _: () = assert!(B_KIND + 1 == B_RESERVED);
const _: () = assert!(B_RESERVED + 3 == B_BEFORE);
const _: () = assert!(B_BEFORE + 8 == B_ENTRIES);
const _: () = assert!(B_ENTRIES + 4 == B_RESERVED_2);
const _: () = assert!(B_RESERVED_2 + 4 == B_BODY_CRC);
const _: () = assert!(B_BODY_CRC + 4 == B_HEADER_CRC);
const _: () = assert!(B_HEADER_CRC + 4 == BLOCK_HEADER_BYTES);
const _: () = assert!(BLOCK_HEADER_BYTES.is_multiple_of(ALIGNMENT));

// The footer.
const F_ENTRIES: usize = 0;
const F_BLOCKS: usize = 8;
const F_CONTENT: usize = 16;
const F_LEASES: usize = 24;
const F_DIGEST: usize = 32;
const F_RESERVED: usize = 36;

const _: () = assert!(F_ENTRIES + 8 == F_BLOCKS);
const _: () = assert!(F_BLOCKS + 8 == F_CONTENT);
const _: () = assert!(F_CONTENT + 8 == F_LEASES);
const _: () = assert!(F_LEASES + 8 == F_DIGEST);
const _: () = assert!(F_DIGEST + 4 == F_RESERVED);
const _: () = assert!(F_RESERVED + 4 == FOOTER_BYTES);
const _: () = assert!(FOOTER_BYTES.is_multiple_of(ALIGNMENT));

/// The first block of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Header {
    pub(crate) uuid: Uuid,
    pub(crate) salt: u64,
    pub(crate) sequence: Sequence,
    pub(crate) revision: Revision,
    pub(crate) observed_at: Timestamp,
    pub(crate) created_at: Timestamp,
    pub(crate) segment_first: Sequence,
    pub(crate) segment_salt: u64,
    pub(crate) counting_from: Sequence,
    pub(crate) counting_at: Revision,
    pub(crate) timeline: Option<Timeline>,
    pub(crate) open_gap: Option<Gap>,
}

impl Header {
    pub(crate) fn seed(&self) -> Seed {
        Seed::new(self.uuid, self.salt)
    }

    pub(crate) fn encode(&self) -> Box<[u8; HEADER_BYTES]> {
        let context = Context {
            timeline: self.timeline.clone(),
            open_gap: self.open_gap,
            ..Context::default()
        };
        let mut b = FILE.begin(self.uuid, self.salt, &context);
        let out = b.as_mut_slice();
        put(out, H_SEQUENCE, &self.sequence.0.to_le_bytes());
        put(out, H_REVISION, &self.revision.0.to_le_bytes());
        put(out, H_OBSERVED, &self.observed_at.0.to_le_bytes());
        put(out, H_CREATED, &self.created_at.0.to_le_bytes());
        put(out, H_SEGMENT_FIRST, &self.segment_first.0.to_le_bytes());
        put(out, H_SEGMENT_SALT, &self.segment_salt.to_le_bytes());
        put(out, H_COUNTING_FROM, &self.counting_from.0.to_le_bytes());
        put(out, H_COUNTING_AT, &self.counting_at.0.to_le_bytes());
        header::seal(&mut b);
        b
    }

    pub(crate) fn decode(b: &[u8]) -> Result<Self, HeaderFault> {
        let b = FILE.verify(b)?;
        let (uuid, salt, context) = FILE.common(b)?;
        Ok(Self {
            uuid,
            salt,
            sequence: Sequence(u64_at(b, H_SEQUENCE)),
            revision: Revision(i64_at(b, H_REVISION)),
            observed_at: Timestamp(i64_at(b, H_OBSERVED)),
            created_at: Timestamp(i64_at(b, H_CREATED)),
            segment_first: Sequence(u64_at(b, H_SEGMENT_FIRST)),
            segment_salt: u64_at(b, H_SEGMENT_SALT),
            counting_from: Sequence(u64_at(b, H_COUNTING_FROM)),
            counting_at: Revision(i64_at(b, H_COUNTING_AT)),
            timeline: context.timeline,
            open_gap: context.open_gap,
        })
    }
}

/// What a block is. The numbers are the format's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Entries = 1,
    Footer = 2,
}

/// The header of a block, without its checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    pub(crate) body_bytes: u32,
    pub(crate) kind: Kind,
    /// How many entries come before this block.
    pub(crate) before: u64,
    pub(crate) entries: u32,
}

impl BlockHeader {
    /// The length on disk: header, body, padding.
    pub(crate) fn length(&self) -> usize {
        BLOCK_HEADER_BYTES + (self.body_bytes as usize).next_multiple_of(ALIGNMENT)
    }

    /// Writes the header into the first bytes of a block whose body and zero padding are in place.
    pub(crate) fn seal_into(&self, block: &mut [u8], seed: &Seed, offset: u64) -> Checksums {
        assert!(offset.is_multiple_of(ALIGNMENT as u64) && block.len() == self.length());
        assert!(self.body_bytes <= MAX_BLOCK_BYTES);
        let hasher = seed.at(offset);
        let (header, body) = block.split_at_mut(BLOCK_HEADER_BYTES);
        let mut body_crc = hasher.clone();
        body_crc.update(body);
        let body_crc = body_crc.finalize();
        header.fill(0);
        put(header, B_LENGTH, &self.body_bytes.to_le_bytes());
        header[B_KIND] = self.kind as u8;
        put(header, B_BEFORE, &self.before.to_le_bytes());
        put(header, B_ENTRIES, &self.entries.to_le_bytes());
        put(header, B_BODY_CRC, &body_crc.to_le_bytes());
        let mut header_crc = hasher;
        header_crc.update(&header[..B_HEADER_CRC]);
        let header_crc = header_crc.finalize();
        put(header, B_HEADER_CRC, &header_crc.to_le_bytes());
        Checksums {
            header: header_crc,
            payload: body_crc,
        }
    }

    /// Reads a header and verifies its own checksum, so that its length can be believed.
    pub(crate) fn decode(b: &[u8], seed: &Seed, offset: u64) -> Result<(Self, Checksums), String> {
        let mut crc = seed.at(offset);
        crc.update(&b[..B_HEADER_CRC]);
        let header_crc = u32_at(b, B_HEADER_CRC);
        if crc.finalize() != header_crc {
            return Err("the block header's checksum does not match".to_owned());
        }
        let kind = match b[B_KIND] {
            1 => Kind::Entries,
            2 => Kind::Footer,
            n => return Err(format!("block type {n} is unknown")),
        };
        let header = Self {
            body_bytes: u32_at(b, B_LENGTH),
            kind,
            before: u64_at(b, B_BEFORE),
            entries: u32_at(b, B_ENTRIES),
        };
        if b[B_RESERVED..B_BEFORE].iter().any(|b| *b != 0) || u32_at(b, B_RESERVED_2) != 0 {
            return Err("the block header's reserved bytes are not zero".to_owned());
        }
        if header.body_bytes > MAX_BLOCK_BYTES {
            return Err(format!("the block claims {} bytes", header.body_bytes));
        }
        let checksums = Checksums {
            header: header_crc,
            payload: u32_at(b, B_BODY_CRC),
        };
        Ok((header, checksums))
    }
}

/// The end of a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) entries: u64,
    pub(crate) blocks: u64,
    /// Bytes of all keys, values and attributes.
    pub(crate) content_bytes: u64,
    /// How many of the entries are leases.
    pub(crate) leases: u64,
    /// Over the checksums of all blocks before, in order.
    pub(crate) digest: u32,
}

impl Footer {
    pub(crate) fn encode(&self) -> [u8; FOOTER_BYTES] {
        let mut b = [0; FOOTER_BYTES];
        put(&mut b, F_ENTRIES, &self.entries.to_le_bytes());
        put(&mut b, F_BLOCKS, &self.blocks.to_le_bytes());
        put(&mut b, F_CONTENT, &self.content_bytes.to_le_bytes());
        put(&mut b, F_LEASES, &self.leases.to_le_bytes());
        put(&mut b, F_DIGEST, &self.digest.to_le_bytes());
        b
    }

    pub(crate) fn decode(b: &[u8]) -> Result<Self, String> {
        if b.len() != FOOTER_BYTES || u32_at(b, F_RESERVED) != 0 {
            return Err("the footer is not one".to_owned());
        }
        Ok(Self {
            entries: u64_at(b, F_ENTRIES),
            blocks: u64_at(b, F_BLOCKS),
            content_bytes: u64_at(b, F_CONTENT),
            leases: u64_at(b, F_LEASES),
            digest: u32_at(b, F_DIGEST),
        })
    }
}
