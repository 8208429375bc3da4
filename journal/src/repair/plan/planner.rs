//! The state of a sweep, and the ways to tell, to ask and to name.

use std::collections::BTreeMap;

use crate::{
    checkpoint::file::Checkpoint,
    error::Result,
    format::{kind::Kind, position::TimelineTag},
    model::{
        entry::{Gap, GapReason, Timeline},
        ids::{Revision, Sequence},
        span::Span,
    },
    repair::{
        catalog::{Item, UNKNOWN, What},
        donor::{Donor, Piece, survey},
        lineage::Lineage,
        plan::decided::{Loss, Plan, Step},
    },
};

/// The timeline that the sweep is in.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    pub(super) tag: TimelineTag,
    pub(super) name: Option<String>,
}

impl Life {
    pub(super) fn of(timeline: &Timeline) -> Self {
        Self {
            tag: TimelineTag::of(Some(&timeline.id)),
            name: Some(timeline.id.clone()),
        }
    }
}

/// A gap's snapshot diff that the sweep is in.
#[derive(Clone, Debug)]
pub(super) struct Diff {
    pub(super) gap: Gap,
    /// What was covered before it.
    pub(super) before: Revision,
    /// The item that opened it; `None`: that is lost.
    pub(super) opened: Option<usize>,
    /// It was opened before the journal begins.
    pub(super) headless: bool,
    pub(super) parts: Vec<usize>,
    /// The timeline that began within it, and where.
    pub(super) timeline: Option<(Timeline, Revision)>,
    /// Whether a part of it is lost; whether an earlier repair has said so; and the sequences
    /// missing in it.
    pub(super) broken: bool,
    pub(super) recorded: bool,
    pub(super) missing: Option<(Sequence, Sequence)>,
}

impl Diff {
    pub(super) fn new(gap: Gap, before: Revision, opened: Option<usize>) -> Self {
        Self {
            gap,
            before,
            opened,
            headless: false,
            parts: Vec::new(),
            timeline: None,
            broken: false,
            recorded: false,
            missing: None,
        }
    }

    /// Takes note of a hole in it.
    pub(super) fn breaks(&mut self, hole: Option<(Sequence, Sequence)>) {
        if let Some((first, last)) = hole {
            self.broken = true;
            let first = self.missing.map_or(first, |(first, _)| first);
            self.missing = Some((first, last));
        }
    }

    /// Whether an item within a diff belongs to this one, by what it says.
    pub(super) fn holds(&self, item: &Item) -> bool {
        let last = match item.what {
            What::Closed(gap) => gap.last,
            What::Parts | What::Header(Kind::Changes | Kind::Gap) => item.revision,
            _ => UNKNOWN,
        };
        let fits = |a: Revision, b: Revision| a == b || a == UNKNOWN || b == UNKNOWN;
        // A timeline that begins within it changes what is covered.
        let before = self.timeline.as_ref().map_or(self.before, |(_, at)| *at);
        (item.after == self.before || item.after == before) && fits(last, self.gap.last)
    }
}

pub(super) struct Planner<'a> {
    pub(super) items: &'a [Item],
    pub(super) checkpoints: &'a [Checkpoint],
    pub(super) donors: &'a mut [Box<dyn Donor>],
    pub(super) lineage: &'a Lineage,
    pub(super) life: Life,
    /// Up to where all is told, or named as lost.
    pub(super) reached: Revision,
    /// The last sequence that is dealt with.
    pub(super) prev: Sequence,
    /// The item that is being dealt with.
    pub(super) at: usize,
    /// The sequences that are missing before it, until they are accounted for; whether a loss was
    /// named for them, and whether anything was given back.
    pub(super) hole: Option<(Sequence, Sequence)>,
    pub(super) named: bool,
    pub(super) told: bool,
    /// The newest revision of this timeline that is told.
    pub(super) newest: Revision,
    /// Whether the last item names something as lost, and it is not known what.
    pub(super) unsure: bool,
    pub(super) diff: Option<Diff>,
    /// In this timeline: the newest revision that this repair found to be lost, and that it gave
    /// back.
    pub(super) found: Option<Revision>,
    pub(super) filled: Option<Revision>,
    /// Whether anything was given back that an earlier repair had named as lost.
    pub(super) regained: bool,
    /// No checkpoint that the journal begins with may come to lack anything before this item.
    pub(super) guarded: usize,
    pub(super) replaceable: BTreeMap<usize, bool>,
    pub(super) plan: Plan,
}

impl Planner<'_> {
    /// The sequences that are missing, with this one that is all but missing.
    pub(super) fn with_hole(&self, item: &Item) -> (Sequence, Sequence) {
        (self.hole.map_or(item.first, |(first, _)| first), item.last)
    }

    pub(super) fn begin(&mut self, timeline: &Timeline, at: Revision) {
        self.push(Step::Timeline(timeline.clone(), at));
        self.enter(timeline, at);
    }

    pub(super) fn enter(&mut self, timeline: &Timeline, at: Revision) {
        self.life = Life::of(timeline);
        (self.reached, self.newest) = (at, at);
        (self.found, self.filled) = (None, None);
    }

    /// Up to here all is told.
    pub(super) fn covers(&mut self, revision: Revision) {
        self.reached = self.reached.max(revision);
        self.newest = self.newest.max(revision);
    }

    /// Nothing happened between what was told and this revision.
    pub(super) fn cover(&mut self, revision: Revision) {
        if revision > self.reached {
            self.push(Step::Covered(revision));
            self.covers(revision);
        }
    }

    /// Tells what donors know between what was told and this revision, and names the rest as lost.
    /// `exact`: it is for certain.
    pub(super) fn fill_to(&mut self, last: Revision, exact: bool) -> Result<()> {
        let Some(span) = Span::new(self.reached.next(), last) else {
            return Ok(());
        };
        if self.is_recorded() {
            return self.fill_recorded(span);
        }
        for piece in self.survey(span)? {
            if self.tell(&piece) {
                self.filled = self.filled.max(Some(piece.span.last));
            } else {
                self.lose(piece.span, exact);
            }
        }
        Ok(())
    }

    /// Whether what is missing is named by the item that is being dealt with.
    pub(super) fn is_recorded(&self) -> bool {
        let item = self.items.get(self.at).map(|item| &item.what);
        self.hole.is_none() && matches!(item, Some(What::Lost(_)))
    }

    pub(super) fn fill_recorded(&mut self, span: Span) -> Result<()> {
        let may = self.at >= self.guarded
            && match self.healed_by() {
                Some(opened) => self.is_replaceable(opened)?,
                None => true,
            };
        let pieces = match may {
            true => self.survey(span)?,
            false => vec![Piece { span, donor: None }],
        };
        for piece in pieces {
            if self.tell(&piece) {
                self.regained = true;
            } else {
                self.push(Step::lost(piece.span));
                self.reached = piece.span.last;
            }
        }
        Ok(())
    }

    /// Tells a piece, if somebody knows it.
    pub(super) fn tell(&mut self, piece: &Piece) -> bool {
        let (Some(donor), Some(timeline)) = (piece.donor, self.life.name.clone()) else {
            return false;
        };
        self.plan.fills = true;
        self.told = true;
        self.push(Step::Recall {
            donor,
            timeline,
            span: piece.span,
        });
        self.covers(piece.span.last);
        true
    }

    /// Who knows what of a timeline behind `from` up to `to`.
    pub(super) fn survey_of(
        &mut self,
        life: &Life,
        from: Revision,
        to: Revision,
    ) -> Result<Vec<Piece>> {
        match (Span::new(from.next(), to), &life.name) {
            (None, _) => Ok(Vec::new()),
            (Some(span), Some(timeline)) => survey(self.donors, timeline, span),
            (Some(span), None) => Ok(vec![Piece { span, donor: None }]),
        }
    }

    pub(super) fn survey(&mut self, span: Span) -> Result<Vec<Piece>> {
        let life = self.life.clone();
        self.survey_of(&life, span.first.previous(), span.last)
    }

    /// Names one revision that stands for all that nobody knows the number of.
    pub(super) fn lose_one(&mut self, revision: Revision) {
        let (first, last) = (revision, revision);
        self.lose(Span { first, last }, false);
    }

    pub(super) fn lose(&mut self, span: Span, exact: bool) {
        self.push(Step::lost(span));
        self.note(Some(span), exact, false);
        self.found = self.found.max(Some(span.last));
        self.reached = self.reached.max(span.last);
    }

    /// Remembers a loss for the report.
    pub(super) fn note(&mut self, span: Option<Span>, exact: bool, made_good: bool) {
        let sequences = self.hole;
        self.named = true;
        let loss = Loss {
            before: self.at,
            sequences,
            span,
            exact,
            made_good,
        };
        if let Some(before) = self.plan.losses.last_mut()
            && before.joins(&loss)
        {
            before.take_in(&loss);
        } else {
            self.plan.losses.push(loss);
        }
    }

    /// What was in the hole is known.
    pub(super) fn make_good(&mut self) {
        if self.hole.is_some() {
            self.note(None, true, true);
        }
        self.hole = None;
    }

    /// A hole in which nothing is named was one of bookkeeping, or is filled.
    pub(super) fn account_for_hole(&mut self) {
        let Some(hole) = self.hole.take() else {
            return;
        };
        if !self.named {
            self.hole = Some(hole);
            self.note(None, true, self.told);
            self.hole = None;
        }
    }

    pub(super) fn push(&mut self, step: Step) {
        if let (
            Some(Step::Lost {
                span: Some(before), ..
            }),
            Step::Lost {
                span: Some(span),
                taken_back: None,
            },
        ) = (self.plan.steps.last_mut(), &step)
            && before.last.next() == span.first
        {
            before.last = span.last;
            return;
        }
        self.plan.steps.push(step);
    }
}

/// Whether an earlier repair has found that a timeline is missing here that took revisions back.
/// What is lost otherwise lies behind what was covered.
pub(super) fn takes_back(item: &Item) -> bool {
    let lies_before = match item.what {
        What::Lost(Some(span)) => span.last <= item.revision,
        What::Lost(None) => item.revision <= Revision::NONE,
        _ => false,
    };
    lies_before && !item.within && item.revision < item.after
}

/// A gap whose opening is lost.
pub(super) fn gap_after(covered: Revision, last: Revision) -> Gap {
    Gap {
        first: covered.next(),
        last,
        reason: if covered <= Revision::NONE {
            GapReason::Baseline
        } else {
            GapReason::HistoryDiscarded
        },
    }
}
