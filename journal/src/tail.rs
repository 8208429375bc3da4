//! The end of the journal: the segment that is being written, and how it gives way to the next.
//!
//! Only one thread at a time is here (the leader of a group). Nothing here retries: the first error
//! ends the journal's life in this process.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    Entry, IndexPoint, Result, Revision, Sequence,
    directory::Extent,
    layout::{
        Checksums, Digest, Kind, MAX_INDEX_POINTS, RecordHeader, SEAL_RESERVE_BYTES,
        SEGMENT_HEADER_BYTES, Seed, SegmentHeader,
    },
    payload::Payload,
    prepare::Prepare,
    queue::{self, Item, Queue},
    recovery, segment,
    storage::{Named, SharedStorage},
    tracker::Tracker,
};

/// From this size on a group's memory in the page cache is given back once it is synced. Nobody reads
/// it soon, and new cache pages for the next group can cost more than the disk does.
const FORGET_BYTES: u64 = 128 << 10;

/// The segment that is being written.
#[derive(Debug)]
pub(crate) struct Tail {
    storage: SharedStorage,
    dir: PathBuf,
    segment_bytes: u64,
    syncs: Arc<AtomicU64>,
    prepare: Option<Arc<Prepare>>,
    current: Current,
    /// Set once the current segment is sealed and durable: what is known at its end.
    sealed: Option<Box<Tracker>>,
}

/// One segment while it is written.
#[derive(Debug)]
struct Current {
    file: Named,
    header: SegmentHeader,
    seed: Seed,
    /// Where the next record goes.
    offset: u64,
    /// The last sequence written.
    last: Sequence,
    digest: Digest,
    records: u64,
    index: Vec<IndexPoint>,
    seal: Option<u64>,
}

impl Current {
    fn new(file: Named, header: SegmentHeader) -> Self {
        Self {
            seed: header.seed(),
            offset: SEGMENT_HEADER_BYTES as u64,
            last: header.first.previous(),
            file,
            header,
            digest: Digest::default(),
            records: 0,
            index: Vec::new(),
            seal: None,
        }
    }

    fn passed(&mut self, header: &RecordHeader, checksums: Checksums) {
        assert_eq!(header.sequence, self.last.next(), "sequences have no holes");
        self.digest.add(checksums);
        self.records += 1;
        self.last = header.sequence;
        self.offset += header.length();
    }
}

impl Tail {
    pub(crate) fn new(
        storage: SharedStorage,
        dir: PathBuf,
        segment_bytes: u64,
        file: Named,
        header: SegmentHeader,
        syncs: Arc<AtomicU64>,
        prepare: Option<Arc<Prepare>>,
    ) -> Self {
        Self {
            storage,
            dir,
            segment_bytes,
            syncs,
            prepare,
            current: Current::new(file, header),
            sealed: None,
        }
    }

    /// Writes a group and syncs it. `durable` is told of each part as soon as it is: a group
    /// that fills a segment becomes durable in parts. Nothing is written before what was written
    /// earlier is durable, so "everything before this part" is what its records call synced.
    pub(crate) fn write(
        &mut self,
        group: &mut Queue,
        mut durable: impl FnMut(Sequence),
    ) -> Result<()> {
        let mut from = 0;
        while from < group.items.len() {
            if let Some(tracker) = self.sealed.take() {
                self.rotate(&tracker)?;
            }
            let to = group.items[from..]
                .iter()
                .position(|i| matches!(i, Item::Seal { .. }))
                .map_or(group.items.len(), |n| from + n);
            let synced = self.current.last;
            let before = self.current.offset;
            if to > from {
                self.place(group, from, to, synced)?;
            }
            from = to;
            if let Some(Item::Seal { sequence, tracker }) = group.items.get_mut(to) {
                self.seal(*sequence, synced, tracker.covered)?;
                self.sealed = Some(std::mem::take(tracker));
                from = to + 1;
            }
            self.syncs.fetch_add(1, Ordering::Relaxed);
            self.current.file.sync_data()?;
            durable(self.current.last);
            let written = self.current.offset - before;
            if written >= FORGET_BYTES {
                self.current.file.forget(before, written);
            }
            if let Some(prepare) = &self.prepare {
                prepare.after_sync(written);
            }
        }
        Ok(())
    }

    /// Completes the records and writes them at once.
    fn place(&mut self, group: &mut Queue, from: usize, to: usize, synced: Sequence) -> Result<()> {
        let spacing = self.segment_bytes / MAX_INDEX_POINTS as u64 + 1;
        let current = &mut self.current;
        let base = current.offset;
        let mut begin = None;
        let mut end = 0;
        for item in &mut group.items[from..to] {
            let Item::Record {
                start,
                header,
                covered,
            } = item
            else {
                unreachable!("a part ends before a seal");
            };
            begin.get_or_insert(*start);
            end = *start + usize::try_from(header.length()).expect("it is in memory");
            header.synced = synced;
            let offset = current.offset;
            let bytes = &mut group.bytes[*start..end];
            let checksums = header.seal_into(bytes, &current.seed, offset);
            let last_point = current.index.last().map(|p| p.offset);
            if last_point.is_none_or(|at| offset - at >= spacing) {
                current.index.push(IndexPoint {
                    sequence: header.sequence,
                    covered: *covered,
                    offset,
                });
            }
            current.passed(header, checksums);
        }
        let bytes = &group.bytes[begin.expect("the part is not empty")..end];
        assert!(
            base + bytes.len() as u64 <= self.segment_bytes - SEAL_RESERVE_BYTES,
            "the queue put a seal where the segment is full"
        );
        if let Some(prepare) = &self.prepare {
            prepare.before_write(current.offset);
        }
        current.file.write_at(bytes, base)
    }

    /// Writes the seal; the next sync covers it.
    fn seal(&mut self, sequence: Sequence, synced: Sequence, covered: Revision) -> Result<()> {
        let current = &mut self.current;
        assert!(
            current.index.len() <= MAX_INDEX_POINTS,
            "points are spaced so that they fit"
        );
        let payload = Payload::new(&Entry::Seal {
            records: current.records,
            digest: current.digest.value(),
            index: std::mem::take(&mut current.index),
        });
        let header = RecordHeader {
            payload_bytes: u32::try_from(payload.len()).expect("the index is bounded"),
            kind: Kind::Seal,
            sequence,
            synced,
            revision: covered,
        };
        assert!(header.length() <= SEAL_RESERVE_BYTES);
        let offset = current.offset;
        let (bytes, checksums) = queue::single(&payload, &header, &current.seed, offset);
        current.passed(&header, checksums);
        current.seal = Some(offset);
        if let Some(prepare) = &self.prepare {
            prepare.before_write(current.offset);
        }
        current.file.write_at(&bytes, offset)
    }

    /// Starts the segment after the one that was sealed and is durable.
    fn rotate(&mut self, tracker: &Tracker) -> Result<()> {
        let extent = Extent {
            last: self.current.last,
            digest: self.current.digest.value(),
            end: self.current.offset,
            seal: self.current.seal,
        };
        let header = recovery::next_header(&*self.storage, &self.current.header, &extent, tracker);
        let spare = self.prepare.as_ref().and_then(|p| p.take_spare());
        let filled = if spare.is_some() {
            self.segment_bytes
        } else {
            SEGMENT_HEADER_BYTES as u64
        };
        let file = match spare {
            Some(spare) => segment::create_from(&*self.storage, &self.dir, &header, spare)?,
            None => segment::create(&*self.storage, &self.dir, &header, 0)?,
        };
        if let Some(prepare) = &self.prepare {
            prepare.entered(&file, SEGMENT_HEADER_BYTES as u64, filled);
        }
        self.current = Current::new(file, header);
        Ok(())
    }
}
