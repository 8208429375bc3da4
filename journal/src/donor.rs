//! Who may still know what a damaged journal has lost: donors.
//!
//! A donor speaks of revisions of a timeline, never of sequences: two journals of one cluster hold the
//! same changes at the same revision, under whatever sequences. What it says that it knows it knows
//! whole: a revision of which it has no change had none.

use crate::{
    error::Result,
    model::{
        entry::{Change, Op, Timeline},
        ids::Revision,
        span::Span,
        time::Timestamp,
    },
};

mod journal;

pub use journal::JournalDonor;

/// A part of a span that a donor knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The revisions.
    pub span: Span,
    /// How many of them have changes.
    pub events: u64,
    /// About how many bytes those changes take.
    pub bytes: u64,
}

/// All changes of one revision, as a donor has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recalled {
    /// The revision.
    pub revision: Revision,
    /// Its changes, in the order in which they were applied.
    pub changes: Vec<Change>,
    /// When they were seen.
    pub observed_at: Timestamp,
}

/// A timeline that began, as somebody knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The timeline; it names the one before.
    pub to: Timeline,
    /// The revision that it was counted from, where somebody saw it begin.
    pub begun: Option<Revision>,
}

/// Something that may know what a journal has lost.
pub trait Donor {
    /// What people call it.
    fn name(&self) -> String;

    /// The parts of `span` that it knows whole, in order, none touching another twice.
    fn knows(&mut self, timeline: &str, span: Span) -> Result<Vec<Part>>;

    /// Visits the changes of a part, oldest first: exactly as many revisions as the part has events.
    fn recall(
        &mut self,
        timeline: &str,
        span: Span,
        visit: &mut dyn FnMut(Recalled) -> Result<()>,
    ) -> Result<()>;

    /// The timelines that it knows of.
    fn turns(&mut self) -> Result<Vec<Turn>> {
        Ok(Vec::new())
    }
}

/// A part of a plan: who tells it, or that nobody can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// This donor knows it.
    Known {
        donor: usize,
        timeline: String,
        part: Part,
    },
    /// Nobody does.
    Unknown(Span),
}

impl Piece {
    /// Whether somebody tells it.
    pub(crate) fn is_known(&self) -> bool {
        matches!(self, Self::Known { .. })
    }

    /// The revisions.
    pub(crate) fn span(&self) -> Span {
        match self {
            Self::Known { part, .. } => part.span,
            Self::Unknown(span) => *span,
        }
    }
}

/// All donors of a repair, the first one asked first.
pub(crate) struct Donors<'a> {
    all: &'a mut [Box<dyn Donor>],
}

impl<'a> Donors<'a> {
    pub(crate) fn new(all: &'a mut [Box<dyn Donor>]) -> Self {
        Self { all }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn name(&self, donor: usize) -> String {
        self.all[donor].name()
    }

    /// All timelines that any of them knows of.
    pub(crate) fn turns(&mut self) -> Result<Vec<Turn>> {
        let mut turns = Vec::new();
        for donor in self.all.iter_mut() {
            turns.extend(donor.turns()?);
        }
        Ok(turns)
    }

    /// Who knows what of a span, in order and without anything left out.
    pub(crate) fn survey(&mut self, timeline: &str, span: Span) -> Result<Vec<Piece>> {
        let mut pieces = vec![Piece::Unknown(span)];
        for (i, donor) in self.all.iter_mut().enumerate() {
            pieces = asked(pieces, i, timeline, |unknown| {
                donor.knows(timeline, unknown)
            })?;
        }
        Ok(pieces)
    }

    pub(crate) fn recall(
        &mut self,
        donor: usize,
        timeline: &str,
        span: Span,
        visit: &mut dyn FnMut(Recalled) -> Result<()>,
    ) -> Result<()> {
        self.all[donor].recall(timeline, span, visit)
    }
}

/// The same pieces, after one donor was asked for what is unknown of them.
pub(crate) fn asked(
    pieces: Vec<Piece>,
    donor: usize,
    timeline: &str,
    mut knows: impl FnMut(Span) -> Result<Vec<Part>>,
) -> Result<Vec<Piece>> {
    let mut after = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Unknown(unknown) => {
                after.extend(overlay(unknown, knows(unknown)?, donor, timeline));
            }
            known @ Piece::Known { .. } => after.push(known),
        }
    }
    Ok(after)
}

/// What was unknown, now that a donor knows these parts of it, in order.
fn overlay(
    unknown: Span,
    parts: impl IntoIterator<Item = Part>,
    donor: usize,
    timeline: &str,
) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut next = unknown.first;
    for part in parts {
        pieces.extend(Span::new(next, part.span.first.previous()).map(Piece::Unknown));
        next = part.span.last.next();
        pieces.push(Piece::Known {
            donor,
            timeline: timeline.to_owned(),
            part,
        });
    }
    pieces.extend(Span::new(next, unknown.last).map(Piece::Unknown));
    pieces
}

/// About how many bytes a change takes in a record.
pub(crate) fn bytes_of(change: &Change) -> u64 {
    let value = match &change.op {
        Op::Set(value) => value.len(),
        Op::Delete => 0,
    };
    // Lengths, a revision and flags come on top.
    (change.path.len() + value) as u64 + 32
}
