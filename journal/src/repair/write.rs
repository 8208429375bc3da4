//! Writes the new journal with the ordinary writer, and reads it back in full.
//!
//! A segment ends where the own journal's did, as at a restart, so that retention finds history in
//! the same parts. Memory holds one group of records.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use uuid::Uuid;

use crate::{
    checkpoint::{copy, file::Checkpoint},
    directory::handle::Directory,
    error::Result,
    format::{
        checkpoint::Header,
        context::Context,
        kind::Kind,
        layout::{MAX_PAYLOAD_BYTES, MAX_SEGMENT_BYTES, SegmentHeader},
        names::segment_name,
    },
    model::{
        entry::{Entry, Gap, GapPhase, NewRecord},
        ids::{Revision, Sequence},
        span::Span,
        time::Timestamp,
    },
    options::Options,
    recovery::{
        end::end_segment,
        open::{Opened, Recovery},
    },
    repair::{
        catalog::{Catalog, What},
        donor::Donor,
        plan::decided::{Plan, Start, Step},
        report::Filled,
        watch::{RepairPhase, Watch},
    },
    replay::{last_segment::read_last, machine::Replay},
    segment::{create, open::Segment},
    storage::{
        file_handle::FileHandle,
        salt::new_salt,
        traits::{Lock, SharedStorage},
    },
    write::journal::Journal,
};

/// A segment is ended once it has so many bytes, wherever the own journal's ended.
const SEGMENT_BYTES: u64 = 64 << 20;

/// The lock of the journal under repair, as that of the one that is written.
#[derive(Debug)]
struct Held(Arc<Box<dyn Lock>>);

impl Lock for Held {
    fn is_held(&self) -> io::Result<bool> {
        self.0.is_held()
    }

    fn write_holder(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
}

/// From what the new journal is made.
pub(crate) struct Sources<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) start: &'a Start,
    pub(crate) checkpoints: &'a [Checkpoint],
    pub(crate) donors: &'a mut [Box<dyn Donor>],
}

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) records: u64,
    pub(crate) filled: Vec<Filled>,
}

/// Writes the journal of a plan into `dir`, which exists and is empty.
pub(crate) fn write(
    storage: &SharedStorage,
    dir: &Path,
    lock: &Arc<Box<dyn Lock>>,
    plan: &Plan,
    mut sources: Sources<'_>,
    watch: &mut Watch<'_>,
) -> Result<Written> {
    let bytes = plan.steps.iter().map(|step| match step {
        Step::Copy(item) | Step::Parts(item, _) => {
            let item = &sources.catalog.items[*item];
            item.to - item.from
        }
        _ => 0,
    });
    let bytes = bytes.sum();
    watch.begin(RepairPhase::Writing, bytes);
    let mut output = Output::begin(storage, dir, lock, sources.catalog.uuid, &sources)?;
    for step in &plan.steps {
        output.step(step, &mut sources, watch)?;
    }
    let written = output.finish()?;
    watch.begin(RepairPhase::ReadingBack, bytes);
    let mut records = Directory::on(storage.clone(), dir).reader()?.records();
    while let Some(record) = records.next_ref() {
        watch.read(record?.length)?;
    }
    Ok(written)
}

struct Output {
    storage: SharedStorage,
    dir: PathBuf,
    lock: Arc<Box<dyn Lock>>,
    options: Options,
    journal: Option<Journal>,
    header: SegmentHeader,
    /// The segment before that one.
    before: Option<SegmentHeader>,
    /// The own file that is being copied.
    file: Option<usize>,
    /// What is known behind the last record.
    replay: Replay,
    /// Up to here all is told, though perhaps no record says so yet.
    told: Revision,
    observed_at: Timestamp,
    written: Written,
}

impl Output {
    fn begin(
        storage: &SharedStorage,
        dir: &Path,
        lock: &Arc<Box<dyn Lock>>,
        uuid: Uuid,
        sources: &Sources<'_>,
    ) -> Result<Self> {
        let start = sources.start;
        let header = SegmentHeader {
            uuid,
            salt: new_salt(&**storage),
            first: start.first,
            predecessor_last: start.first.previous(),
            predecessor_digest: 0,
            covered: start.covered,
            created_at: storage.now(),
            synced: start.first.previous(),
            context: Context {
                timeline: start.timeline.clone(),
                open_gap: start.open_gap,
                unhealed: start.unhealed,
                ..Context::default()
            },
        };
        let oldest = sources.checkpoints.first().map(|c| &c.header);
        let counting = oldest.filter(|h| h.counting_from < start.first);
        let (from, told) =
            counting.map_or_else(Default::default, |h| (h.counting_from, h.counting_at));
        let replay = Replay::counting_from(&header, from, told);
        let mut output = Self {
            storage: storage.clone(),
            dir: dir.to_owned(),
            lock: lock.clone(),
            options: Options {
                segment_bytes: MAX_SEGMENT_BYTES,
                max_payload_bytes: MAX_PAYLOAD_BYTES,
                idle_watermark: None,
                preallocate: false,
                ..Options::default()
            },
            journal: None,
            before: None,
            file: None,
            told: replay.covered(),
            replay,
            observed_at: storage.now(),
            written: Written::default(),
            header,
        };
        let file = create::segment(&**storage, dir, &output.header, 0)?;
        output.open(file);
        Ok(output)
    }

    fn open(&mut self, file: FileHandle) {
        let opened = Opened {
            lock: Box::new(Held(self.lock.clone())),
            file,
            header: self.header.clone(),
            tracker: self.replay.tracker().clone(),
            recovery: Recovery {
                valid_to: self.header.first.previous(),
                maybe_lost_from: None,
                torn_bytes: 0,
                torn_file: None,
                created: true,
            },
        };
        let storage = self.storage.clone();
        let journal = Journal::of(storage, &self.dir, self.options.clone(), opened);
        self.journal = Some(journal.0);
    }

    fn journal(&self) -> &Journal {
        self.journal
            .as_ref()
            .expect("only missing between two segments")
    }

    fn last(&self) -> Sequence {
        self.journal().end().next_sequence.previous()
    }

    /// Makes all records durable, and ends the segment as a restart does.
    fn end_segment(&mut self) -> Result<()> {
        let last = self.last();
        if last < self.header.first {
            return Ok(());
        }
        self.journal().commit(last)?;
        self.journal = None;
        let storage = self.storage.clone();
        let path = self.dir.join(segment_name(self.header.first));
        let segment = Segment::open(&*storage, &path, self.header.first)?;
        let mut end = read_last(&segment)?;
        end.tracker = self.replay.tracker().clone();
        let ended = end_segment(&*storage, &self.dir, &segment, &end, 0)?;
        self.before = Some(std::mem::replace(&mut self.header, ended.header));
        self.open(ended.file);
        Ok(())
    }

    fn append(&mut self, revision: Revision, entry: Entry) -> Result<()> {
        if self.journal().appended_bytes() >= SEGMENT_BYTES {
            self.end_segment()?;
        }
        let record = NewRecord { revision, entry };
        let marker = match &record.entry {
            Entry::Changes { .. } => None,
            marker => Some(marker.clone()),
        };
        let sequence = self.journal().append(record)?;
        self.replay.take(sequence, revision, marker.as_ref());
        self.written.records += 1;
        Ok(())
    }

    /// Writes down that nothing more happened up to where all is told.
    fn cover(&mut self) -> Result<()> {
        if self.told > self.replay.covered() {
            let watermark = Entry::Watermark {
                observed_at: self.observed_at,
                closed: false,
            };
            self.append(self.told, watermark)?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step, from: &mut Sources<'_>, watch: &mut Watch<'_>) -> Result<()> {
        match step {
            Step::Copy(item) | Step::Parts(item, _) => {
                let of = from.catalog.items[*item].file;
                if self.file.replace(of).is_some_and(|file| file != of) {
                    self.end_segment()?;
                }
                let upto = match step {
                    Step::Parts(_, upto) => *upto,
                    _ => None,
                };
                self.copy(from.catalog, *item, upto, watch)
            }
            Step::Recall {
                donor,
                timeline,
                span,
            } => self.recall(&mut *from.donors[*donor], timeline, *span, watch),
            Step::Covered(revision) => {
                self.told = self.told.max(*revision);
                Ok(())
            }
            Step::Unnamed(tag) => {
                self.cover()?;
                self.replay.enter_unnamed(*tag);
                self.journal().enter_unnamed(*tag);
                Ok(())
            }
            Step::Timeline(timeline, revision) => {
                if !self.replay.in_snapshot_diff() {
                    self.cover()?;
                }
                self.told = *revision;
                self.append(*revision, Entry::Timeline(timeline.clone()))
            }
            Step::Opened(gap) => {
                self.cover()?;
                self.append(gap.first.previous(), self.gap(gap, GapPhase::Opened))
            }
            Step::Closed(gap) => {
                self.told = self.told.max(gap.last);
                self.append(gap.last, self.gap(gap, GapPhase::Closed))
            }
            Step::Lost { span, taken_back } => self.lost(*span, *taken_back),
            Step::Checkpoint(n) => self.checkpoint(&from.checkpoints[*n], watch),
        }
    }

    fn gap(&self, gap: &Gap, phase: GapPhase) -> Entry {
        Entry::Gap {
            first: gap.first,
            last: gap.last,
            phase,
            reason: gap.reason,
            observed_at: self.observed_at,
        }
    }

    /// Copies the records of an own item, and of parts of a snapshot diff the changes up to a
    /// revision.
    fn copy(
        &mut self,
        catalog: &Catalog,
        item: usize,
        upto: Option<Revision>,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let item = &catalog.items[item];
        let is_part = matches!(item.what, What::Parts);
        let storage = self.storage.clone();
        catalog.visit(&*storage, item, item.from, |header, decode| {
            watch.read(header.length())?;
            match header.kind {
                Kind::Changes | Kind::Lease => {}
                Kind::Watermark if !is_part => {}
                _ => return Ok(true),
            }
            let mut entry = decode()?;
            self.observed_at = entry.observed_at().unwrap_or_default();
            if let Entry::Changes { changes, .. } = &mut entry
                && is_part
            {
                changes.retain(|change| upto.is_none() || change.revision <= upto);
                if changes.is_empty() {
                    return Ok(true);
                }
            }
            self.append(upto.unwrap_or(header.revision), entry)?;
            Ok(true)
        })?;
        if !is_part {
            self.told = self.told.max(item.revision);
        }
        Ok(())
    }

    fn recall(
        &mut self,
        donor: &mut dyn Donor,
        timeline: &str,
        span: Span,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let mut filled = Filled {
            first: span.first,
            last: span.last,
            events: 0,
            from: donor.name(),
        };
        donor.recall(timeline, span, &mut |recalled| {
            watch.read(0)?;
            filled.events += u64::from(recalled.entry.marker().is_none());
            self.observed_at = recalled.entry.observed_at().unwrap_or(self.observed_at);
            self.append(recalled.revision, recalled.entry)
        })?;
        self.told = self.told.max(span.last);
        self.written.filled.push(filled);
        Ok(())
    }

    fn lost(&mut self, span: Option<Span>, taken_back: Option<Revision>) -> Result<()> {
        if !self.replay.in_snapshot_diff() {
            self.cover()?;
        }
        let covered = self.replay.covered();
        let revision = taken_back.unwrap_or(covered);
        if revision < covered {
            self.told = revision;
        }
        let nothing = (Revision(1), Revision(0));
        let (first, last) = span.map_or(nothing, |span| (span.first, span.last));
        let lost = Entry::Lost {
            first,
            last,
            observed_at: self.storage.now(),
        };
        self.append(revision, lost)
    }

    /// A checkpoint whose place is here.
    fn checkpoint(&mut self, checkpoint: &Checkpoint, watch: &Watch<'_>) -> Result<()> {
        self.cover()?;
        let sequence = self.last();
        self.journal().commit(sequence)?;
        let segment = match &self.before {
            Some(before) if sequence < self.header.first => before,
            _ => &self.header,
        };
        let header = Header {
            salt: new_salt(&*self.storage),
            sequence,
            segment_first: segment.first,
            segment_salt: segment.salt,
            counting_from: self.replay.counted_from(),
            counting_at: self.replay.first_told(),
            ..checkpoint.header.clone()
        };
        copy::copy(&*self.storage, &self.dir, checkpoint, &header, watch.stop())
    }

    /// Ends the last segment. The header of the one behind it is the witness for all records.
    fn finish(mut self) -> Result<Written> {
        if !self.replay.in_snapshot_diff() {
            self.cover()?;
        }
        self.end_segment()?;
        Ok(self.written)
    }
}
