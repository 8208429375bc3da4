//! Takes out of one damaged segment every record that verifies and writes them into a new one. In the
//! place of each hole comes what donors know, and a record of the loss for what nobody does.
//!
//! Streams: memory does not grow with the segment.
//!
//! Invariant: whatever is written has the sequences that the segment had, each taken once, in order, by
//! a record that verified there, by a revision that a donor vouches for, or by a record of a loss. And
//! every revision that may have been in a lost record is in one of the latter two.

use crate::{
    Entry, Gap, GapPhase, Result, Revision, Sequence, Timestamp,
    directory::Extent,
    donor::{Donors, Piece, Span, Turn},
    layout::{Digest, Kind, RecordHeader, SEGMENT_HEADER_BYTES, Seed, SegmentHeader},
    payload::{self, Payload},
    queue,
    repair::{
        Filled,
        hole::{self, Item, Told},
        next::{self, Next},
    },
    scan,
    source::Source,
    storage::Named,
    tracker::Tracker,
};

/// How much is gathered before it is written.
const WRITE_BYTES: usize = 1 << 20;

/// How many headers of damaged records are remembered within one hole: beyond that, what is lost is
/// named less exactly.
const MAX_HEADERS: usize = 65_536;

/// What the headers in a segment prove, whether or not their payloads are whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// The newest sequence that is there whole, or that was synced.
    pub(crate) last: Sequence,
    /// The newest revision that any header up to there names.
    pub(crate) revision: Revision,
    /// The newest record of a timeline that is whole.
    pub(crate) newest_turn: Sequence,
    /// The seal, by its header: nothing comes behind it in a segment.
    pub(crate) seal: Option<Sequence>,
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
    let mut synced = Revision::NONE;
    let (mut newest, mut turns) = (Vec::new(), Vec::new());
    scan::search(
        source,
        seed,
        SEGMENT_HEADER_BYTES as u64,
        |offset, header| {
            if header.synced > evidence.last {
                evidence.last = header.synced;
                // Only the newest can say more than the synced sequences do.
                newest.retain(|(h, _): &(RecordHeader, u64)| {
                    if h.sequence <= header.synced {
                        synced = synced.max(h.revision);
                    }
                    h.sequence > header.synced
                });
            }
            if header.kind == Kind::Seal {
                evidence.seal = Some(header.sequence);
            }
            if header.kind == Kind::Timeline {
                turns.push((header.sequence, offset));
            }
            newest.push((header, offset));
            true
        },
        u64::MAX,
    )?;
    evidence.revision = synced;
    // No crash makes a sector unreadable: what has a header was there.
    let unreadable = source.unreadable().is_some();
    for (header, offset) in newest {
        let counts = unreadable || header.sequence <= evidence.last;
        if counts || scan::look(source, seed, offset)?.is_ok() {
            evidence.last = evidence.last.max(header.sequence);
            evidence.revision = evidence.revision.max(header.revision);
        }
    }
    for (sequence, offset) in turns {
        if sequence > evidence.newest_turn && scan::look(source, seed, offset)?.is_ok() {
            evidence.newest_turn = sequence;
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
    /// What is behind its end.
    pub(crate) end: Next,
    /// The timeline in force at its end, where a successor says so.
    pub(crate) timeline_after: Option<Option<String>>,
    /// The newest record of a timeline that is whole in it.
    pub(crate) newest_turn: Sequence,
}

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

/// Sequences that are missing between two records that are whole.
struct Hole {
    last: Sequence,
    offset: u64,
    /// Headers that verify although their payloads do not.
    headers: Vec<RecordHeader>,
    next: Next,
    /// The timeline that is in force behind it, if that is known.
    timeline_after: Option<Option<String>>,
    /// Whether another timeline begins later in the segment.
    turns_later: bool,
}

/// Writes the new segment's records into `target`.
pub(crate) fn rewrite(
    job: Salvage<'_>,
    target: &Named,
    header: &SegmentHeader,
    tracker: &mut Tracker,
    donors: &mut Donors<'_>,
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
        losses: Vec::new(),
        filled: Vec::new(),
        filled_from: None,
        raised: false,
        completed: None,
        tracker,
        now,
    };
    let mut at = SEGMENT_HEADER_BYTES as u64;
    let mut source = job.source;
    let (newest_turn, timeline_after) = (job.newest_turn, job.timeline_after);
    let after = |last: Sequence| timeline_after.clone().filter(|_| newest_turn <= last);
    if let Some((source, Some(seed))) = &mut source {
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
                let last = from.previous();
                let mut next = next::classify(source, seed, offset, &h, &entry)?;
                if !donors.is_empty() {
                    next.witnesses = next::witnesses(source, seed, offset)?;
                    if newest_turn <= last {
                        next.witnesses.extend_from_slice(&job.end.witnesses);
                    }
                }
                let hole = Hole {
                    last,
                    offset: at,
                    headers: headers(source, seed, at..offset, out.next, last)?,
                    next,
                    timeline_after: match &entry {
                        // It says itself what was in force before.
                        Entry::Timeline(t) if t.kept && t.parent.is_some() => {
                            Some(t.parent.clone())
                        }
                        _ => after(last),
                    },
                    turns_later: newest_turn > last,
                };
                out.hole(hole, donors)?;
            }
            at = offset + h.length();
            // What an earlier repair named too widely ends where the next record begins.
            let bound = match entry {
                Entry::Lost { .. } if !donors.is_empty() => {
                    match next_whole(source, seed, at, h.sequence.next())? {
                        Some(following) => next::at(source, seed, following)?,
                        None => job.end.clone(),
                    }
                    .bound(out.tracker.covered)
                }
                _ => Revision(i64::MAX),
            };
            out.keep(h, entry, offset, bound, donors)?;
        }
    }
    if out.next <= job.known_last {
        let headers = match &mut source {
            Some((source, Some(seed))) => {
                headers(source, seed, at..u64::MAX, out.next, job.known_last)?
            }
            _ => Vec::new(),
        };
        let hole = Hole {
            last: job.known_last,
            offset: at,
            headers,
            next: job.end,
            timeline_after: after(job.known_last),
            turns_later: false,
        };
        out.hole(hole, donors)?;
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
        losses: out.losses,
        filled: out.filled,
        filled_from: out.filled_from,
    })
}

/// The headers of damaged records in a part of the file, in order, up to a bound.
fn headers(
    source: &mut Source,
    seed: &Seed,
    part: std::ops::Range<u64>,
    first: Sequence,
    last: Sequence,
) -> Result<Vec<RecordHeader>> {
    let mut found: Vec<RecordHeader> = Vec::new();
    scan::search(
        source,
        seed,
        part.start,
        |_, header| {
            let newest = found.last().map_or(first.previous(), |h| h.sequence);
            if header.sequence > newest && header.sequence <= last {
                found.push(header);
            }
            found.len() < MAX_HEADERS
        },
        part.end,
    )?;
    Ok(found)
}

/// The first offset from `at` on with a whole record that can follow.
pub(crate) fn next_whole(
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
    /// Records written, losses not counted.
    records: u64,
    next: Sequence,
    synced: Sequence,
    losses: Vec<Loss>,
    filled: Vec<Filled>,
    filled_from: Option<Sequence>,
    /// Whether more is covered by now than the original said at this place.
    raised: bool,
    /// The gap in whose difference all of its history was put already.
    completed: Option<Gap>,
    tracker: &'a mut Tracker,
    now: Timestamp,
}

impl Output<'_> {
    /// A record that verified. The loss that an earlier repair recorded is filled if it can be now.
    fn keep(
        &mut self,
        mut header: RecordHeader,
        entry: Entry,
        offset: u64,
        bound: Revision,
        donors: &mut Donors<'_>,
    ) -> Result<()> {
        let entry = match entry {
            // Its digest and offsets were those of the old file.
            Entry::Seal { .. } => Entry::Seal {
                records: self.records,
                digest: self.digest.value(),
                index: Vec::new(),
            },
            Entry::Lost { first, last, .. } if first <= last => {
                if let Some(items) = recorded_loss(
                    self.tracker,
                    self.raised,
                    self.next,
                    &header,
                    (first, last.min(bound)),
                    donors,
                )? {
                    return self.items(items, offset, donors);
                }
                // What was filled before it is covered, too.
                if self.raised {
                    header.revision = header.revision.max(self.tracker.covered);
                }
                entry
            }
            other => other,
        };
        if !matches!(entry, Entry::Lost { .. }) {
            self.records += 1;
            self.raised = false;
        }
        header.synced = header.synced.max(self.synced);
        self.put(header, &entry)
    }

    fn hole(&mut self, hole: Hole, donors: &mut Donors<'_>) -> Result<()> {
        let offset = hole.offset;
        let items = match self.tracker.open_gap {
            Some(gap) if self.tracker.in_difference() => self.in_difference(gap, &hole, donors)?,
            _ => match hole.next.taken_back(self.tracker.covered) {
                Some(to) => return self.taken_back(&hole, to),
                None => self.in_history(&hole, self.tracker.covered, self.next, donors)?,
            },
        };
        self.items(hole::join_losses(items), offset, donors)
    }

    /// A hole among events: cut where a header still tells what was there.
    /// From this revision and this sequence on.
    fn in_history(
        &self,
        hole: &Hole,
        from: Revision,
        mut next: Sequence,
        donors: &mut Donors<'_>,
    ) -> Result<Vec<Item>> {
        let (mut covered, from_sequence) = (from, next);
        let mut timeline = self.tracker.timeline.as_ref().map(|t| t.id.clone());
        // A gap has an opening and an end: one record of which nothing is known is neither.
        let told =
            |h: &&RecordHeader| matches!(h.kind, Kind::Changes | Kind::Watermark | Kind::Seal);
        let headers = || hole.headers.iter().filter(|h| h.sequence >= from_sequence);
        let known = headers().filter(told).count();
        let untold = hole.last.0 - next.0 + 1 - known as u64;
        let plain = untold <= 1 && known == headers().count() && hole.next.is_ordinary();
        let mut items = Vec::new();
        let mut cell = |last: Sequence, upto: Revision, exact: Option<Revision>| -> Result<()> {
            if last < next {
                return Ok(());
            }
            let slots = last.0 - next.0 + 1;
            next = last.next();
            let span = match exact {
                // What is told already, by a record before or a donor, is not told twice.
                Some(revision) => Span::new(revision.max(covered.next()), revision),
                None => Span::new(covered.next(), upto),
            };
            let turn = Candidate {
                timeline: timeline.as_deref(),
                covered,
                upto: exact.unwrap_or(upto),
            };
            let turns = turn.find(hole, donors)?;
            let turned = if turns.is_empty() {
                None
            } else {
                let (mut pieces, mut from, mut within) = (Vec::new(), timeline.clone(), span);
                for turn in turns {
                    let before = within.and_then(|s| Span::new(s.first, s.last.min(turn.at)));
                    if let Some(before) = before {
                        pieces.extend(donors.survey(from.as_deref(), before)?);
                    }
                    within = within.and_then(|s| Span::new(s.first.max(turn.at.next()), s.last));
                    from = Some(turn.to.id.clone());
                    pieces.push(Piece::Turn(turn.to, turn.at));
                }
                if let Some(after) = within {
                    pieces.extend(donors.survey(from.as_deref(), after)?);
                }
                let fits = hole::arrange(slots, &pieces, false) != hole::Arrangement::Lost;
                fits.then_some((from, pieces))
            };
            let pieces = match turned {
                Some((to, pieces)) => {
                    timeline = to;
                    pieces
                }
                None => match span {
                    Some(span) => donors.survey(timeline.as_deref(), span)?,
                    None => Vec::new(),
                },
            };
            covered = covered.max(upto);
            items.extend(hole::lay_out(slots, span, pieces, plain, exact.is_some()));
            Ok(())
        };
        for header in headers() {
            let (before, at) = (header.sequence.previous(), header.revision);
            match header.kind {
                Kind::Changes => {
                    cell(before, at.previous(), None)?;
                    cell(header.sequence, at, Some(at))?;
                }
                Kind::Watermark | Kind::Seal => {
                    cell(before, at, None)?;
                    cell(header.sequence, at, None)?;
                }
                // What these said is not in the header.
                Kind::Gap | Kind::Timeline | Kind::Lost => {}
            }
        }
        let bound = hole.next.bound(from);
        cell(hole.last, bound, None)?;
        Ok(items)
    }

    /// A hole in a gap's difference: either all of the gap's history is known, or all of it counts as
    /// damage.
    fn in_difference(
        &mut self,
        gap: Gap,
        hole: &Hole,
        donors: &mut Donors<'_>,
    ) -> Result<Vec<Item>> {
        let slots = hole.last.0 - self.next.0 + 1;
        // A part of it that is the last record known does not say that it was complete.
        let goes_on = hole.headers.last().is_some_and(|h| {
            h.sequence == hole.last && h.kind == Kind::Changes && h.revision <= gap.last
        });
        let closes = hole.next.is_beyond(gap.last) && !goes_on;
        let bound = hole.next.bound(self.tracker.covered);
        if closes && slots == 1 {
            // All of the difference is there: only its end can have been here.
            return Ok(vec![Item::Closed(gap)]);
        }
        let upto = gap.last.max(bound);
        if let Some(history) = Span::new(gap.first, gap.last)
            && !donors.is_empty()
        {
            let timeline = self.tracker.timeline.as_ref().map(|t| t.id.clone());
            let pieces = if self.completed == Some(gap) {
                Vec::new()
            } else {
                donors.survey(timeline.as_deref(), history)?
            };
            if !closes && hole.next.is_end() && pieces.iter().all(Piece::is_known) {
                // All of it comes behind the end, once: see the completion of a difference.
                return Ok(vec![Item::Lost {
                    slots,
                    span: None,
                    exact: true,
                }]);
            }
            let behind = match Span::new(gap.last.next(), bound).filter(|_| closes) {
                Some(behind) => donors.survey(timeline.as_deref(), behind)?,
                None => Vec::new(),
            };
            let needed = hole::slots_needed(&behind);
            if let Some(before) = slots.checked_sub(needed).filter(|n| *n > 0)
                && let Some(mut items) = hole::lay_out_difference(before, gap, pieces, closes)
            {
                self.completed = Some(gap);
                if needed > 0 {
                    items.extend(hole::lay_out(needed, None, behind, false, false));
                }
                return Ok(items);
            }
        }
        let lost = |slots, last| Item::Lost {
            slots,
            span: Span::new(gap.first, last),
            exact: false,
        };
        if !closes || donors.is_empty() {
            return Ok(vec![lost(slots, upto)]);
        }
        // What of it is certainly of the gap; behind it there are events again.
        let of_it = |h: &&RecordHeader| {
            h.kind == Kind::Gap || h.kind == Kind::Changes && h.revision <= gap.last
        };
        let end = hole.headers.iter().rfind(of_it).map(|h| h.sequence);
        let end = end.unwrap_or(self.next).max(self.next);
        let mut items = vec![lost(end.0 - self.next.0 + 1, gap.last)];
        if end < hole.last {
            items.extend(self.in_history(hole, gap.last, end.next(), donors)?);
        }
        Ok(items)
    }

    /// A record of a timeline that took revisions back is among what is lost: what the new one counts
    /// up to `to` is not known.
    fn taken_back(&mut self, hole: &Hole, to: Revision) -> Result<()> {
        self.tracker.covered = to;
        let slots = hole.last.0 - self.next.0 + 1;
        self.lose(slots, Span::new(Revision(1), to), false, hole.offset)
    }

    fn items(&mut self, items: Vec<Item>, offset: u64, donors: &mut Donors<'_>) -> Result<()> {
        for item in items {
            match item {
                Item::Events {
                    told,
                    records,
                    within,
                } => {
                    self.note_filling();
                    for t in &told {
                        self.filled.push(Filled {
                            first: t.part.span.first,
                            last: t.part.span.last,
                            events: t.part.events,
                            from: donors.name(t.donor),
                        });
                    }
                    self.events(&told, records, within, donors)?;
                }
                Item::Turn(timeline, at) => {
                    self.note_filling();
                    self.records += 1;
                    let entry = Entry::Timeline(timeline);
                    self.put_next(Kind::Timeline, at, &entry)?;
                }
                Item::Closed(gap) => {
                    self.records += 1;
                    let entry = Entry::Gap {
                        first: gap.first,
                        last: gap.last,
                        phase: GapPhase::Closed,
                        reason: gap.reason,
                        observed_at: self.now,
                    };
                    self.put_next(Kind::Gap, gap.last, &entry)?;
                }
                Item::Lost { slots, span, exact } => self.lose(slots, span, exact, offset)?,
            }
        }
        Ok(())
    }

    fn note_filling(&mut self) {
        self.filled_from.get_or_insert(self.next);
        self.raised = true;
    }

    /// Writes what donors know of revisions that follow each other, one revision a record or several.
    fn events(
        &mut self,
        told: &[Told],
        records: u64,
        within: Option<Revision>,
        donors: &mut Donors<'_>,
    ) -> Result<()> {
        let events = told.iter().map(|t| t.part.events).sum::<u64>();
        let shared = within.is_some() || records < events;
        let mut held: Option<(u64, Revision, Vec<crate::Change>, Timestamp)> = None;
        let mut event = 0;
        for t in told {
            let upto = event + t.part.events;
            donors.recall(t.donor, &t.timeline, t.part.span, &mut |recalled| {
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
                            self.put_changes(within.unwrap_or(at), changes, observed_at)?;
                        }
                    }
                }
                Ok(())
            })?;
            if event != upto {
                return Err(crate::Error::DonorChanged {
                    donor: donors.name(t.donor),
                    first: t.part.span.first,
                    last: t.part.span.last,
                });
            }
        }
        if let Some((_, at, changes, observed_at)) = held {
            self.put_changes(within.unwrap_or(at), changes, observed_at)?;
        }
        Ok(())
    }

    fn put_changes(
        &mut self,
        revision: Revision,
        changes: Vec<crate::Change>,
        observed_at: Timestamp,
    ) -> Result<()> {
        self.records += 1;
        let entry = Entry::Changes {
            changes,
            observed_at,
        };
        self.put_next(Kind::Changes, revision, &entry)
    }

    fn lose(&mut self, slots: u64, span: Option<Span>, exact: bool, offset: u64) -> Result<()> {
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
            observed_at: self.now,
        };
        self.next = last;
        self.put_next(Kind::Lost, self.tracker.covered, &entry)
    }

    /// A record that was not here, with the next sequence.
    fn put_next(&mut self, kind: Kind, revision: Revision, entry: &Entry) -> Result<()> {
        let header = RecordHeader {
            payload_bytes: 0,
            kind,
            sequence: self.next,
            synced: self.synced,
            revision,
            standing: self.tracker.standing(entry),
        };
        self.put(header, entry)
    }

    fn put(&mut self, mut header: RecordHeader, entry: &Entry) -> Result<()> {
        let payload = Payload::new(entry);
        header.payload_bytes = u32::try_from(payload.len()).expect("bounded where it was made");
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

/// What can be filled into a loss that an earlier repair recorded; `None`: nothing. `raised`: more is
/// covered before it by now than when it was recorded.
pub(crate) fn recorded_loss(
    tracker: &Tracker,
    raised: bool,
    next: Sequence,
    header: &RecordHeader,
    (first, last): (Revision, Revision),
    donors: &mut Donors<'_>,
) -> Result<Option<Vec<Item>>> {
    // Where revisions were taken back, or a difference was cut, the record says more than a span.
    let taken_back = header.revision < tracker.covered && !raised;
    if donors.is_empty() || tracker.in_difference() || taken_back {
        return Ok(None);
    }
    let slots = header.sequence.0 - next.0 + 1;
    // What was filled in before it is not lost any more, though two losses may have named it.
    let Some(span) = Span::new(first.max(tracker.covered.next()), last) else {
        return Ok(Some(vec![Item::Lost {
            slots,
            span: None,
            exact: true,
        }]));
    };
    let timeline = tracker.timeline.as_ref().map(|t| t.id.clone());
    let pieces = donors.survey(timeline.as_deref(), span)?;
    if pieces == [Piece::Unknown(span)] {
        return Ok(None);
    }
    let items = hole::lay_out(slots, Some(span), pieces, false, false);
    let filled = !matches!(items[..], [Item::Lost { span: lost, .. }] if lost == Some(span));
    Ok(filled.then_some(items))
}

/// Where timelines may have begun in a hole.
struct Candidate<'a> {
    timeline: Option<&'a str>,
    covered: Revision,
    upto: Revision,
}

/// How many timelines may have begun in one hole: as many as an identity names ancestors.
const MAX_TURNS: usize = 8;

impl Candidate<'_> {
    /// The timelines that began there, if donors know of them and what follows bears it out: the
    /// successor's header, or a record that a donor has in the last of them and not in the one before.
    fn find(&self, hole: &Hole, donors: &mut Donors<'_>) -> Result<Vec<Turn>> {
        let same = |t: &Option<String>| t.as_deref() == self.timeline;
        if donors.is_empty() || hole.timeline_after.as_ref().is_some_and(same) {
            return Ok(Vec::new());
        }
        let mut turns = Vec::new();
        let after = hole.timeline_after.as_ref();
        self.follow(hole, after, donors, self.timeline, self.covered, &mut turns)?;
        if turns.is_empty() && after.is_some() && !hole.next.witnesses.is_empty() {
            // What is in force at the end may have begun in a later hole.
            self.follow(hole, None, donors, self.timeline, self.covered, &mut turns)?;
        }
        Ok(turns)
    }

    fn follow(
        &self,
        hole: &Hole,
        after: Option<&Option<String>>,
        donors: &mut Donors<'_>,
        from: Option<&str>,
        at: Revision,
        turns: &mut Vec<Turn>,
    ) -> Result<bool> {
        if turns.len() == MAX_TURNS {
            return Ok(false);
        }
        for turn in donors.turns(from, at, self.upto)? {
            let witnesses = &hole.next.witnesses;
            let fits = match (after, from) {
                (Some(after), _) => after.as_deref() == Some(&turn.to.id),
                // Only markers follow: then it is the one that donors followed.
                (None, Some(id)) if witnesses.is_empty() => {
                    !hole.turns_later && donors.only_turn(id, at)?.as_ref() == Some(&turn)
                }
                (None, _) => {
                    donors.confirms(&turn.to.id, turn.at, witnesses)?
                        && match from {
                            Some(id) => !donors.confirms(id, turn.at, witnesses)?,
                            None => true,
                        }
                }
            };
            turns.push(turn.clone());
            if fits || self.follow(hole, after, donors, Some(&turn.to.id), turn.at, turns)? {
                return Ok(true);
            }
            turns.pop();
        }
        Ok(false)
    }
}
