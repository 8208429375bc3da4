//! Records waiting for the disk, laid out back to back as they are going to lie in the file.
//!
//! Only what depends on the moment of writing is missing from them: the synced sequence, and the
//! checksum of the header, which covers it. Where a segment ends is decided here already, because
//! the seal takes a sequence of its own and callers are told theirs when they queue a record. So a
//! record's place in its file is known, and its bytes have an address that is the same modulo
//! [`BLOCK_BYTES`]: whole blocks can go to the disk as they are.

use uuid::Uuid;

use crate::{
    format::{
        layout::{
            ALIGNMENT, Checksums, RECORD_HEADER_BYTES, RecordHeader, SEAL_RESERVE_BYTES,
            SEGMENT_HEADER_BYTES, Seed, record_length,
        },
        payload::Payload,
    },
    model::ids::Sequence,
    replay::tracker::Tracker,
    storage::{traits::BLOCK_BYTES, zeros::in_block},
};

/// One thing to be done, in order.
#[derive(Debug)]
pub(crate) enum Item {
    /// Write a record.
    Record {
        /// Where it begins in the queue's bytes.
        start: usize,
        header: RecordHeader,
        payload_crc: u32,
    },
    /// Seal the segment; what follows goes into the next.
    Seal {
        sequence: Sequence,
        /// What is known at that point.
        tracker: Box<Tracker>,
        /// The salt of the next segment.
        next_salt: u64,
    },
}

/// Records back to back, in order of the file. Between those of two segments there is room for the
/// seal.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Never grows by itself, as it would lose its address: see [`Queue::make_room`].
    bytes: Vec<u8>,
    /// Index of the first byte, at the beginning of a block; other places are counted from here.
    origin: usize,
    pub(crate) items: Vec<Item>,
}

/// No buffer is shrunk below this.
const KEEP_BYTES: usize = 64 << 10;

const SEAL_BYTES: usize = 16 << 10;
const _: () = assert!(SEAL_BYTES as u64 == SEAL_RESERVE_BYTES);

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many bytes are queued.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.origin
    }

    /// Empties the queue and keeps its memory for the next group, unless that was far more than
    /// this group needed: one burst does not cost memory for ever, and steady load allocates
    /// nothing.
    pub(crate) fn clear(&mut self) {
        if self.len() < self.bytes.capacity() / 16 && self.bytes.capacity() > KEEP_BYTES {
            self.bytes = Vec::with_capacity((self.len() * 2).max(KEEP_BYTES));
        }
        if self.items.len() < self.items.capacity() / 16 {
            self.items.shrink_to((self.items.len() * 2).max(64));
        }
        self.bytes.clear();
        self.origin = 0;
        self.items.clear();
    }

    /// Puts a record at the end; `place` is where it is going to lie.
    pub(crate) fn push(&mut self, payload: &Payload<'_>, header: RecordHeader, place: &Place) {
        let length = usize::try_from(header.length()).expect("bounded by an option");
        match self.items.last() {
            Some(Item::Record { .. }) => {}
            Some(Item::Seal { .. }) => self.begin_segment(),
            None => self.begin(place.offset),
        }
        self.make_room(length);
        let start = self.len();
        append(&mut self.bytes, payload, &header);
        let payload_crc = RecordHeader::payload_checksum(
            &self.bytes[self.origin + start + RECORD_HEADER_BYTES..],
            &place.seed,
            place.offset,
        );
        self.items.push(Item::Record {
            start,
            header,
            payload_crc,
        });
    }

    /// The first record of a group: behind the part of its block that was written before.
    fn begin(&mut self, offset: u64) {
        let before = in_block(offset);
        self.make_room(before);
        self.bytes.resize(self.origin + before, 0);
    }

    /// The first record of another segment: behind the seal of the one before, in a block of its
    /// own.
    fn begin_segment(&mut self) {
        // If the group has nothing of the one before, its seal goes behind the part of a block.
        let to = (self.len() + BLOCK_BYTES + SEAL_BYTES).next_multiple_of(BLOCK_BYTES);
        self.make_room(to - self.len());
        self.bytes.resize(self.origin + to, 0);
    }

    /// Makes sure that so many more bytes, a seal and the rest of a block fit, and that the origin
    /// has the address of a block.
    fn make_room(&mut self, more: usize) {
        let needed = self.len() + more + SEAL_BYTES + BLOCK_BYTES;
        if self.bytes.capacity() >= self.origin + needed && self.is_aligned() {
            return;
        }
        let old = std::mem::take(&mut self.bytes);
        let content = &old[self.origin..];
        let capacity = needed.max(old.capacity() * 2) + BLOCK_BYTES;
        let mut new = if content.is_empty() && old.capacity() >= needed + BLOCK_BYTES {
            Vec::new()
        } else {
            Vec::with_capacity(capacity)
        };
        if new.capacity() == 0 {
            // It is large enough, and empty: only the origin has to be found.
            new = old;
            new.clear();
            self.origin = new.as_ptr().align_offset(BLOCK_BYTES);
            new.resize(self.origin, 0);
        } else {
            let origin = new.as_ptr().align_offset(BLOCK_BYTES);
            new.resize(origin, 0);
            new.extend_from_slice(content);
            self.origin = origin;
        }
        self.bytes = new;
        assert!(self.bytes.capacity() >= self.origin + needed);
    }

    fn is_aligned(&self) -> bool {
        self.bytes.as_ptr().align_offset(BLOCK_BYTES) == self.origin
    }

    /// The bytes of `from..to`.
    pub(crate) fn part(&mut self, from: usize, to: usize) -> &mut [u8] {
        &mut self.bytes[self.origin + from..self.origin + to]
    }

    /// Puts the seal behind `end`, where there is room for it; returns where it ends.
    pub(crate) fn put_seal(&mut self, end: usize, seal: &[u8]) -> usize {
        assert!(seal.len() <= SEAL_BYTES);
        let to = end + seal.len();
        self.extend_to(to);
        self.part(end, to).copy_from_slice(seal);
        to
    }

    /// Makes sure that the queue has bytes up to `to`, zeros if they are new. There is always room
    /// for a seal and the rest of a block.
    pub(crate) fn extend_to(&mut self, to: usize) {
        if self.len() < to {
            assert!(self.bytes.capacity() >= self.origin + to);
            self.bytes.resize(self.origin + to, 0);
        }
    }
}

/// Appends a record whose checksums are still missing.
fn append(bytes: &mut Vec<u8>, payload: &Payload<'_>, header: &RecordHeader) {
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
    payload: &Payload<'_>,
    header: &RecordHeader,
    seed: &Seed,
    offset: u64,
) -> (Vec<u8>, Checksums) {
    let mut bytes = Vec::new();
    append(&mut bytes, payload, header);
    let checksums = header.seal_into(&mut bytes, seed, offset);
    (bytes, checksums)
}

/// Where the next queued record is going to lie: how full its segment is then, and what its
/// checksums start from.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    uuid: Uuid,
    segment_bytes: u64,
    offset: u64,
    seed: Seed,
}

impl Place {
    /// The beginning of a segment with this salt.
    pub(crate) fn new(uuid: Uuid, segment_bytes: u64, salt: u64) -> Self {
        Self {
            uuid,
            segment_bytes,
            offset: SEGMENT_HEADER_BYTES as u64,
            seed: Seed::new(uuid, salt),
        }
    }

    /// Whether a record with this payload fits.
    pub(crate) fn fits(&self, payload_bytes: u32) -> bool {
        self.offset + record_length(payload_bytes) <= self.segment_bytes - SEAL_RESERVE_BYTES
    }

    /// Goes on behind a record with this payload.
    pub(crate) fn pass(&mut self, payload_bytes: u32) {
        self.offset += record_length(payload_bytes);
    }

    /// The segment was sealed; the next has this salt.
    pub(crate) fn enter_segment(&mut self, salt: u64) {
        *self = Self::new(self.uuid, self.segment_bytes, salt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        format::{kind::Kind, position::RecordPosition},
        model::{
            entry::{Change, Entry},
            ids::Revision,
            time::Timestamp,
        },
    };

    /// Whatever is queued, grown and cleared: records have the address that they have in the file.
    #[test]
    fn a_record_has_the_address_modulo_a_block_that_it_has_in_the_file() {
        let mut rng = fastrand::Rng::new();
        let seed = rng.get_seed();
        println!("seed {seed}");
        let mut queue = Queue::default();
        let mut place = Place::new(Uuid::nil(), 1 << 30, 7);
        let (mut sequence, mut looked_at) = (1, 0);
        for _ in 0..200 {
            for _ in 0..rng.usize(1..20) {
                let longest = [100, 5_000, 300_000][rng.usize(..3)];
                let value = vec![9; rng.usize(..longest)];
                let entry = Entry::Changes {
                    changes: vec![Change::set("/a", value)],
                    observed_at: Timestamp(1),
                };
                let payload = Payload::new(&entry);
                let header = RecordHeader {
                    payload_bytes: u32::try_from(payload.len()).unwrap(),
                    kind: Kind::Changes,
                    sequence: Sequence(sequence),
                    synced: Sequence::NONE,
                    revision: Revision(1),
                    position: RecordPosition::default(),
                };
                sequence += 1;
                let offset = place.offset;
                queue.push(&payload, header, &place);
                place.pass(header.payload_bytes);
                let Some(Item::Record { start, .. }) = queue.items.last() else {
                    unreachable!();
                };
                let (start, length) = (*start, queue.len());
                let address = queue.part(start, length).as_ptr().align_offset(BLOCK_BYTES);
                let wanted = (BLOCK_BYTES - in_block(offset)) % BLOCK_BYTES;
                assert_eq!(address, wanted);
                looked_at += 1;
                if rng.u8(..10) == 0 {
                    queue.items.push(Item::Seal {
                        sequence: Sequence(sequence),
                        tracker: Box::default(),
                        next_salt: 8,
                    });
                    sequence += 1;
                    place.enter_segment(8);
                }
            }
            let end = queue.len();
            let sealed = queue.put_seal(end, &[1; SEAL_BYTES]);
            queue.extend_to(sealed.next_multiple_of(BLOCK_BYTES));
            queue.clear();
        }
        println!("{looked_at} records");
    }
}
