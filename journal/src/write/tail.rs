//! The end of the journal: the segment that is being written, and how it gives way to the next.
//!
//! Only one thread at a time is here (the leader of a group). Nothing here retries: the first error
//! ends the journal's life in this process.

use std::{
    ops::Range,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    error::{Error, Result},
    format::{
        kind::Kind,
        layout::{
            Checksums, Digest, MAX_INDEX_POINTS, RecordHeader, SEAL_RESERVE_BYTES,
            SEGMENT_HEADER_BYTES, Seed, SegmentHeader,
        },
        names::segment_name,
        payload::Payload,
    },
    model::{
        entry::{Entry, IndexPoint},
        ids::Sequence,
    },
    options::Options,
    recovery::end::next_header,
    replay::tracker::Tracker,
    segment::{create, open::Extent},
    storage::{
        file_handle::FileHandle,
        traits::{BLOCK_BYTES, SharedStorage},
        zeros::in_block,
    },
    write::{
        prepare::Prepare,
        queue::{self, Item, Queue},
    },
};

/// The segment that is being written.
#[derive(Debug)]
pub(crate) struct Tail {
    storage: SharedStorage,
    dir: PathBuf,
    segment_bytes: u64,
    syncs: Arc<AtomicU64>,
    prepare: Option<Arc<Prepare>>,
    current: Current,
    /// Set once the current segment is sealed and durable.
    sealed: Option<Sealed>,
    /// From this size on a group is written past the page cache.
    pub(crate) uncached_bytes: usize,
}

/// What is known where a segment ends.
#[derive(Debug)]
struct Sealed {
    tracker: Box<Tracker>,
    next_salt: u64,
}

/// One segment while it is written.
#[derive(Debug)]
struct Current {
    file: FileHandle,
    header: SegmentHeader,
    seed: Seed,
    /// Where the next record goes.
    offset: u64,
    /// What was written of the block that this lies in.
    block: Vec<u8>,
    /// The last sequence written.
    last: Sequence,
    digest: Digest,
    records: u64,
    index: Vec<IndexPoint>,
    seal: Option<u64>,
    /// How long the file is at least, as far as was seen. Nobody makes it shorter.
    length: u64,
    /// Whether the file has its own name. It gets it when it was synced for the first time, before
    /// that sync is told of.
    named: bool,
}

impl Current {
    fn new(file: FileHandle, header: SegmentHeader, named: bool) -> Self {
        Self {
            seed: header.seed(),
            offset: SEGMENT_HEADER_BYTES as u64,
            block: Vec::with_capacity(BLOCK_BYTES),
            last: header.first.previous(),
            file,
            header,
            digest: Digest::default(),
            records: 0,
            index: Vec::new(),
            seal: None,
            length: SEGMENT_HEADER_BYTES as u64,
            named,
        }
    }

    /// Between the sync and the acknowledgement: fails if the file is not found by its name any
    /// more, or was cut. A file that was cut and then written to has a hole, and is short unless
    /// that write made it longer than it ever was: see [`Current::before_growth`].
    fn check_file(&mut self, end: u64) -> Result<()> {
        match self.file.len_if_named()? {
            Some(length) if length >= self.length.max(end) => {
                self.length = length;
                Ok(())
            }
            Some(length) => Err(self.lost(format!(
                "the segment was cut to {length} bytes, of {} that it had,",
                self.length.max(end)
            ))),
            None => Err(self.lost("the segment was removed, moved or replaced".to_owned())),
        }
    }

    /// Before a write up to `end`: fails if the write would hide that the file was cut.
    fn before_growth(&self, end: u64) -> Result<()> {
        if end < self.length {
            return Ok(());
        }
        let length = self.file.len()?;
        if length < self.length {
            let had = self.length;
            return Err(self.lost(format!(
                "the segment was cut to {length} bytes, of {had} that it had,"
            )));
        }
        Ok(())
    }

    fn lost(&self, detail: String) -> Error {
        Error::SegmentLost {
            path: self.file.path.to_path_buf(),
            detail,
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
        options: &Options,
        file: FileHandle,
        header: SegmentHeader,
        syncs: Arc<AtomicU64>,
        prepare: Option<Arc<Prepare>>,
    ) -> Self {
        Self {
            storage,
            dir,
            segment_bytes: options.segment_bytes,
            uncached_bytes: options.uncached_bytes,
            syncs,
            prepare,
            current: Current::new(file, header, true),
            sealed: None,
        }
    }

    /// Writes a group and syncs it. `durable` is told of each part as soon as it is: a group
    /// that fills a segment becomes durable in parts. Nothing is written before what was written
    /// earlier is durable, so "everything before this part" is what its records call synced.
    ///
    /// A part is told of only while the segment has its name and all of its bytes: what lies in a
    /// file that somebody removed is found by nobody. The directory itself is looked after by
    /// `is_ours`: its lock file is not the one that is held if the directory was moved or replaced.
    ///
    /// `is_ours` fails if somebody else may have opened the journal. It is asked before a file gets
    /// the name of a segment, which would take the place of the other's, and before `durable` is
    /// told.
    pub(crate) fn write(
        &mut self,
        group: &mut Queue,
        is_ours: impl Fn() -> Result<()>,
        mut durable: impl FnMut(Sequence),
    ) -> Result<()> {
        if let Some(prepare) = &self.prepare {
            prepare.check()?;
        }
        let mut from = 0;
        while from < group.items.len() {
            if let Some(sealed) = self.sealed.take() {
                is_ours()?;
                self.rotate(&sealed)?;
            }
            let is_seal = |i: &Item| matches!(i, Item::Seal { .. });
            let to = group.items[from..].iter().position(is_seal);
            let to = to.map_or(group.items.len(), |n| from + n);
            let synced = self.current.last;
            let begin = self.current.offset;
            let mut part = self.place(group, from, to, synced);
            from = to;
            if let Some(Item::Seal {
                sequence,
                tracker,
                next_salt,
            }) = group.items.get_mut(to)
            {
                let (sequence, next_salt) = (*sequence, *next_salt);
                let tracker = std::mem::take(tracker);
                let seal = self.seal(sequence, synced, &tracker);
                part.end = group.put_seal(part.end, &seal);
                self.sealed = Some(Sealed { tracker, next_salt });
                from = to + 1;
            }
            self.syncs.fetch_add(1, Ordering::Relaxed);
            self.put_down(group, &part, begin)?;
            is_ours()?;
            self.name()?;
            self.current.check_file(self.current.offset)?;
            durable(self.current.last);
            if let Some(prepare) = &self.prepare {
                prepare.after_sync(self.current.offset - begin, self.current.length);
            }
        }
        Ok(())
    }

    /// Completes the records of a part and says where in the group it lies.
    fn place(
        &mut self,
        group: &mut Queue,
        from: usize,
        to: usize,
        synced: Sequence,
    ) -> Range<usize> {
        let spacing = self.segment_bytes / MAX_INDEX_POINTS as u64 + 1;
        let current = &mut self.current;
        let mut part: Option<Range<usize>> = None;
        let mut items = std::mem::take(&mut group.items);
        for item in &mut items[from..to] {
            let Item::Record {
                start,
                header,
                payload_crc,
            } = item
            else {
                unreachable!("a part ends before a seal");
            };
            let end = *start + usize::try_from(header.length()).expect("it is in memory");
            header.synced = synced;
            let offset = current.offset;
            let bytes = group.part(*start, end);
            let checksums = header.complete(bytes, *payload_crc, &current.seed, offset);
            let last_point = current.index.last().map(|p| p.offset);
            if last_point.is_none_or(|at| offset - at >= spacing) {
                current.index.push(IndexPoint {
                    sequence: header.sequence,
                    covered: header.position.prev_revision,
                    offset,
                });
            }
            current.passed(header, checksums);
            part.get_or_insert(*start..*start).end = end;
        }
        group.items = items;
        assert!(
            current.offset <= self.segment_bytes - SEAL_RESERVE_BYTES,
            "the queue put a seal where the segment is full"
        );
        // A seal may stand alone: its group's records are those of the group before.
        part.unwrap_or_else(|| {
            let begin = in_block(current.offset);
            group.extend_to(begin);
            begin..begin
        })
    }

    /// Writes what lies at `part` of the group to the file at `offset`, and syncs it.
    ///
    /// Whole blocks, where they are made ready or go past the cache: neither the disk nor the page
    /// cache then has to read what stands in the rest of a block. What was in the first of them
    /// before is written again, as it is; behind the last record there are zeros in any case.
    fn put_down(&mut self, group: &mut Queue, part: &Range<usize>, offset: u64) -> Result<()> {
        let current = &mut self.current;
        let first = part.start - current.block.len();
        assert!(first.is_multiple_of(BLOCK_BYTES) && in_block(offset) == current.block.len());
        let last = part.end.next_multiple_of(BLOCK_BYTES);
        group.extend_to(last);
        group
            .part(first, part.start)
            .copy_from_slice(&current.block);
        let at = offset - current.block.len() as u64;
        current.block.clear();
        let unfinished = part.end - part.end % BLOCK_BYTES;
        current
            .block
            .extend_from_slice(group.part(unfinished, part.end));

        let end = at + (last - first) as u64;
        current.before_growth(end)?;
        let is_filled = match &self.prepare {
            Some(prepare) => prepare.before_write(end),
            None => false,
        };
        if part.len() >= self.uncached_bytes {
            if current.named {
                return current.file.write_through(group.part(first, last), at);
            }
            // The header was written through the cache and has to be durable as well, and a write
            // that is a sync of its own covers no other bytes.
            current.file.write_around(group.part(first, last), at)?;
            return current.file.sync_data();
        }
        if is_filled {
            current.file.write_at(group.part(first, last), at)?;
        } else {
            current
                .file
                .write_at(group.part(part.start, part.end), offset)?;
        }
        current.file.sync_data()
    }

    /// Makes the seal, which belongs behind the last record.
    fn seal(&mut self, sequence: Sequence, synced: Sequence, tracker: &Tracker) -> Vec<u8> {
        let current = &mut self.current;
        assert!(
            current.index.len() <= MAX_INDEX_POINTS,
            "points are spaced so that they fit"
        );
        let entry = Entry::Seal {
            records: current.records,
            digest: current.digest.value(),
            index: std::mem::take(&mut current.index),
        };
        let payload = Payload::new(&entry);
        let header = RecordHeader {
            payload_bytes: u32::try_from(payload.len()).expect("the index is bounded"),
            kind: Kind::Seal,
            sequence,
            synced,
            revision: tracker.covered,
            position: tracker.position(&entry),
        };
        assert!(header.length() <= SEAL_RESERVE_BYTES);
        let offset = current.offset;
        let (bytes, checksums) = queue::single(&payload, &header, &current.seed, offset);
        current.passed(&header, checksums);
        current.seal = Some(offset);
        bytes
    }

    /// Starts the segment after the one that was sealed and is durable. Where its file was made
    /// ready, the header is only written here: the sync of the first records covers it.
    fn rotate(&mut self, sealed: &Sealed) -> Result<()> {
        // Nothing looks at this segment again while later ones are acknowledged.
        self.current.check_file(self.current.offset)?;
        let extent = Extent {
            last: self.current.last,
            digest: self.current.digest.value(),
            end: self.current.offset,
            seal: self.current.seal,
        };
        let header = next_header(
            &*self.storage,
            sealed.next_salt,
            &self.current.header,
            &extent,
            &sealed.tracker,
        );
        if let Some(prepare) = &self.prepare
            && let Some((ready, filled)) = prepare.take_next()
        {
            ready.write_at(header.encode().as_slice(), 0)?;
            prepare.enter(SEGMENT_HEADER_BYTES as u64, filled);
            self.current = Current::new(ready, header, false);
            return Ok(());
        }
        let file = create::segment(&*self.storage, &self.dir, &header, 0)?;
        if let Some(prepare) = &self.prepare {
            let written = SEGMENT_HEADER_BYTES as u64;
            prepare.enter(written, written);
            prepare.entered(&file);
        }
        self.current = Current::new(file, header, true);
        Ok(())
    }

    /// Gives the segment its name, if it has been synced under the one of what is made ready. The
    /// directory is synced in the background: until then the segment is found by its header.
    fn name(&mut self) -> Result<()> {
        let current = &mut self.current;
        if current.named {
            return Ok(());
        }
        let path = self.dir.join(segment_name(current.header.first));
        create::rename(&*self.storage, &mut current.file, path)?;
        current.named = true;
        if let Some(prepare) = &self.prepare {
            prepare.entered(&current.file);
        }
        Ok(())
    }
}
