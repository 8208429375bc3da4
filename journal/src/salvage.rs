//! Takes out of one damaged segment every record that verifies and writes them into a new one, with
//! a record of the loss in the place of each hole.
//!
//! Streams: memory does not grow with the segment.

use crate::{
    Entry, Result, Revision, Sequence, Timestamp,
    directory::Extent,
    layout::{Digest, Kind, RecordHeader, SEGMENT_HEADER_BYTES, Seed, SegmentHeader},
    payload::{self, Payload},
    queue,
    scan::{self, Source},
    storage::Named,
    tracker::Tracker,
};

/// How much is gathered before it is written.
const WRITE_BYTES: usize = 1 << 20;

/// What the headers in a segment prove, whether or not their payloads are whole.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Evidence {
    /// The newest sequence that is there whole, or that was synced.
    pub(crate) last: Sequence,
    /// The newest revision that any header names.
    pub(crate) revision: Revision,
}

/// Whether anything in the file verifies by this seed.
pub(crate) fn any_record(source: &mut Source, seed: &Seed) -> Result<bool> {
    let mut any = false;
    scan::search(
        source,
        seed,
        SEGMENT_HEADER_BYTES as u64,
        |_, _| {
            any = true;
            false
        },
        u64::MAX,
    )?;
    Ok(any)
}

pub(crate) fn evidence(source: &mut Source, seed: &Seed) -> Result<Evidence> {
    let mut evidence = Evidence::default();
    let mut offsets = Vec::new();
    scan::search(
        source,
        seed,
        SEGMENT_HEADER_BYTES as u64,
        |offset, header| {
            evidence.last = evidence.last.max(header.synced);
            evidence.revision = evidence.revision.max(header.revision);
            // Only the newest can say more than the synced sequences do.
            offsets.retain(|(s, _)| *s > header.synced);
            offsets.push((header.sequence, offset));
            true
        },
        u64::MAX,
    )?;
    for (sequence, offset) in offsets {
        if sequence > evidence.last && scan::look(source, seed, offset)?.is_ok() {
            evidence.last = sequence;
        }
    }
    Ok(evidence)
}

/// What is to be salvaged.
pub(crate) struct Salvage<'a> {
    /// The damaged file, and by what its records verify. `None`: there is none.
    pub(crate) source: Option<(&'a mut Source, Option<&'a Seed>)>,
    /// The first sequence that was in it.
    pub(crate) first: Sequence,
    /// The last sequence that is known to have been in it.
    pub(crate) known_last: Sequence,
    /// The newest revision that may have been covered by its end.
    pub(crate) after: Revision,
}

/// Sequences that are lost, and revisions that may be lost with them (none if first > last).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hole {
    pub(crate) first: Sequence,
    pub(crate) last: Sequence,
    pub(crate) first_revision: Revision,
    pub(crate) last_revision: Revision,
    pub(crate) offset: u64,
}

/// The new segment, all but its header.
pub(crate) struct Rewritten {
    pub(crate) extent: Extent,
    pub(crate) records: u64,
    pub(crate) holes: Vec<Hole>,
}

/// Writes the new segment's records into `target`.
pub(crate) fn rewrite(
    job: Salvage<'_>,
    target: &Named,
    header: &SegmentHeader,
    tracker: &mut Tracker,
    now: Timestamp,
) -> Result<Rewritten> {
    let mut out = Output {
        target,
        seed: header.seed(),
        buffer: Vec::new(),
        flushed: SEGMENT_HEADER_BYTES as u64,
        digest: Digest::default(),
        records: 0,
        next: job.first,
        synced: header.synced,
        holes: Vec::new(),
        tracker,
        now,
    };
    let mut at = SEGMENT_HEADER_BYTES as u64;
    if let Some((source, Some(seed))) = job.source {
        while let Some(offset) = next_whole(source, seed, at, out.next)? {
            let raw = scan::look(source, seed, offset)?.expect("it was whole a moment ago");
            let entry = payload::decode(raw.header.kind, raw.payload).expect("it decoded");
            let h = raw.header;
            // A loss recorded by an earlier repair may be part of a larger one now.
            let from = match entry {
                Entry::Lost { first_sequence, .. } => first_sequence,
                _ => h.sequence,
            };
            if out.next < from {
                let last_revision = revision_before(&h, &entry);
                out.lose(from.previous(), last_revision, at)?;
            }
            at = offset + h.length();
            out.keep(h, entry)?;
        }
    }
    if out.next <= job.known_last {
        out.lose(job.known_last, job.after, at)?;
    }
    out.flush()?;
    Ok(Rewritten {
        extent: Extent {
            last: out.next.previous(),
            digest: out.digest.value(),
            end: out.flushed,
            seal: None,
        },
        records: out.records,
        holes: out.holes,
    })
}

/// The newest revision that may have been lost in a hole that ends before this record.
fn revision_before(header: &RecordHeader, entry: &Entry) -> Revision {
    match entry {
        Entry::Changes { .. } => header.revision.previous(),
        Entry::Gap { first, .. } => first.previous(),
        _ => header.revision,
    }
}

/// The first offset from `at` on with a whole record that can follow.
fn next_whole(
    source: &mut Source,
    seed: &Seed,
    at: u64,
    expected: Sequence,
) -> Result<Option<u64>> {
    let mut from = at;
    loop {
        if is_whole(source, seed, from, expected)? {
            return Ok(Some(from));
        }
        let mut found = None;
        scan::search(
            source,
            seed,
            from + 1,
            |offset, header| {
                if header.sequence >= expected {
                    found = Some(offset);
                }
                found.is_none()
            },
            u64::MAX,
        )?;
        match found {
            Some(offset) => from = offset,
            None => return Ok(None),
        }
    }
}

fn is_whole(source: &mut Source, seed: &Seed, at: u64, expected: Sequence) -> Result<bool> {
    Ok(match scan::look(source, seed, at)? {
        Ok(raw) => {
            raw.header.sequence >= expected
                && match payload::decode(raw.header.kind, raw.payload) {
                    Ok(Entry::Lost { first_sequence, .. }) => first_sequence >= expected,
                    Ok(_) => true,
                    Err(_) => false,
                }
        }
        Err(_) => false,
    })
}

struct Output<'a> {
    target: &'a Named,
    seed: Seed,
    buffer: Vec<u8>,
    flushed: u64,
    digest: Digest,
    records: u64,
    next: Sequence,
    synced: Sequence,
    holes: Vec<Hole>,
    tracker: &'a mut Tracker,
    now: Timestamp,
}

impl Output<'_> {
    fn keep(&mut self, mut header: RecordHeader, entry: Entry) -> Result<()> {
        let entry = match entry {
            // Its digest and offsets were those of the old file.
            Entry::Seal { .. } => Entry::Seal {
                records: self.records,
                digest: self.digest.value(),
                index: Vec::new(),
            },
            other => other,
        };
        self.records += 1;
        header.synced = header.synced.max(self.synced);
        self.put(header, &entry)
    }

    fn lose(&mut self, last: Sequence, last_revision: Revision, offset: u64) -> Result<()> {
        let (first_revision, last_revision) = match self.tracker.open_gap {
            Some(gap) if self.tracker.in_difference() => (gap.first, gap.last.max(last_revision)),
            _ => (self.tracker.covered.next(), last_revision),
        };
        let hole = Hole {
            first: self.next,
            last,
            first_revision,
            last_revision,
            offset,
        };
        self.holes.push(hole);
        let header = RecordHeader {
            payload_bytes: 0,
            kind: Kind::Lost,
            sequence: last,
            synced: self.synced,
            revision: self.tracker.covered,
        };
        let entry = Entry::Lost {
            first_sequence: hole.first,
            first: first_revision,
            last: last_revision,
            observed_at: self.now,
        };
        self.put(header, &entry)
    }

    fn put(&mut self, mut header: RecordHeader, entry: &Entry) -> Result<()> {
        let payload = Payload::new(entry);
        header.payload_bytes = u32::try_from(payload.len()).expect("it came from a record");
        let offset = self.flushed + self.buffer.len() as u64;
        let (bytes, checksums) = queue::single(&payload, &header, &self.seed, offset);
        self.buffer.extend_from_slice(&bytes);
        self.digest.add(checksums);
        self.tracker.apply(header.revision, entry);
        self.synced = header.synced;
        self.next = header.sequence.next();
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.target.write_at(&self.buffer, self.flushed)?;
        self.flushed += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
