//! The segment that takes the place of a damaged one: all but its header.

use crate::{
    error::Result,
    format::{
        kind::Kind,
        layout::{Digest, RecordHeader, Seed, SegmentHeader},
        payload::Payload,
        position::{RecordPosition, TimelineTag},
    },
    model::{
        entry::{Change, Entry, GapPhase},
        ids::{Revision, Sequence},
        span::Span,
        time::Timestamp,
    },
    repair::{
        evidence,
        hole::{self, Item, Told},
        knowledge::{Knowledge, OWN},
        report::Filled,
    },
    replay::tracker::Tracker,
    segment::open::Extent,
    storage::file_handle::FileHandle,
    write::queue,
};

/// How much is gathered before it is written.
const WRITE_BYTES: usize = 1 << 20;

/// Sequences that are lost, and revisions that may be lost with them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    pub(crate) first: Sequence,
    pub(crate) last: Sequence,
    /// `None`: only markers are lost.
    pub(crate) span: Option<Span>,
    /// Whether the revisions are certainly lost, not only perhaps.
    pub(crate) exact: bool,
    pub(crate) offset: u64,
}

/// The new segment, all but its header.
pub(crate) struct Rewritten {
    pub(crate) extent: Extent,
    /// Records that are there again, losses not counted.
    pub(crate) records: u64,
    pub(crate) losses: Vec<Loss>,
    pub(crate) filled: Vec<Filled>,
    /// The first sequence into which something was filled.
    pub(crate) filled_from: Option<Sequence>,
}

/// Writes records one behind the other.
pub(crate) struct Output<'a> {
    target: &'a FileHandle,
    seed: Seed,
    buffer: Vec<u8>,
    flushed: u64,
    digest: Digest,
    /// Records written, losses not counted.
    records: u64,
    /// The sequence that comes next.
    pub(crate) next: Sequence,
    synced: Sequence,
    losses: Vec<Loss>,
    filled: Vec<Filled>,
    filled_from: Option<Sequence>,
    pub(crate) tracker: &'a mut Tracker,
    now: Timestamp,
}

impl<'a> Output<'a> {
    /// Begins a segment with this header in `target`.
    pub(crate) fn new(
        target: &'a FileHandle,
        header: &SegmentHeader,
        tracker: &'a mut Tracker,
        now: Timestamp,
    ) -> Self {
        Self {
            target,
            seed: header.seed(),
            buffer: Vec::new(),
            flushed: evidence::BEGIN,
            digest: Digest::default(),
            records: 0,
            next: header.first,
            synced: header.synced,
            losses: Vec::new(),
            filled: Vec::new(),
            filled_from: None,
            tracker,
            now,
        }
    }

    /// A record that verified.
    pub(crate) fn keep(&mut self, mut header: RecordHeader, mut entry: Entry) -> Result<()> {
        match &mut entry {
            // Its digest and offsets were those of the old file.
            Entry::Seal {
                records,
                digest,
                index,
            } => {
                *records = self.records;
                *digest = self.digest.value();
                index.clear();
            }
            Entry::Lost { first, last, .. } if is_outdated(&header, self.tracker) => {
                header.revision = self.tracker.covered;
                if first > last {
                    (*first, *last) = (header.revision.next(), header.revision);
                }
            }
            _ => {}
        }
        if !matches!(entry, Entry::Lost { .. }) {
            self.records += 1;
        }
        header.synced = header.synced.max(self.synced);
        self.put(header, &entry)
    }

    /// What was laid out for a hole.
    pub(crate) fn items(
        &mut self,
        items: Vec<Item>,
        offset: u64,
        knowledge: &mut Knowledge<'_, '_>,
    ) -> Result<()> {
        for item in items {
            match item {
                Item::Events { told, records } => {
                    self.note_filling(&told, knowledge);
                    self.events(&told, records, knowledge)?;
                }
                Item::Turn(timeline, at) => {
                    self.note_filling(&[], knowledge);
                    self.records += 1;
                    self.put_next(Kind::Timeline, at, &Entry::Timeline(timeline))?;
                }
                Item::Opened(gap) => {
                    self.records += 1;
                    let entry = gap_entry(gap, GapPhase::Opened, self.now);
                    self.put_next(Kind::Gap, gap.first.previous(), &entry)?;
                }
                Item::Closed(gap) => {
                    self.records += 1;
                    let entry = gap_entry(gap, GapPhase::Closed, self.now);
                    self.put_next(Kind::Gap, gap.last, &entry)?;
                }
                Item::TakenBack { slots, to } => {
                    self.tracker.covered = to;
                    self.tracker.reached = to;
                    let span = Span::new(Revision(1), to);
                    self.lose(slots, span, false, (Vec::new(), Vec::new()), offset)?;
                }
                Item::Lost {
                    slots,
                    span,
                    told,
                    exact,
                } => {
                    if told.iter().any(|t| t.part.events > 0) {
                        self.note_filling(&told, knowledge);
                    }
                    let told = recall(&told, knowledge)?;
                    self.lose(slots, span, exact, told, offset)?;
                }
            }
        }
        Ok(())
    }

    /// Everything is there: writes what is left.
    pub(crate) fn finish(mut self) -> Result<Rewritten> {
        self.flush()?;
        Ok(Rewritten {
            extent: Extent {
                last: self.next.previous(),
                digest: self.digest.value(),
                end: self.flushed,
                seal: None,
            },
            records: self.records,
            losses: self.losses,
            filled: self.filled,
            filled_from: self.filled_from,
        })
    }

    fn note_filling(&mut self, told: &[Told], knowledge: &Knowledge<'_, '_>) {
        self.filled_from.get_or_insert(self.next);
        let news = told.iter().filter(|t| t.donor != OWN && t.part.events > 0);
        self.filled.extend(news.map(|t| Filled {
            first: t.part.span.first,
            last: t.part.span.last,
            events: t.part.events,
            from: knowledge.donors.name(t.donor),
        }));
    }

    /// Writes what is known of revisions that follow each other, one revision a record or several.
    fn events(
        &mut self,
        told: &[Told],
        records: u64,
        knowledge: &mut Knowledge<'_, '_>,
    ) -> Result<()> {
        let events = told.iter().map(|t| t.part.events).sum::<u64>();
        let shared = records < events;
        let begin = told.iter().map(|t| t.part.span.first.previous()).min();
        let mut after = begin.unwrap_or(self.tracker.covered);
        // The newest of several, where the record of a timeline in between has found no slot.
        self.tracker.tag = told.last().map(|t| TimelineTag::of(Some(&t.timeline)));
        let mut held: Option<(u64, Revision, Vec<Change>, Timestamp)> = None;
        let mut event = 0;
        for t in told {
            let upto = event + t.part.events;
            knowledge.recall(t.donor, &t.timeline, t.part.span, &mut |recalled| {
                let into = hole::shared_record(event.min(events - 1), events, records);
                event += 1;
                let revision = recalled.revision;
                let changes = recalled.changes.into_iter();
                let changes = changes.map(|c| if shared { c.at(revision) } else { c });
                match &mut held {
                    Some((record, newest, all, observed_at)) if *record == into => {
                        *newest = revision;
                        all.extend(changes);
                        *observed_at = recalled.observed_at;
                    }
                    _ => {
                        let done =
                            held.replace((into, revision, changes.collect(), recalled.observed_at));
                        if let Some((_, at, changes, observed_at)) = done {
                            self.put_changes((after, at), shared, changes, observed_at)?;
                            after = at;
                        }
                    }
                }
                Ok(())
            })?;
            check_count(t, event == upto, knowledge)?;
        }
        if let Some((_, at, changes, observed_at)) = held {
            self.put_changes((after, at), shared, changes, observed_at)?;
        }
        Ok(())
    }

    /// Events, wherever they stand: within a difference they tell the gap's history in its place.
    fn put_changes(
        &mut self,
        (after, at): (Revision, Revision),
        shared: bool,
        changes: Vec<Change>,
        observed_at: Timestamp,
    ) -> Result<()> {
        self.records += 1;
        let entry = Entry::Changes {
            changes,
            observed_at,
        };
        let timeline = self.tracker.position(&entry).timeline;
        let standing = RecordPosition {
            prev_revision: after,
            timeline: self.tracker.tag.unwrap_or(timeline),
            within: false,
            shared,
        };
        let header = self.header(Kind::Changes, at, standing);
        self.put(header, &entry)
    }

    fn lose(
        &mut self,
        slots: u64,
        span: Option<Span>,
        exact: bool,
        (known, changes): (Vec<Span>, Vec<Change>),
        offset: u64,
    ) -> Result<()> {
        let first = self.next;
        let last = Sequence(first.0 + slots - 1);
        self.losses.push(Loss {
            first,
            last,
            span,
            exact,
            offset,
        });
        let none = (self.tracker.covered.next(), self.tracker.covered);
        let (first_revision, last_revision) = span.map_or(none, |s| (s.first, s.last));
        let entry = Entry::Lost {
            first_sequence: first,
            first: first_revision,
            last: last_revision,
            known,
            changes,
            observed_at: self.now,
        };
        self.next = last;
        self.put_next(Kind::Lost, self.tracker.covered, &entry)
    }

    /// A record that was not here, with the next sequence.
    fn put_next(&mut self, kind: Kind, revision: Revision, entry: &Entry) -> Result<()> {
        let mut standing = self.tracker.position(entry);
        if !standing.within {
            // All before it was told, or named as lost.
            standing.prev_revision = standing.prev_revision.max(self.tracker.reached);
        }
        if !matches!(entry, Entry::Timeline(_)) {
            standing.timeline = self.tracker.tag.unwrap_or(standing.timeline);
        }
        let header = self.header(kind, revision, standing);
        self.put(header, entry)
    }

    fn header(&self, kind: Kind, revision: Revision, position: RecordPosition) -> RecordHeader {
        RecordHeader {
            payload_bytes: 0,
            kind,
            sequence: self.next,
            synced: self.synced,
            revision,
            position,
        }
    }

    fn put(&mut self, mut header: RecordHeader, entry: &Entry) -> Result<()> {
        let payload = Payload::new(entry);
        header.payload_bytes = u32::try_from(payload.len()).expect("bounded where it was made");
        let offset = self.flushed + self.buffer.len() as u64;
        let (bytes, checksums) = queue::single(&payload, &header, &self.seed, offset);
        self.buffer.extend_from_slice(&bytes);
        self.digest.add(checksums);
        self.tracker.pass(&header, entry);
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

/// Whether the record of a loss says that less is covered before it than is by now: what was lost before it is
/// there again. One that says that revisions were taken back names nothing beyond its own revision.
pub(crate) fn is_outdated(header: &RecordHeader, before: &Tracker) -> bool {
    let told = header.position.prev_revision > header.revision;
    header.kind == Kind::Lost && told && header.revision < before.covered
}

/// What is known within a loss: the spans, and their changes.
fn recall(told: &[Told], knowledge: &mut Knowledge<'_, '_>) -> Result<(Vec<Span>, Vec<Change>)> {
    let (mut known, mut changes): (Vec<Span>, Vec<Change>) = (Vec::new(), Vec::new());
    for t in told {
        match known.last_mut() {
            Some(last) if last.last.next() == t.part.span.first => last.last = t.part.span.last,
            _ => known.push(t.part.span),
        }
        let mut events = 0;
        knowledge.recall(t.donor, &t.timeline, t.part.span, &mut |recalled| {
            events += 1;
            let at = recalled.revision;
            changes.extend(recalled.changes.into_iter().map(|c| c.at(at)));
            Ok(())
        })?;
        check_count(t, events == t.part.events, knowledge)?;
    }
    Ok((known, changes))
}

/// A donor has to tell as much as it said that it knows.
fn check_count(told: &Told, fits: bool, knowledge: &Knowledge<'_, '_>) -> Result<()> {
    if fits {
        return Ok(());
    }
    Err(crate::Error::DonorChanged {
        donor: if told.donor == OWN {
            "an earlier repair".to_owned()
        } else {
            knowledge.donors.name(told.donor)
        },
        first: told.part.span.first,
        last: told.part.span.last,
    })
}

fn gap_entry(gap: crate::Gap, phase: GapPhase, observed_at: Timestamp) -> Entry {
    Entry::Gap {
        first: gap.first,
        last: gap.last,
        phase,
        reason: gap.reason,
        observed_at,
    }
}
