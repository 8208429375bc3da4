//! What records mean: the one interpreter of gaps, snapshot diffs, losses and timelines.
//!
//! Records go in one at a time, in order; a [`Step`] comes out for each and says what the record
//! does to a state. The machine never sees a path or a value, so it costs nothing to run beside a
//! copy, a sort or a dump. Whoever follows a journal (a state, a checkpoint, a mirror, a tool) does
//! what the steps say and decides nothing itself.
//!
//! Invariants:
//!
//! 1. The revision covered falls only with a [`Switch`]. Within one line of history it never falls.
//! 2. From [`Effect::Discard`] to [`Effect::Resync`] the state does not change: the changes in
//!    between are a snapshot diff, and are held back. Where no diff is under way the point is
//!    consistent.
//! 3. A diff counts from its closing record on, or from the loss of a part of it: what is left of a
//!    diff is better than nothing, and the loss stays open. A diff that is begun anew counts for
//!    nothing.
//! 4. A loss of bookkeeping alone (`first > last`) changes nothing, within a diff too.
//! 5. Each revision up to the one covered was told by events, or lies in an [`Unseen`] range that a
//!    step has named since the last switch.
//! 6. Damage stays open until a diff that was taken after it has come whole.

use crate::{
    format::{checkpoint::Header, layout::SegmentHeader, position::TimelineTag},
    model::{
        entry::{Entry, Gap, GapPhase, GapReason, Record, Timeline},
        ids::{Revision, Sequence},
        view::RecordRef,
    },
    replay::{last_segment::tracker_before, tracker::Tracker},
};

/// What a record's changes, or the lease that it tells of, do to a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// They apply now. Many records have none.
    Apply,
    /// They are a part of a snapshot diff: they are held back until it is complete.
    Hold,
    /// A gap opens. What was held back of a diff that was not completed is void.
    Discard,
    /// The diff is complete, or a part of it was lost: the record's own changes apply, then all
    /// that was held back, in order. The state changes as a whole.
    Resync,
}

/// From here on revisions are counted in another line of history: an earlier record of the same
/// revision means something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// The record that begins it.
    pub from: Sequence,
    /// The first revision whose state can be told in it. Where revisions were taken back, the state
    /// at the record's own revision still has what was changed beyond: the diff that removes it
    /// follows.
    pub first_told: Revision,
    /// Whether the revisions up to the record's own still are those of the history before.
    pub kept: bool,
}

/// Revisions that were not told one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// A gap opens.
    Opened(Gap),
    /// A gap was closed by a snapshot diff: the state at its last revision is known.
    Bridged(Gap),
    /// Damage has cost them.
    Lost(Gap),
}

impl Unseen {
    /// The revisions, both ends included. They may be none (`first > last`).
    #[must_use]
    pub fn gap(self) -> Gap {
        let (Self::Opened(gap) | Self::Bridged(gap) | Self::Lost(gap)) = self;
        gap
    }
}

/// What one record means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// What its changes do.
    pub effect: Effect,
    /// Whether another line of history begins with it.
    pub switch: Option<Switch>,
    /// The revisions that it says were not seen.
    pub unseen: Option<Unseen>,
}

/// What a follower of all records up to a point knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    tracker: Tracker,
    /// Within a snapshot diff: what was known at its beginning, the last consistent point.
    before: Option<Box<Tracker>>,
    counted_from: Sequence,
    first_told: Revision,
}

impl Replay {
    /// At a checkpoint.
    pub(crate) fn at_checkpoint(header: &Header) -> Self {
        Self {
            tracker: Tracker {
                covered: header.revision,
                timeline: header.timeline.clone(),
                open_gap: header.open_gap,
                ..Tracker::default()
            },
            before: None,
            counted_from: header.counting_from,
            first_told: header.counting_at,
        }
    }

    /// Before the first record of a segment. The last switch before it is not known.
    pub(crate) fn before_segment(header: &SegmentHeader) -> Self {
        Self {
            tracker: tracker_before(header),
            ..Self::default()
        }
    }

    /// Before the first record of a segment, counted behind this record since.
    pub(crate) fn counting_from(
        header: &SegmentHeader,
        counted_from: Sequence,
        first_told: Revision,
    ) -> Self {
        Self {
            counted_from,
            first_told,
            ..Self::before_segment(header)
        }
    }

    /// What is known here.
    pub(crate) fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// What follows is of another timeline, of which nobody knows the name.
    pub(crate) fn enter_unnamed(&mut self, timeline: TimelineTag) {
        self.tracker.enter_unnamed(timeline);
    }

    /// The newest revision covered.
    #[must_use]
    pub fn covered(&self) -> Revision {
        self.tracker.covered
    }

    /// The timeline in force.
    #[must_use]
    pub fn timeline(&self) -> Option<&Timeline> {
        self.tracker.timeline.as_ref()
    }

    /// The gap whose diff is not complete, or (with [`GapReason::Damage`]) the revisions that
    /// damage has cost and nothing has made good.
    #[must_use]
    pub fn open_gap(&self) -> Option<Gap> {
        self.tracker.open_gap
    }

    /// Whether a snapshot diff is under way: the changes that follow are parts of it, not events.
    #[must_use]
    pub fn in_snapshot_diff(&self) -> bool {
        self.tracker.in_snapshot_diff()
    }

    /// The record from which on revisions are counted as now; [`Sequence::NONE`]: from the first.
    pub(crate) fn counted_from(&self) -> Sequence {
        self.counted_from
    }

    /// The first revision whose state can be told behind that record.
    pub(crate) fn first_told(&self) -> Revision {
        self.first_told
    }

    /// What changes and leases do here.
    fn of_content(&self) -> Effect {
        match self.in_snapshot_diff() {
            true => Effect::Hold,
            false => Effect::Apply,
        }
    }

    /// What was known at the last consistent point: here, unless a snapshot diff is under way.
    pub(crate) fn consistent(&self) -> &Tracker {
        match &self.before {
            Some(before) if self.in_snapshot_diff() => before,
            _ => &self.tracker,
        }
    }

    /// Takes in the next record.
    pub fn record(&mut self, record: &Record) -> Step {
        self.take(record.sequence, record.revision, record.entry.marker())
    }

    /// Takes in the next record, as it lies in a reader's buffer.
    pub fn view(&mut self, record: &RecordRef<'_>) -> Step {
        self.take(record.sequence, record.revision, record.entry.marker())
    }

    /// Takes in the next record. `marker`: what it says, unless it is changes.
    pub fn take(&mut self, sequence: Sequence, revision: Revision, marker: Option<&Entry>) -> Step {
        let Some(marker) = marker else {
            self.tracker.pass_changes(revision);
            return Step {
                effect: self.of_content(),
                switch: None,
                unseen: None,
            };
        };
        let (covered, was_in_diff) = (self.covered(), self.in_snapshot_diff());
        if matches!(
            marker,
            Entry::Gap {
                phase: GapPhase::Opened,
                ..
            }
        ) && !was_in_diff
        {
            self.before = Some(Box::new(self.tracker.clone()));
        }
        self.tracker.apply(revision, marker);
        let (mut switch, mut unseen) = (None, None);
        let effect = match marker {
            Entry::Timeline(timeline) => {
                let falls = revision < covered;
                switch = (falls || !timeline.kept).then(|| Switch {
                    from: sequence,
                    first_told: if falls { revision.next() } else { revision },
                    kept: timeline.kept,
                });
                Effect::Apply
            }
            Entry::Gap {
                first,
                last,
                phase,
                reason,
                ..
            } => {
                let gap = Gap {
                    first: *first,
                    last: *last,
                    reason: *reason,
                };
                match phase {
                    GapPhase::Opened => {
                        unseen = Some(Unseen::Opened(gap));
                        Effect::Discard
                    }
                    GapPhase::Closed => {
                        unseen = Some(Unseen::Bridged(gap));
                        after_diff(was_in_diff)
                    }
                }
            }
            Entry::Lost { first, last, .. } => {
                // Less than before: a timeline that took revisions back is among what is lost.
                switch = (revision < covered).then(|| Switch {
                    from: sequence,
                    first_told: revision.next(),
                    kept: true,
                });
                unseen = Some(Unseen::Lost(Gap {
                    first: *first,
                    last: *last,
                    reason: GapReason::Damage,
                }));
                if self.in_snapshot_diff() {
                    Effect::Hold
                } else {
                    after_diff(was_in_diff)
                }
            }
            Entry::Changes { .. } => {
                debug_assert!(false, "changes are no marker");
                Effect::Apply
            }
            Entry::Lease { .. } => self.of_content(),
            Entry::Watermark { .. } | Entry::Seal { .. } => Effect::Apply,
        };
        if let Some(switch) = switch {
            self.counted_from = switch.from;
            self.first_told = switch.first_told;
        }
        if !self.in_snapshot_diff() {
            self.before = None;
        }
        Step {
            effect,
            switch,
            unseen,
        }
    }
}

/// What a record does with which no diff is under way any more.
fn after_diff(was_in_diff: bool) -> Effect {
    if was_in_diff {
        Effect::Resync
    } else {
        Effect::Apply
    }
}
