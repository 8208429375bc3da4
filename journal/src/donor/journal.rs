//! Another journal of the same cluster as a donor: read only, never locked, whatever state it is in.
//!
//! The whole of it is read once, and of each unbroken stretch of events it is noted where it lies. A
//! stretch is broken by anything that leaves in doubt whether a revision without a record had changes:
//! a hole, an earlier loss, a gap. Only records that verify are ever handed on.
//!
//! Two things that stand alone between holes are not believed. Deletes: they may be the rest of a gap's
//! difference. Changes that carry revisions of their own, without a record before them that says what
//! they are.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Donor, Part, Recalled, Span, Turn};
use crate::{
    Change, Entry, Error, GapPhase, Result, Revision, Sequence, Timeline, Timestamp,
    directory::Listing,
    layout::{SEGMENT_HEADER_BYTES, Seed},
    payload,
    repair::{
        found::{self, Found},
        next::is_difference,
    },
    scan,
    storage::{Disk, SharedStorage},
    tracker::Tracker,
};

/// How far apart the places are from which on a stretch can be read.
const POINT_BYTES: u64 = 1 << 20;

/// The journal in a directory, as a donor.
#[derive(Debug)]
pub struct JournalDonor {
    storage: SharedStorage,
    dir: PathBuf,
    catalog: Option<Catalog>,
}

/// What a journal knows.
#[derive(Debug, Default)]
struct Catalog {
    segments: Vec<(Found, Seed)>,
    stretches: Vec<Stretch>,
    turns: Vec<Turn>,
}

/// Records of one segment that follow each other without a break.
#[derive(Debug)]
struct Stretch {
    /// `None`: nothing has said so yet.
    timeline: Option<String>,
    /// Whether the record of another timeline may be in a hole before it.
    perhaps_another: bool,
    segment: usize,
    /// The newest revision that it does not tell of.
    after: Revision,
    /// The newest one that it does.
    upto: Revision,
    /// Offsets, each with what is covered before it.
    points: Vec<(Revision, u64)>,
    end: u64,
}

impl JournalDonor {
    /// The journal in `dir`; nothing is read yet.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self::with(Arc::new(Disk), dir)
    }

    /// The same on any storage.
    #[must_use]
    pub fn with(storage: SharedStorage, dir: &Path) -> Self {
        Self {
            storage,
            dir: dir.to_owned(),
            catalog: None,
        }
    }

    fn catalog(&mut self) -> Result<&Catalog> {
        if self.catalog.is_none() {
            let listing = Listing::read(&*self.storage, &self.dir)?;
            if listing.segments.is_empty() {
                return Err(listing.not_a_journal(&self.dir));
            }
            let mut files = Found::all(&*self.storage, &listing)?;
            let mut catalog = Catalog::default();
            if let Some(uuid) = found::identity(&*self.storage, &mut files)? {
                for (i, file) in files.iter().enumerate() {
                    if let Some(seed) = file.seed(&*self.storage, files.get(i + 1), uuid)? {
                        catalog.segments.push((file.clone(), seed));
                    }
                }
                Surveyor::new(&*self.storage).survey(&mut catalog)?;
            }
            self.catalog = Some(catalog);
        }
        Ok(self.catalog.as_ref().expect("read above"))
    }
}

impl Donor for JournalDonor {
    fn name(&self) -> String {
        self.dir.display().to_string()
    }

    fn knows(&mut self, timeline: &str, span: Span) -> Result<Vec<Part>> {
        let mut parts: Vec<Part> = Vec::new();
        let storage = self.storage.clone();
        for stretch in &self.catalog()?.stretches {
            // Of revisions told twice, the first telling counts.
            let told = parts.last().map_or(Revision(i64::MIN), |p| p.span.last);
            let own = Span::new(stretch.after.max(told).next(), stretch.upto);
            let Some(common) = own.and_then(|own| own.overlap(span)) else {
                continue;
            };
            if stretch.timeline.as_deref() == Some(timeline) {
                parts.push(Part {
                    span: common,
                    events: 0,
                    bytes: 0,
                });
            }
        }
        for part in &mut parts {
            let (mut events, mut bytes) = (0, 0);
            self.catalog()?
                .walk(&*storage, timeline, part.span, &mut |recalled| {
                    events += 1;
                    let sizes = recalled.changes.iter().map(|c| match &c.op {
                        crate::Op::Set(value) => c.path.len() + value.len(),
                        crate::Op::Delete => c.path.len(),
                    });
                    // Lengths, a revision and flags come on top.
                    bytes += sizes.map(|n| n as u64 + 32).sum::<u64>();
                    Ok(())
                })?;
            (part.events, part.bytes) = (events, bytes);
        }
        Ok(parts)
    }

    fn recall(
        &mut self,
        timeline: &str,
        span: Span,
        visit: &mut dyn FnMut(Recalled) -> Result<()>,
    ) -> Result<()> {
        let storage = self.storage.clone();
        self.catalog()?.walk(&*storage, timeline, span, visit)
    }

    fn turns(&mut self) -> Result<Vec<Turn>> {
        Ok(self.catalog()?.turns.clone())
    }
}

impl Catalog {
    /// A header, or a record, names a timeline and the one before. That is what nothing has named before was
    /// of. And if the record of its beginning was not met, it was in the hole: what follows that one and is
    /// newer than what the timeline before had is of the new one.
    fn learn(&mut self, before: Option<&str>, timeline: &Timeline) {
        let parent = timeline.parent.as_deref().filter(|_| timeline.kept);
        for stretch in &mut self.stretches {
            let of_parent = parent.filter(|_| stretch.upto <= timeline.at);
            if stretch.timeline.is_none() {
                stretch.timeline = Some(of_parent.unwrap_or(&timeline.id).to_owned());
            } else if parent.is_some()
                && stretch.timeline.as_deref() == parent
                && stretch.perhaps_another
                && stretch.after >= timeline.at
            {
                stretch.timeline = Some(timeline.id.clone());
            }
        }
        let is_known = |t: &Turn| t.to.id == timeline.id;
        if before == Some(&timeline.id) || self.turns.iter().any(is_known) {
            return;
        }
        let (from, at) = match (before, parent) {
            (_, Some(parent)) => (Some(parent.to_owned()), timeline.at),
            (None, None) if timeline.parent.is_none() => (None, Revision::NONE),
            _ => return,
        };
        self.turns.push(Turn {
            from,
            to: timeline.clone(),
            at,
        });
    }

    fn walk(
        &self,
        storage: &dyn crate::storage::Storage,
        timeline: &str,
        span: Span,
        visit: &mut dyn FnMut(Recalled) -> Result<()>,
    ) -> Result<()> {
        let mut told = span.first.previous();
        for stretch in &self.stretches {
            let own = Span::new(stretch.after.max(told).next(), stretch.upto);
            let Some(common) = own.and_then(|own| own.overlap(span)) else {
                continue;
            };
            if stretch.timeline.as_deref() != Some(timeline) {
                continue;
            }
            told = common.last;
            let (file, seed) = &self.segments[stretch.segment];
            let Some(mut source) = file.source(storage)? else {
                continue;
            };
            let before = stretch.points.iter().rev();
            let mut at = before
                .filter(|(covered, _)| *covered < common.first)
                .map(|(_, offset)| *offset)
                .next()
                .unwrap_or(stretch.end);
            while at < stretch.end {
                let Ok(raw) = scan::look(&mut source, seed, at)? else {
                    return Err(Error::DonorChanged {
                        donor: file.path.display().to_string(),
                        first: common.first,
                        last: common.last,
                    });
                };
                at += raw.header.length();
                if raw.header.revision < common.first {
                    continue;
                }
                if let Ok(Entry::Changes {
                    changes,
                    observed_at,
                }) = payload::decode(raw.header.kind, raw.payload)
                {
                    for recalled in by_revision(raw.header.revision, changes, observed_at) {
                        if common.first <= recalled.revision && recalled.revision <= common.last {
                            visit(recalled)?;
                        }
                    }
                }
                if raw.header.revision > common.last {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// The revisions that share a record: one, unless a repair wrote it.
fn by_revision(revision: Revision, changes: Vec<Change>, observed_at: Timestamp) -> Vec<Recalled> {
    let mut all: Vec<Recalled> = Vec::new();
    for mut change in changes {
        let at = change.revision.take().unwrap_or(revision);
        match all.last_mut() {
            Some(last) if last.revision == at => last.changes.push(change),
            _ => all.push(Recalled {
                revision: at,
                changes: vec![change],
                observed_at,
            }),
        }
    }
    if all.is_empty() {
        all.push(Recalled {
            revision,
            changes: Vec::new(),
            observed_at,
        });
    }
    all
}

/// Reads a journal from its beginning to its end and notes its stretches.
struct Surveyor<'a> {
    storage: &'a dyn crate::storage::Storage,
    tracker: Tracker,
    expected: Sequence,
    /// Whether the next changes may be the rest of a difference whose opening is missing.
    doubt: bool,
    /// What a marker met in doubt says is covered.
    marked: Option<Revision>,
    /// Whether the stretch that was noted last goes on.
    unbroken: bool,
    /// Whether the record of a timeline may be in a hole since one was named.
    perhaps_another: bool,
}

impl<'a> Surveyor<'a> {
    fn new(storage: &'a dyn crate::storage::Storage) -> Self {
        Self {
            storage,
            tracker: Tracker::default(),
            expected: Sequence(1),
            doubt: false,
            marked: None,
            unbroken: false,
            perhaps_another: false,
        }
    }

    fn survey(mut self, catalog: &mut Catalog) -> Result<()> {
        for segment in 0..catalog.segments.len() {
            let (file, seed) = catalog.segments[segment].clone();
            let Some(mut source) = file.source(self.storage)? else {
                continue;
            };
            // Stretches do not reach over files; what a header says holds whatever is missing before.
            self.unbroken = false;
            if let Ok(header) = &file.header {
                let before = self.tracker.timeline.take();
                self.tracker = crate::recovery::tracker_before(header);
                self.expected = header.first;
                self.doubt = false;
                if let Some(timeline) = self.tracker.timeline.clone() {
                    catalog.learn(before.as_ref().map(|t| t.id.as_str()), &timeline);
                }
                self.perhaps_another = false;
                if self.tracker.open_gap.is_some() && !self.tracker.in_difference() {
                    self.tracker.open_gap = None;
                }
            }
            let mut at = SEGMENT_HEADER_BYTES as u64;
            while let Some(offset) =
                crate::salvage::next_whole(&mut source, &seed, at, Sequence::NONE.next())?
            {
                at = self.record(catalog, segment, &mut source, &seed, offset)?;
            }
        }
        Ok(())
    }

    /// Takes in the whole record at `offset`; returns where the next one may be.
    fn record(
        &mut self,
        catalog: &mut Catalog,
        segment: usize,
        source: &mut crate::source::Source,
        seed: &Seed,
        offset: u64,
    ) -> Result<u64> {
        let raw = scan::look(source, seed, offset)?.expect("it was whole a moment ago");
        let header = raw.header;
        let entry = payload::decode(header.kind, raw.payload).expect("it decoded");
        let after = offset + header.length();
        let lost = match entry {
            // Where only markers are lost, nothing is in doubt.
            Entry::Lost { first, last, .. } => {
                first <= last
                    || header.revision < self.tracker.covered
                    || self.tracker.in_difference()
            }
            _ => header.sequence != self.expected,
        };
        if lost {
            self.unbroken = false;
            self.doubt = true;
            self.perhaps_another = true;
            self.marked = None;
            self.tracker.open_gap = None;
        }
        self.expected = header.sequence.next();
        let covered = self.tracker.covered;
        let before = self.tracker.clone();
        self.tracker.apply(header.revision, &entry);
        match &entry {
            Entry::Changes { changes, .. } => {
                if before.in_difference() {
                    return Ok(after);
                }
                if self.doubt && self.is_doubtful(source, seed, offset, &header, changes)? {
                    self.unbroken = false;
                    return Ok(after);
                }
                let first = changes.iter().filter_map(|c| c.revision).min();
                let known_before = if self.unbroken {
                    covered
                } else if self.doubt {
                    // It is an event, so what the marker before it said was said among events.
                    let before = first.unwrap_or(header.revision).previous();
                    self.marked.take().map_or(before, |m| m.min(before))
                } else {
                    covered
                };
                self.doubt = false;
                self.note(
                    catalog,
                    segment,
                    known_before,
                    header.revision,
                    offset,
                    after,
                );
            }
            Entry::Watermark { .. } | Entry::Seal { .. } => {
                if before.in_difference() {
                    return Ok(after);
                }
                if self.doubt {
                    // It may stand within a difference, and say what was covered before that.
                    self.marked = Some(header.revision);
                    return Ok(after);
                }
                self.note(catalog, segment, covered, header.revision, offset, after);
            }
            Entry::Gap {
                phase: GapPhase::Opened,
                ..
            } => {
                self.doubt = false;
                self.unbroken = false;
            }
            Entry::Gap { last, .. } => {
                // Whatever the difference was: from here on there are events again.
                self.tracker.open_gap = None;
                self.tracker.covered = *last;
                self.doubt = false;
                self.unbroken = false;
            }
            Entry::Timeline(timeline) => {
                if !before.in_difference() {
                    // Behind a hole it may be one of a gap's records; it says itself what was before.
                    if self.doubt {
                        catalog.learn(None, timeline);
                    } else {
                        self.turn(catalog, &before, timeline, header.revision);
                    }
                    let goes_on = timeline.kept && header.revision >= covered;
                    if goes_on && !self.doubt && before.timeline.is_some() {
                        // Up to there nothing more happened in the timeline before.
                        let now = std::mem::replace(&mut self.tracker.timeline, before.timeline);
                        self.note(catalog, segment, covered, header.revision, offset, after);
                        self.tracker.timeline = now;
                    }
                }
                self.marked = None;
                self.unbroken = false;
                self.perhaps_another = false;
            }
            Entry::Lost { .. } => {
                self.tracker.open_gap = None;
            }
        }
        Ok(after)
    }

    fn is_doubtful(
        &self,
        source: &mut crate::source::Source,
        seed: &Seed,
        offset: u64,
        header: &crate::layout::RecordHeader,
        changes: &[Change],
    ) -> Result<bool> {
        if is_difference(source, seed, offset, header, changes)? {
            return Ok(true);
        }
        let deletes = changes.iter().all(|c| c.op == crate::Op::Delete);
        Ok(deletes && scan::look(source, seed, offset + header.length())?.is_err())
    }

    /// A timeline that goes on with the revisions before it.
    fn turn(&self, catalog: &mut Catalog, before: &Tracker, to: &Timeline, at: Revision) {
        if before.timeline.is_none() && to.parent.is_some() {
            catalog.learn(None, to);
        } else if at >= before.covered && (to.kept || before.timeline.is_none()) {
            catalog.turns.push(Turn {
                from: before.timeline.as_ref().map(|t| t.id.clone()),
                to: to.clone(),
                at,
            });
        }
    }

    fn note(
        &mut self,
        catalog: &mut Catalog,
        segment: usize,
        after: Revision,
        upto: Revision,
        offset: u64,
        end: u64,
    ) {
        let unbroken = self.unbroken;
        self.unbroken = true;
        if unbroken && let Some(stretch) = catalog.stretches.last_mut() {
            let far = stretch
                .points
                .last()
                .is_none_or(|(_, p)| offset - p >= POINT_BYTES);
            if far {
                stretch.points.push((stretch.upto, offset));
            }
            stretch.upto = stretch.upto.max(upto);
            stretch.end = end;
            return;
        }
        catalog.stretches.push(Stretch {
            timeline: self.tracker.timeline.as_ref().map(|t| t.id.clone()),
            perhaps_another: self.perhaps_another,
            segment,
            after: after.min(upto),
            upto,
            points: vec![(after.min(upto), offset)],
            end,
        });
    }
}
