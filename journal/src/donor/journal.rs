//! Another journal of the same cluster as a donor: read only, never locked, whatever state it is in.
//!
//! The whole of it is read once, and of each unbroken stretch of events it is noted where it lies. Every record
//! says by itself which revisions it speaks of, in which timeline, and whether as an event: so a record counts
//! whatever is lost around it. What tells a gap's difference does not, as it tells no single revision. Only records
//! that verify are ever handed on.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    directory::listing::Listing,
    donor::{Donor, Part, Recalled, Turn, bytes_of},
    error::{Error, Result},
    format::{
        kind::Kind,
        layout::{RecordHeader, Seed},
        payload,
        position::TimelineTag,
    },
    model::{
        entry::Entry,
        ids::{Revision, Sequence},
        span::Span,
    },
    repair::{
        evidence,
        found::{self, Found},
        lineage,
    },
    segment::scan,
    storage::{
        disk::Disk,
        traits::{SharedStorage, Storage},
    },
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

/// Records of one segment that lie one behind the other and tell of all that happened in between.
#[derive(Debug)]
struct Stretch {
    timeline: TimelineTag,
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
            let headers = files.iter().filter_map(|file| file.header.as_ref().ok());
            let named = headers.filter_map(|header| header.context.timeline.as_ref());
            catalog.turns.extend(named.map(lineage::named));
            if let Some(uuid) = found::identity(&*self.storage, &mut files)? {
                for (i, file) in files.iter().enumerate() {
                    if let Some(seed) = file.seed(&*self.storage, files.get(i + 1), uuid)? {
                        catalog.segments.push((file.clone(), seed));
                    }
                }
                catalog.survey(&*self.storage)?;
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
        let storage = self.storage.clone();
        let catalog = self.catalog()?;
        let mut parts = Vec::new();
        for span in catalog.spans(timeline, span) {
            let (mut events, mut bytes) = (0, 0);
            catalog.walk(&*storage, timeline, span, &mut |recalled| {
                events += 1;
                bytes += recalled.changes.iter().map(bytes_of).sum::<u64>();
                Ok(())
            })?;
            parts.push(Part {
                span,
                events,
                bytes,
            });
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
    /// Looks at every record that verifies.
    fn survey(&mut self, storage: &dyn Storage) -> Result<()> {
        for segment in 0..self.segments.len() {
            let (file, seed) = self.segments[segment].clone();
            let Some(mut source) = file.source(storage)? else {
                continue;
            };
            let mut at = evidence::BEGIN;
            while let Some(offset) =
                evidence::next_whole(&mut source, &seed, at, Sequence::NONE.next())?
            {
                let raw = scan::look(&mut source, &seed, offset)?.expect("whole a moment ago");
                let header = raw.header;
                let entry = payload::decode(header.kind, raw.payload).expect("it decoded");
                at = offset + header.length();
                if let Entry::Timeline(to) = &entry {
                    self.turns.push(Turn {
                        to: to.clone(),
                        begun: Some(header.revision),
                    });
                }
                let told = told(&header, &entry);
                if told.is_empty() && matches!(header.kind, Kind::Watermark | Kind::Seal) {
                    self.pass(segment, (offset, at));
                }
                for (timeline, span) in told {
                    self.note(timeline, segment, span, (offset, at));
                }
            }
        }
        Ok(())
    }

    /// All of this span is told by the record at these offsets, and what was noted before.
    fn note(
        &mut self,
        timeline: TimelineTag,
        segment: usize,
        span: Span,
        (offset, end): (u64, u64),
    ) {
        if let Some(stretch) = self.stretches.last_mut()
            && stretch.segment == segment
            && stretch.timeline == timeline
            && stretch.end == offset
            && span.first == stretch.upto.next()
        {
            if stretch
                .points
                .last()
                .is_none_or(|(_, p)| offset - p >= POINT_BYTES)
            {
                stretch.points.push((stretch.upto, offset));
            }
            stretch.upto = span.last;
            stretch.end = end;
            return;
        }
        self.stretches.push(Stretch {
            timeline,
            segment,
            after: span.first.previous(),
            upto: span.last,
            points: vec![(span.first.previous(), offset)],
            end,
        });
    }

    /// A record that says nothing new does not break a stretch.
    fn pass(&mut self, segment: usize, (offset, end): (u64, u64)) {
        if let Some(stretch) = self.stretches.last_mut()
            && stretch.segment == segment
            && stretch.end == offset
        {
            stretch.end = end;
        }
    }

    /// What is told of a span, in order, nothing twice.
    fn spans(&self, timeline: &str, span: Span) -> Vec<Span> {
        self.tellings(timeline, span)
            .into_iter()
            .map(|(_, s)| s)
            .collect()
    }

    /// The same, and by which stretch.
    fn tellings(&self, timeline: &str, span: Span) -> Vec<(&Stretch, Span)> {
        let tag = TimelineTag::of(Some(timeline));
        if self.is_ambiguous(tag) {
            return Vec::new();
        }
        let of_it = self.stretches.iter().filter(|s| s.timeline == tag);
        let common =
            |s: &Stretch| Span::new(s.after.next(), s.upto).and_then(|own| own.overlap(span));
        let mut all: Vec<(&Stretch, Span)> = of_it.filter_map(|s| Some((s, common(s)?))).collect();
        all.sort_by_key(|(_, span)| span.first);
        let mut told = span.first.previous();
        let mut once = Vec::new();
        for (stretch, span) in all {
            if let Some(rest) = Span::new(span.first.max(told.next()), span.last) {
                once.push((stretch, rest));
                told = rest.last;
            }
        }
        once
    }

    /// Whether two timelines of this journal have this tag.
    fn is_ambiguous(&self, tag: TimelineTag) -> bool {
        let ids = self.turns.iter().map(|t| t.to.id.as_str());
        let mut ids = ids.filter(|id| TimelineTag::of(Some(id)) == tag);
        let first = ids.next();
        ids.any(|id| Some(id) != first)
    }

    fn walk(
        &self,
        storage: &dyn Storage,
        timeline: &str,
        span: Span,
        visit: &mut dyn FnMut(Recalled) -> Result<()>,
    ) -> Result<()> {
        for (stretch, span) in self.tellings(timeline, span) {
            let (file, seed) = &self.segments[stretch.segment];
            let changed = || Error::DonorChanged {
                donor: file.path.display().to_string(),
                first: span.first,
                last: span.last,
            };
            let mut source = file.source(storage)?.ok_or_else(changed)?;
            let before = stretch.points.iter().rev();
            let mut at = before
                .filter(|(covered, _)| *covered < span.first)
                .map(|(_, offset)| *offset)
                .next()
                .unwrap_or(stretch.end);
            while at < stretch.end {
                let raw = scan::look(&mut source, seed, at)?.map_err(|_| changed())?;
                at += raw.header.length();
                let header = raw.header;
                if header.position.prev_revision >= span.last {
                    break;
                }
                let entry = payload::decode(header.kind, raw.payload).map_err(|_| changed())?;
                for recalled in by_revision(&header, entry) {
                    if span.first <= recalled.revision && recalled.revision <= span.last {
                        visit(recalled)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The revisions of which a record tells all, each span with its timeline.
fn told(header: &RecordHeader, entry: &Entry) -> Vec<(TimelineTag, Span)> {
    let standing = header.position;
    let since = |timeline, last| {
        let span = Span::new(standing.prev_revision.next(), last);
        span.map(|span| (timeline, span)).into_iter().collect()
    };
    match entry {
        Entry::Lost { known, .. } => known.iter().map(|s| (standing.timeline, *s)).collect(),
        _ if standing.within => Vec::new(),
        Entry::Changes { .. } | Entry::Watermark { .. } | Entry::Seal { .. } => {
            since(standing.timeline, header.revision)
        }
        // Up to there nothing more happened in the timeline before.
        Entry::Timeline(to) if to.kept && to.parent.is_some() => since(
            TimelineTag::of(to.parent.as_deref()),
            header.revision.min(to.at),
        ),
        Entry::Timeline(_) | Entry::Gap { .. } => Vec::new(),
    }
}

/// The revisions that a record tells: one, unless a repair wrote it.
fn by_revision(header: &RecordHeader, entry: Entry) -> Vec<Recalled> {
    let (changes, observed_at) = match entry {
        Entry::Changes {
            changes,
            observed_at,
        }
        | Entry::Lost {
            changes,
            observed_at,
            ..
        } => (changes, observed_at),
        _ => return Vec::new(),
    };
    let mut all: Vec<Recalled> = Vec::new();
    for mut change in changes {
        let at = change.revision.take().unwrap_or(header.revision);
        match all.last_mut() {
            Some(last) if last.revision == at => last.changes.push(change),
            _ => all.push(Recalled {
                revision: at,
                changes: vec![change],
                observed_at,
            }),
        }
    }
    if all.is_empty() && header.kind == Kind::Changes {
        all.push(Recalled {
            revision: header.revision,
            changes: Vec::new(),
            observed_at,
        });
    }
    all
}
