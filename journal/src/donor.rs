//! Who may still know what a damaged journal has lost: donors.
//!
//! A donor speaks of revisions of a timeline, never of sequences: two journals of one cluster hold the
//! same changes at the same revision, under whatever sequences. What it says that it knows it knows
//! whole: a revision of which it has no change had none.

use crate::{Change, Result, Revision, Timeline, Timestamp};

mod journal;

pub use journal::JournalDonor;

/// Revisions, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub first: Revision,
    /// The last; not less than the first.
    pub last: Revision,
}

impl Span {
    /// From `first` to `last`; `None`: there is no revision in between.
    #[must_use]
    pub fn new(first: Revision, last: Revision) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// What this has in common with `other`.
    #[must_use]
    pub fn overlap(self, other: Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last))
    }
}

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

/// A place in a journal where a timeline begins that goes on with the revisions before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The timeline before; `None`: there was none.
    pub from: Option<String>,
    /// The timeline that begins.
    pub to: Timeline,
    /// The newest revision before it.
    pub at: Revision,
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

    /// Where it saw timelines begin that keep the revisions before them.
    fn turns(&mut self) -> Result<Vec<Turn>> {
        Ok(Vec::new())
    }
}

/// One revision's worth of a plan: who tells it, or that nobody can.
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
    /// Here this timeline begins.
    Turn(Timeline, Revision),
}

impl Piece {
    /// Whether somebody tells it.
    pub(crate) fn is_known(&self) -> bool {
        matches!(self, Self::Known { .. })
    }
}

/// All donors of a repair, the first one asked first.
pub(crate) struct Donors<'a> {
    all: &'a mut [Box<dyn Donor>],
    turns: Option<Vec<Turn>>,
}

impl<'a> Donors<'a> {
    pub(crate) fn new(all: &'a mut [Box<dyn Donor>]) -> Self {
        Self { all, turns: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn name(&self, donor: usize) -> String {
        self.all[donor].name()
    }

    /// Who knows what of a span, in order and without anything left out.
    pub(crate) fn survey(&mut self, timeline: Option<&str>, span: Span) -> Result<Vec<Piece>> {
        let mut pieces = vec![Piece::Unknown(span)];
        let Some(timeline) = timeline else {
            return Ok(pieces);
        };
        for (i, donor) in self.all.iter_mut().enumerate() {
            let mut after = Vec::new();
            for piece in pieces {
                let Piece::Unknown(unknown) = piece else {
                    after.push(piece);
                    continue;
                };
                let mut next = unknown.first;
                for part in donor.knows(timeline, unknown)? {
                    let before = Span::new(next, part.span.first.previous());
                    after.extend(before.map(Piece::Unknown));
                    next = part.span.last.next();
                    after.push(Piece::Known {
                        donor: i,
                        timeline: timeline.to_owned(),
                        part,
                    });
                }
                after.extend(Span::new(next, unknown.last).map(Piece::Unknown));
            }
            pieces = after;
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

    /// Whether somebody knows that exactly one of these happened, behind `at`.
    pub(crate) fn confirms(
        &mut self,
        timeline: &str,
        at: Revision,
        witnesses: &[(Revision, Vec<Change>)],
    ) -> Result<bool> {
        for (revision, changes) in witnesses.iter().filter(|(r, _)| *r > at) {
            let span = Span {
                first: *revision,
                last: *revision,
            };
            for donor in self.all.iter_mut() {
                let mut same = false;
                if !donor.knows(timeline, span)?.is_empty() {
                    donor.recall(timeline, span, &mut |recalled| {
                        same = recalled.changes == *changes;
                        Ok(())
                    })?;
                }
                if same {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The timeline behind `from`, at `at` or later, if all donors that went on from there agree on it: they
    /// know of no other, and of nothing that `from` counted behind its beginning.
    pub(crate) fn only_turn(&mut self, from: &str, at: Revision) -> Result<Option<Turn>> {
        let turns = self.turns(Some(from), at, Revision(i64::MAX))?;
        let [turn] = &turns[..] else {
            return Ok(None);
        };
        let beyond = Span {
            first: turn.at.next(),
            last: Revision(i64::MAX),
        };
        for donor in self.all.iter_mut() {
            if !donor.knows(from, beyond)?.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(turn.clone()))
    }

    /// The timelines that may begin behind `from` at one of the revisions `first..=last`.
    pub(crate) fn turns(
        &mut self,
        from: Option<&str>,
        first: Revision,
        last: Revision,
    ) -> Result<Vec<Turn>> {
        if self.turns.is_none() {
            let mut all: Vec<Turn> = Vec::new();
            for donor in self.all.iter_mut() {
                for turn in donor.turns()? {
                    let same =
                        |t: &Turn| t.to.id == turn.to.id && t.from == turn.from && t.at == turn.at;
                    if !all.iter().any(same) {
                        all.push(turn);
                    }
                }
            }
            self.turns = Some(all);
        }
        let all = self.turns.iter().flatten();
        let fits = |t: &&Turn| t.from.as_deref() == from && first <= t.at && t.at <= last;
        Ok(all.filter(fits).cloned().collect())
    }
}
