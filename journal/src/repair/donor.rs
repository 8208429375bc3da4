//! Who else may know what happened: donors.
//!
//! A donor speaks of revisions of a timeline, never of sequences: two journals of one cluster hold
//! the same changes at the same revision, under whatever sequences. A span that it says it knows it
//! knows whole: a revision of which it has no change had none.

use std::path::Path;

use crate::{
    directory::{handle::Directory, listing::Listing},
    error::Result,
    format::{kind::Kind, position::TimelineTag},
    model::{entry::NewRecord, span::Span},
    repair::{
        catalog::{Catalog, Item, What},
        found::{self, Found},
        lineage::{self, Turn},
        watch::Watch,
    },
    stop::Stop,
    storage::traits::Storage,
};

/// Something that may know what a journal has lost.
pub trait Donor {
    /// What people call it.
    fn name(&self) -> String;

    /// The parts of `span` that it knows whole, in order, none overlapping another.
    fn knows(&mut self, timeline: &str, span: Span) -> Result<Vec<Span>>;

    /// Visits the changes and leases of a span that it knows, oldest first: all changes of a
    /// revision in one record.
    fn recall(
        &mut self,
        timeline: &str,
        span: Span,
        visit: &mut dyn FnMut(NewRecord) -> Result<()>,
    ) -> Result<()>;

    /// The timelines that it knows of.
    fn turns(&mut self) -> Result<Vec<Turn>> {
        Ok(Vec::new())
    }
}

/// A part of a span: which donor knows it; `None`: nobody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) span: Span,
    pub(crate) donor: Option<usize>,
}

/// Who knows what of a span, in order and without anything left out. The first donor is asked
/// first.
pub(crate) fn survey(
    donors: &mut [Box<dyn Donor>],
    timeline: &str,
    span: Span,
) -> Result<Vec<Piece>> {
    let mut pieces = vec![Piece { span, donor: None }];
    for (i, donor) in donors.iter_mut().enumerate() {
        let mut after = Vec::new();
        for piece in pieces {
            if piece.donor.is_some() {
                after.push(piece);
                continue;
            }
            let mut next = piece.span.first;
            let unknown =
                |first, last| Span::new(first, last).map(|span| Piece { span, donor: None });
            for known in donor.knows(timeline, piece.span)? {
                after.extend(unknown(next, known.first.previous()));
                after.push(Piece {
                    span: known,
                    donor: Some(i),
                });
                next = known.last.next();
            }
            after.extend(unknown(next, piece.span.last));
        }
        pieces = after;
    }
    Ok(pieces)
}

/// The journal in a directory as a donor. Read only, never locked, whatever state it is in; only
/// records that verify are handed on. A gap's snapshot diff tells no single revision, so it is not.
#[derive(Debug)]
pub struct JournalDonor {
    directory: Directory,
    catalog: Option<Catalog>,
}

impl JournalDonor {
    /// The journal in `dir`; nothing is read yet.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self::of(Directory::at(dir))
    }

    /// The journal in a directory on any storage.
    #[must_use]
    pub fn of(directory: Directory) -> Self {
        Self {
            directory,
            catalog: None,
        }
    }

    fn catalog(&mut self) -> Result<Option<&Catalog>> {
        if self.catalog.is_none() {
            let (storage, dir) = (self.directory.storage(), self.directory.path());
            let listing = Listing::read(storage, dir)?;
            if listing.segments.is_empty() {
                return Err(listing.not_a_journal(dir));
            }
            let mut files = Found::all(storage, &listing)?;
            if let Some(uuid) = found::identity(storage, &mut files)? {
                let mut watch = Watch::new(None, Stop::new());
                self.catalog = Some(Catalog::read(storage, files, uuid, &[], &mut watch)?);
            }
        }
        Ok(self.catalog.as_ref())
    }
}

impl Donor for JournalDonor {
    fn name(&self) -> String {
        self.directory.path().display().to_string()
    }

    fn knows(&mut self, timeline: &str, span: Span) -> Result<Vec<Span>> {
        let Some(catalog) = self.catalog()? else {
            return Ok(Vec::new());
        };
        let mut known: Vec<Span> = Vec::new();
        for (_, span) in catalog.tellings(timeline, span) {
            match known.last_mut() {
                Some(before) if before.last.next() == span.first => before.last = span.last,
                _ => known.push(span),
            }
        }
        Ok(known)
    }

    fn recall(
        &mut self,
        timeline: &str,
        span: Span,
        visit: &mut dyn FnMut(NewRecord) -> Result<()>,
    ) -> Result<()> {
        let directory = self.directory.clone();
        let Some(catalog) = self.catalog()? else {
            return Ok(());
        };
        for (item, span) in catalog.tellings(timeline, span) {
            catalog.walk(directory.storage(), item, span, visit)?;
        }
        Ok(())
    }

    fn turns(&mut self) -> Result<Vec<Turn>> {
        Ok(self.catalog()?.map_or_else(Vec::new, |c| c.turns.clone()))
    }
}

impl Catalog {
    /// What is told of a span, in order, nothing twice, and by which item.
    fn tellings(&self, timeline: &str, span: Span) -> Vec<(&Item, Span)> {
        let tag = TimelineTag::of(Some(timeline));
        if self.is_ambiguous(tag) {
            return Vec::new();
        }
        let mut all: Vec<(&Item, Span)> = Vec::new();
        for item in &self.items {
            let told = match &item.what {
                What::Told(_) if item.tag == tag => item.told(),
                // Up to there nothing more happened in the timeline before.
                What::Timeline(to) if !item.within && to.kept => lineage::parent(to)
                    .filter(|parent| *parent == timeline)
                    .and_then(|_| Span::new(item.after.next(), item.revision.min(to.at))),
                _ => None,
            };
            all.extend(told.and_then(|told| Some((item, told.overlap(span)?))));
        }
        all.sort_by_key(|(_, span)| span.first);
        let mut told = span.first.previous();
        let mut once = Vec::new();
        for (item, span) in all {
            if let Some(rest) = Span::new(span.first.max(told.next()), span.last) {
                once.push((item, rest));
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
        item: &Item,
        span: Span,
        visit: &mut dyn FnMut(NewRecord) -> Result<()>,
    ) -> Result<()> {
        let What::Told(points) = &item.what else {
            return Ok(());
        };
        let before = points.iter().rev();
        let mut before = before.filter(|(covered, _)| *covered < span.first);
        let from = before.next().map_or(item.from, |(_, offset)| *offset);
        self.visit(storage, item, from, |header, decode| {
            let revision = header.revision;
            let is_within = span.first <= revision && revision <= span.last;
            if is_within && matches!(header.kind, Kind::Changes | Kind::Lease) {
                let entry = decode()?;
                visit(NewRecord { revision, entry })?;
            }
            Ok(header.position.prev_revision < span.last || revision <= span.last)
        })
    }
}
