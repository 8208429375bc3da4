//! The journal's records as what they mean to the mirror.

use bytes::Bytes;
use cairn_journal::{Change, Entry, GapPhase, GapReason, Record, Records, Revision, Sequence};

use crate::mirror::{Kind, Op};

/// A record's sequence, and the revision covered with it.
pub(super) type Place = (Sequence, Revision);

/// What a record means to the mirror.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// These operations, in order; often none.
    Ops(Vec<Op>),
    /// A difference is complete: the state has changed as a whole. Its changes are not told one by
    /// one; they may be as many as there are keys.
    State,
}

/// Reads records, and only durable ones.
#[derive(Debug)]
pub(super) struct Source {
    records: Records,
    /// The last record that was read.
    pub(super) place: Place,
    /// Within the difference of a gap that is not closed yet. It is told as a whole or, if it was
    /// begun anew, not at all.
    in_difference: bool,
}

impl Source {
    /// `records` begin after `place`, which is settled.
    pub(super) fn after(records: Records, place: Place) -> Self {
        Self {
            records,
            place,
            in_difference: false,
        }
    }

    /// What the next record up to `limit` means; `None`: there is none.
    ///
    /// Never looks beyond what is durable: it would find records that are being written.
    pub(super) fn next(&mut self, limit: Sequence) -> Result<Option<Told>, cairn_journal::Error> {
        if self.place.0 >= limit {
            return Ok(None);
        }
        let Some(record) = self.records.next().transpose()? else {
            return Ok(None);
        };
        self.place = (record.sequence, record.revision);
        Ok(Some(self.told(record)))
    }

    fn told(&mut self, record: Record) -> Told {
        match record.entry {
            Entry::Changes { changes, .. } if !self.in_difference => {
                Told::Ops(ops(record.revision, changes))
            }
            Entry::Gap {
                phase: GapPhase::Opened,
                reason,
                ..
            } => {
                self.in_difference = reason != GapReason::Damage;
                Told::Ops(Vec::new())
            }
            // If a part of the difference was lost, what there is of it is better than nothing.
            Entry::Gap { .. } | Entry::Lost { .. } if self.in_difference => {
                self.in_difference = false;
                Told::State
            }
            _ => Told::Ops(Vec::new()),
        }
    }

    /// The place up to which all is told; `None` within a difference.
    pub(super) fn settled(&self) -> Option<Place> {
        (!self.in_difference).then_some(self.place)
    }
}

/// The mirror operations that the changes of `revision` ask for.
fn ops(revision: Revision, changes: Vec<Change>) -> Vec<Op> {
    let op = |change: Change| Op {
        // A copy: it may wait for long, and would hold the whole record, its values included.
        path: Bytes::copy_from_slice(&change.path),
        revision: change.revision.unwrap_or(revision),
        kind: match change.op {
            cairn_journal::Op::Set(_) => Kind::Set,
            cairn_journal::Op::Delete => Kind::Delete,
        },
    };
    changes.into_iter().map(op).collect()
}
