//! What a plan is made of.

use crate::{
    checkpoint::file::Checkpoint,
    format::position::TimelineTag,
    model::{
        entry::{Gap, GapReason, Timeline},
        ids::{Revision, Sequence},
        span::Span,
    },
};

/// What is to be written next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The records of an own item, as they are.
    Copy(usize),
    /// What a donor knows.
    Recall {
        donor: usize,
        timeline: String,
        span: Span,
    },
    /// Nothing more happened up to here.
    Covered(Revision),
    Timeline(Timeline, Revision),
    /// What follows is of this timeline, of which nobody knows the name.
    Unnamed(TimelineTag),
    Opened(Gap),
    /// The changes of an own item, parts of a snapshot diff; none that is newer than this.
    Parts(usize, Option<Revision>),
    Closed(Gap),
    /// What nobody knows. `taken_back`: a timeline that took revisions back to here is among it.
    Lost {
        span: Option<Span>,
        taken_back: Option<Revision>,
    },
    Checkpoint(usize),
}

impl Step {
    pub(super) fn lost(span: Span) -> Self {
        Self::Lost {
            span: Some(span),
            taken_back: None,
        }
    }
}

/// A hole in the own journal that this repair found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    /// The item behind it; as many as there are items: it is at the end.
    pub(crate) before: usize,
    /// The sequences that are missing, unless it is not known how many.
    pub(crate) sequences: Option<(Sequence, Sequence)>,
    /// The revisions that may be lost with them, and whether they are for certain.
    pub(crate) span: Option<Span>,
    pub(crate) exact: bool,
    /// Whether nothing is lost: donors have given it back, or only bookkeeping was there that is
    /// known.
    pub(crate) made_good: bool,
}

/// Where a journal begins.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    /// The first sequence.
    pub(crate) first: Sequence,
    /// What is known before it.
    pub(crate) covered: Revision,
    pub(crate) timeline: Option<Timeline>,
    pub(crate) open_gap: Option<Gap>,
    pub(crate) unhealed: Option<Gap>,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) losses: Vec<Loss>,
    /// Checkpoints that lack what is there again, by their index.
    pub(crate) lacking: Vec<usize>,
    /// Whether donors give anything back.
    pub(crate) fills: bool,
}

impl Loss {
    /// Whether another one goes on where this one ends.
    pub(super) fn joins(&self, next: &Self) -> bool {
        let behind = match (self.sequences, next.sequences) {
            (Some((_, last)), Some((first, _))) => first <= last.next(),
            (None, None) => self.before == next.before,
            _ => false,
        };
        let goes_on = match (self.span, next.span) {
            (Some(a), Some(b)) => a.last.next() == b.first,
            _ => false,
        };
        behind && goes_on && !self.made_good && !next.made_good
    }

    pub(super) fn take_in(&mut self, next: &Self) {
        self.exact &= next.exact;
        if let (Some(a), Some(b)) = (&mut self.span, next.span) {
            a.last = b.last;
        }
        if let (Some(a), Some(b)) = (&mut self.sequences, next.sequences) {
            a.1 = a.1.max(b.1);
        }
    }
}

/// Whether a checkpoint was made when something was lost.
pub(crate) fn lacks_something(checkpoint: &Checkpoint) -> bool {
    let gap = checkpoint.header.open_gap;
    gap.is_some_and(|gap| !is_diff(&gap))
}

pub(crate) fn is_diff(gap: &Gap) -> bool {
    gap.reason != GapReason::Damage
}
