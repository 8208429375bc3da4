//! What a reader of all records up to a point knows: the revision covered, the timeline, the open
//! gap.
//!
//! A pure function of the records: the writer, recovery, repair and reading all use this one.

use crate::{
    format::position::{RecordPosition, TimelineTag},
    model::{
        entry::{Entry, Gap, GapPhase, GapReason, Timeline},
        ids::Revision,
    },
};

/// What the records so far say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tracker {
    /// The newest revision covered.
    pub(crate) covered: Revision,
    /// The timeline in force.
    pub(crate) timeline: Option<Timeline>,
    /// The gap whose snapshot diff is not complete, or what damage has cost and no gap made good.
    pub(crate) open_gap: Option<Gap>,
    /// Within a snapshot diff: older damage that it does not make good.
    pub(crate) unhealed: Option<Gap>,
    /// Up to where everything was told, or named as lost. Not less than what is covered.
    pub(crate) reached: Revision,
    /// Set by a repair: the records are of this timeline, of which nobody knows the name.
    pub(crate) unnamed: Option<TimelineTag>,
}

/// Two losses as one.
pub(crate) fn joined(a: Option<Gap>, b: Option<Gap>) -> Option<Gap> {
    match (a, b) {
        (Some(a), Some(b)) => Some(Gap {
            first: a.first.min(b.first),
            last: a.last.max(b.last),
            reason: GapReason::Damage,
        }),
        (one, other) => one.or(other),
    }
}

impl Tracker {
    /// Whether the changes that follow are a gap's snapshot diff, not events.
    pub(crate) fn in_snapshot_diff(&self) -> bool {
        self.open_gap.is_some_and(|g| g.reason != GapReason::Damage)
    }

    /// Takes in the next record, which is of changes or has none to tell.
    pub(crate) fn pass_changes(&mut self, revision: Revision) {
        if !self.in_snapshot_diff() {
            self.covered = self.covered.max(revision);
            self.reached = self.reached.max(self.covered);
        }
    }

    /// Takes in the next record.
    pub(crate) fn apply(&mut self, revision: Revision, entry: &Entry) {
        match entry {
            Entry::Changes { .. } | Entry::Lease { .. } | Entry::Watermark { .. } => {
                self.pass_changes(revision);
            }
            Entry::Gap {
                first,
                last,
                phase: GapPhase::Opened,
                reason,
                ..
            } => {
                let damage = self.open_gap.filter(|g| g.reason == GapReason::Damage);
                // A snapshot diff that begins later may have been taken when the damage was not
                // known: what was lost then is not in it.
                self.unhealed = damage.or(self.unhealed).filter(|g| g.first < *first);
                self.open_gap = Some(Gap {
                    first: *first,
                    last: *last,
                    reason: *reason,
                });
            }
            Entry::Gap {
                last,
                phase: GapPhase::Closed,
                ..
            } => {
                // The snapshot diff was taken from the whole state, so it heals older damage too.
                // But it has to have come whole: if a part of it was lost, the damage stays.
                if self.in_snapshot_diff() {
                    self.open_gap = self.unhealed.take();
                }
                self.covered = self.covered.max(*last);
            }
            Entry::Timeline(timeline) => {
                self.timeline = Some(timeline.clone());
                self.unnamed = None;
                // The one place where it may go back: another cluster counts anew.
                self.covered = revision;
                self.reached = revision;
            }
            Entry::Lost { first, last, .. } => {
                if revision < self.covered {
                    // A timeline that took revisions back is among what is lost, and its name with
                    // it.
                    self.timeline = None;
                    self.covered = revision;
                    self.reached = revision;
                }
                if first <= last {
                    self.reached = self.reached.max(*last);
                    let lost = Gap {
                        first: *first,
                        last: *last,
                        reason: GapReason::Damage,
                    };
                    let open = joined(self.open_gap, self.unhealed.take());
                    self.open_gap = joined(open, Some(lost));
                }
            }
            Entry::Seal { .. } => {}
        }
        self.reached = self.reached.max(self.covered);
    }

    /// What follows is of another timeline, of which nobody knows the name.
    pub(crate) fn enter_unnamed(&mut self, timeline: TimelineTag) {
        self.timeline = None;
        self.unnamed = Some(timeline);
    }

    /// Where the next record stands, if it says this.
    pub(crate) fn position(&self, entry: &Entry) -> RecordPosition {
        let named = |timeline: &Timeline| TimelineTag::of(Some(&timeline.id));
        let timeline = match (entry, self.unnamed, &self.timeline) {
            (Entry::Timeline(begun), ..) => named(begun),
            (_, Some(unnamed), _) => unnamed,
            (_, None, timeline) => timeline.as_ref().map_or(TimelineTag::NONE, named),
        };
        RecordPosition {
            // What is lost is nothing that the next record tells.
            prev_revision: self.reached,
            timeline,
            within: self.in_snapshot_diff(),
        }
    }
}
