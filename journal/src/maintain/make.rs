//! Makes a checkpoint: the one before, merged with what happened since, under a temporary name;
//! synced, read back, and only then named.
//!
//! A crash at any point leaves a temporary file, which the next opening removes, or the complete
//! checkpoint. A failure removes what it leaves. A file of that name is replaced only by a complete
//! one.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};

use crate::{
    checkpoint::{blocks::BlockWriter, buffers::Meter, file::Checkpoint, history::History},
    directory::{
        handle::Directory,
        listing::Listing,
        lock::{exclusive, take_lock},
    },
    error::{Error, Result},
    format::{
        checkpoint::Header,
        header::HEADER_BYTES,
        names::{Name, checkpoint_name, classify, segment_name},
    },
    maintain::{
        collect::{Collected, Point, collect},
        merge::{Input, Merge},
        runs::{BUFFER_BYTES, SortContext},
    },
    model::ids::{Revision, Sequence},
    read::reader::Reader,
    replay::last_segment::read_last,
    segment::{create, open::Segment},
    stop::Stop,
    storage::{
        file_handle::FileHandle,
        salt::new_salt,
        traits::{Access, Storage},
    },
    write::journal::Journal,
};

/// A checkpoint is synced after so many bytes, again and again. The disk that it lies on is the one
/// that commits wait for, and a large state that is synced in one go keeps it busy for as long as
/// that takes.
const SYNC_BYTES: u64 = 2 << 20;

/// What became of the attempt to make a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointOutcome {
    /// There is a new one.
    Written,
    /// Nothing consistent happened since the newest one.
    Current,
    /// The journal covers nothing yet, or nothing but a snapshot diff that is not complete.
    NoConsistentPoint,
    /// A checkpoint of another timeline is at this very revision. It may be the only one that an
    /// older state can be told from, so it stays; a checkpoint can be made once the revision has
    /// moved on.
    NameTaken,
}

/// What was done.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckpointReport {
    /// Whether there is a new checkpoint.
    pub outcome: CheckpointOutcome,
    /// The checkpoint that is newest now.
    pub newest: Option<Checkpoint>,
    /// The checkpoint that it was made from; `None`: from the first record on.
    pub merged_from: Option<Revision>,
    /// Checkpoints that were found damaged and passed over.
    pub damaged: Vec<Error>,
    /// The most memory that was held in buffers at any time, in bytes.
    pub peak_buffer_bytes: usize,
    /// How many sorted parts were written because the changes did not fit into the buffer.
    pub runs: u64,
}

impl Journal {
    /// Makes a checkpoint of what is consistent and durable. Meant to be called from a thread of
    /// its own while others append: it reads files only, and never waits for a writer or makes one
    /// wait.
    ///
    /// If a checkpoint or retention is under way already: [`crate::Error::Locked`].
    ///
    /// # Errors
    /// Damage in what is read, and a disk without room. What was journaled is not affected, and no
    /// half a checkpoint is left that counts.
    pub fn checkpoint(&self) -> Result<CheckpointReport> {
        self.checkpoint_unless(&Stop::new())
    }

    /// [`Journal::checkpoint`], which ends with [`crate::Error::Stopped`] soon after `stop` has
    /// been asked.
    ///
    /// # Errors
    /// As [`Journal::checkpoint`].
    pub fn checkpoint_unless(&self, stop: &Stop) -> Result<CheckpointReport> {
        let reader = self.reader()?;
        let upto = self.end().durable;
        run(reader.directory(), upto, BUFFER_BYTES, stop)
    }

    /// How long the segments are that begin behind this record. What is behind it in the record's
    /// own segment is not counted, nor the segment being written: see [`Journal::appended_bytes`].
    ///
    /// # Errors
    /// The disk's.
    pub fn segment_bytes_after(&self, sequence: Sequence) -> Result<u64> {
        let reader = self.reader()?;
        let listing = Listing::read(reader.directory().storage(), self.dir())?;
        let last = listing.segments.keys().next_back().copied();
        let mut bytes = 0;
        for (first, path) in listing.segments.range(sequence.next()..) {
            if Some(*first) != last {
                bytes +=
                    FileHandle::open(reader.directory().storage(), path, Access::Read)?.len()?;
            }
        }
        Ok(bytes)
    }
}

impl Directory {
    /// Makes a checkpoint of the journal, which nobody has open for writing: of all that its own
    /// records prove to be durable.
    ///
    /// # Errors
    /// As [`Journal::checkpoint`]; [`crate::Error::Locked`] also while a process has the journal
    /// open.
    pub fn checkpoint(&self) -> Result<CheckpointReport> {
        self.checkpoint_within(BUFFER_BYTES)
    }

    /// [`Directory::checkpoint`] with so many bytes of changes sorted in memory at once. What does
    /// not fit is sorted in temporary files.
    ///
    /// # Errors
    /// As [`Directory::checkpoint`].
    pub fn checkpoint_within(&self, buffer_bytes: usize) -> Result<CheckpointReport> {
        let (storage, dir) = (self.storage(), self.path());
        let listing = Listing::read(storage, dir)?;
        if listing.segments.is_empty() {
            return Err(listing.not_a_journal(dir));
        }
        let _lock = take_lock(storage, dir)?;
        let upto = proven_durable(storage, dir)?;
        run(self, upto, buffer_bytes, &Stop::new())
    }
}

/// The newest sequence that the journal itself proves to be durable.
fn proven_durable(storage: &dyn Storage, dir: &Path) -> Result<Sequence> {
    let listing = Listing::read(storage, dir)?;
    let Some((first, path)) = listing.segments.last_key_value() else {
        return Err(listing.not_a_journal(dir));
    };
    let last = Segment::open(storage, path, *first)?;
    Ok(read_last(&last)?.scan.synced)
}

/// Makes a checkpoint of what is consistent up to `upto`, which must be durable. `buffer_bytes`:
/// how much of the changes is sorted in memory at once.
fn run(
    directory: &Directory,
    upto: Sequence,
    buffer_bytes: usize,
    stop: &Stop,
) -> Result<CheckpointReport> {
    let (storage, dir) = (directory.shared(), directory.path());
    let _lock = exclusive(&**storage, dir)?;
    let reader = directory.reader()?;
    let history = History::read(&**storage, dir)?;
    let context = SortContext {
        storage: storage.clone(),
        dir: dir.to_owned(),
        buffer_bytes,
        meter: Arc::new(Meter::default()),
        made: Arc::new(AtomicU64::new(0)),
        stop: stop.clone(),
    };
    let mut job = Job {
        reader: &reader,
        context: &context,
        upto,
        damaged: history.checkpoints.damaged.clone(),
    };
    let bases = history.checkpoints.usable.iter().map(Some);
    let from_the_first = history.is_complete().then_some(None);
    for base in bases.chain(from_the_first) {
        match job.from(base) {
            Err(error @ Error::CheckpointDamaged { .. }) => {
                tracing::warn!(%error, "a damaged checkpoint is passed over");
                job.damaged.push(error);
            }
            other => return other,
        }
    }
    let last = job.damaged.pop();
    Err(last.expect("there is at least one way to begin, else history is not covered"))
}

struct Job<'a> {
    reader: &'a Reader,
    context: &'a SortContext,
    upto: Sequence,
    damaged: Vec<Error>,
}

impl Job<'_> {
    fn from(&mut self, base: Option<&Checkpoint>) -> Result<CheckpointReport> {
        let Collected { mut runs, point } = collect(self.reader, base, self.upto, self.context)?;
        if let Some(base) = base
            && point.sequence <= base.sequence()
        {
            return Ok(self.report(CheckpointOutcome::Current, Some(base), Some(base)));
        }
        let Some(segment) = point.segment.clone() else {
            return Ok(self.report(CheckpointOutcome::NoConsistentPoint, None, base));
        };
        // The name is 20 digits.
        if point.replay.covered() < Revision::NONE {
            return Ok(self.report(CheckpointOutcome::NoConsistentPoint, base, base));
        }
        let path = self
            .context
            .dir
            .join(checkpoint_name(point.replay.covered()));
        if self.is_taken(&path, &point)? {
            return Ok(self.report(CheckpointOutcome::NameTaken, base, base));
        }
        let header = self.header(&point, &segment)?;
        let mut inputs = Vec::new();
        if let Some(base) = base {
            let blocks = base.blocks(&self.context.meter)?;
            inputs.push(Input::File(Box::new(blocks)));
        }
        inputs.extend(runs.inputs()?);
        let written = self.put(&header, Merge::new(inputs)?, path)?;
        Ok(self.report(CheckpointOutcome::Written, Some(&written), base))
    }

    fn report(
        &self,
        outcome: CheckpointOutcome,
        newest: Option<&Checkpoint>,
        base: Option<&Checkpoint>,
    ) -> CheckpointReport {
        let made = &self.context.made;
        CheckpointReport {
            outcome,
            newest: newest.cloned(),
            merged_from: base.map(Checkpoint::revision),
            damaged: self.damaged.clone(),
            peak_buffer_bytes: self.context.meter.peak(),
            runs: made.load(std::sync::atomic::Ordering::Relaxed),
        }
    }

    fn storage(&self) -> &dyn Storage {
        &*self.context.storage
    }

    /// Whether a sound checkpoint of another timeline has the name.
    fn is_taken(&self, path: &Path, point: &Point) -> Result<bool> {
        match Checkpoint::open_on(self.storage(), path) {
            Ok(other) => Ok(other.header.counting_from != point.replay.counted_from()),
            Err(Error::CheckpointDamaged { .. }) => Ok(false),
            Err(error) if error.is_gone() => Ok(false),
            Err(other) => Err(other),
        }
    }

    fn header(&self, point: &Point, segment: &Path) -> Result<Header> {
        let name = segment.file_name().map(|n| n.to_string_lossy());
        let first = match name.as_deref().map(classify) {
            Some(Name::Segment(first)) => first,
            other => unreachable!("records lie in segments, not in {other:?}"),
        };
        debug_assert!(segment.ends_with(segment_name(first)));
        let segment = Segment::open(self.storage(), segment, first)?.header;
        Ok(Header {
            uuid: segment.uuid,
            salt: new_salt(self.storage()),
            sequence: point.sequence,
            revision: point.replay.covered(),
            observed_at: point.observed_at,
            created_at: self.storage().now(),
            segment_first: segment.first,
            segment_salt: segment.salt,
            counting_from: point.replay.counted_from(),
            counting_at: point.replay.first_told(),
            timeline: point.replay.timeline().cloned(),
            open_gap: point.replay.open_gap(),
        })
    }

    fn put(&self, header: &Header, merge: Merge, path: PathBuf) -> Result<Checkpoint> {
        let mut file = create::create_temporary(self.storage(), &path)?;
        let written = self.fill(&mut file, header, merge, &path);
        if written.is_err() && *file.path != path {
            // What there is of it takes room, perhaps the room that was lacking.
            let _ = create::remove_if_there(self.storage(), &file.path);
        }
        written
    }

    fn fill(
        &self,
        file: &mut FileHandle,
        header: &Header,
        mut merge: Merge,
        path: &Path,
    ) -> Result<Checkpoint> {
        file.write_at(header.encode().as_slice(), 0)?;
        let at = HEADER_BYTES as u64;
        let mut out = BlockWriter::new(file, header.seed(), at, &self.context.meter);
        let mut synced = at;
        while let Some(item) = merge.next()? {
            self.context.stop.check()?;
            if out.offset() - synced >= SYNC_BYTES {
                file.sync_data()?;
                synced = out.offset();
            }
            // What is gone is gone: there is nothing older that it would have to hide.
            if !item.is_gone() {
                out.push(&item)?;
            }
        }
        let (footer, length) = out.finish()?;
        file.sync_all()?;
        // Before it has its name, which may be that of one that is good.
        let read_back = FileHandle::open(self.storage(), &file.path, Access::Read)?;
        let read_back = Checkpoint::read(read_back, header.revision)?;
        read_back.verify_unless(&self.context.stop)?;
        let agrees = read_back.header == *header
            && read_back.footer == footer
            && read_back.file_bytes() == length;
        if !agrees {
            return Err(Error::CheckpointDamaged {
                path: path.to_owned(),
                offset: 0,
                revision: header.revision,
                detail: "what is read back is not what was written".to_owned(),
            });
        }
        create::publish(self.storage(), &self.context.dir, file, path.to_owned())?;
        let named = Checkpoint::open_on(self.storage(), path)?;
        debug_assert_eq!(named.header, *header);
        Ok(named)
    }
}
