//! The journal's records as what they mean to the mirror.

use bytes::Bytes;
use cairn_journal::{
    Change, Error, Reader, Record, Records, Revision, Sequence,
    replay::{Effect, Replay},
};

use crate::mirror::ops::{Kind, Op};

/// A record's sequence, and the revision covered with it.
pub(super) type Place = (Sequence, Revision);

/// The records behind this place, if its record still is the one that was told there. It has its
/// revision then: whatever takes its place after a loss covers less, or more.
pub(super) fn behind(
    reader: &Reader,
    (sequence, revision): Place,
) -> Result<Option<Records>, Error> {
    let all_behind = || reader.records_from(sequence.next());
    if sequence == Sequence::NONE {
        return Ok(Some(all_behind()));
    }
    let beginning = reader.beginning()?;
    if sequence < beginning.sequence {
        // It was retired. If more than it is gone, that is noticed when what follows it is read.
        let is_it = beginning.sequence != sequence.next() || beginning.covered == revision;
        return Ok(is_it.then(all_behind));
    }
    let mut records = reader.records_from(sequence);
    match records.next().transpose() {
        Ok(Some(record)) if (record.sequence, record.revision) == (sequence, revision) => {
            Ok(Some(records))
        }
        Ok(_) => Ok(None),
        // In this very moment.
        Err(Error::Retired { .. }) => Ok(Some(all_behind())),
        Err(other) => Err(other),
    }
}

/// The place before the first record that says of anything newer than `revision`, in the newest
/// life of the cluster; `None`: there is none, or it is not in the journal any more.
pub(super) fn before(reader: &Reader, revision: Revision) -> Result<Option<Place>, Error> {
    let first = reader.records_from_revision(revision.next()).next();
    let sequence = match first.transpose() {
        Ok(Some(first)) => first.sequence.previous(),
        Ok(None) | Err(Error::NotInHistory { .. } | Error::Retired { .. }) => return Ok(None),
        Err(other) => return Err(other),
    };
    if sequence == Sequence::NONE {
        return Ok(Some((sequence, Revision::NONE)));
    }
    match reader.records_from(sequence).next().transpose() {
        Ok(record) => Ok(record.map(|record| (record.sequence, record.revision))),
        Err(Error::Retired { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

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
    replay: Replay,
}

impl Source {
    /// `records` begin after `place`, which is settled.
    pub(super) fn after(records: Records, place: Place) -> Self {
        Self {
            records,
            place,
            replay: Replay::default(),
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
        Ok(Some(self.told(&record)))
    }

    fn told(&mut self, record: &Record) -> Told {
        match self.replay.record(record).effect {
            Effect::Apply => Told::Ops(ops(record.revision, record.entry.changes())),
            Effect::Hold | Effect::Discard => Told::Ops(Vec::new()),
            Effect::Resync => Told::State,
        }
    }

    /// The place up to which all is told; `None` within a difference.
    pub(super) fn settled(&self) -> Option<Place> {
        (!self.replay.in_snapshot_diff()).then_some(self.place)
    }
}

/// The mirror operations that the changes of `revision` ask for.
fn ops(revision: Revision, changes: &[Change]) -> Vec<Op> {
    let op = |change: &Change| Op {
        // A copy: it may wait for long, and would hold the whole record, its values included.
        path: Bytes::copy_from_slice(&change.path),
        revision: change.revision.unwrap_or(revision),
        kind: match &change.op {
            cairn_journal::Op::Set(_) => Kind::Set,
            cairn_journal::Op::Delete => Kind::Delete,
        },
    };
    changes.iter().map(op).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_journal::{Entry, GapPhase, GapReason, Journal, Location, Options, Timestamp};

    #[test]
    fn a_difference_goes_on_where_only_markers_were_lost() {
        let dir = tempfile::tempdir().expect("a directory");
        let (journal, _) = Journal::open(dir.path(), Options::default()).expect("opened");
        let records = journal.reader().expect("a reader").records();
        let mut source = Source::after(records, (Sequence::NONE, Revision::NONE));
        let at = Timestamp(0);
        let mut tell = |revision, entry| {
            let told = source.told(&Record {
                sequence: Sequence(1),
                revision: Revision(revision),
                entry,
                synced: Sequence::NONE,
                location: Location {
                    file: std::sync::Arc::new(dir.path().to_owned()),
                    offset: 0,
                    length: 0,
                },
            });
            (told, source.settled().is_some())
        };
        let gap = |phase| Entry::Gap {
            first: Revision(2),
            last: Revision(9),
            phase,
            reason: GapReason::HistoryDiscarded,
            observed_at: at,
        };
        let lost = |first, last| Entry::Lost {
            first: Revision(first),
            last: Revision(last),
            observed_at: at,
        };
        let changes = Entry::Changes {
            changes: vec![Change::delete("/a")],
            observed_at: at,
        };
        let nothing = || Told::Ops(Vec::new());
        assert_eq!(tell(1, gap(GapPhase::Opened)), (nothing(), false));
        assert_eq!(tell(1, lost(1, 0)), (nothing(), false));
        assert_eq!(tell(9, changes), (nothing(), false));
        assert_eq!(tell(9, gap(GapPhase::Closed)), (Told::State, true));
        assert_eq!(tell(9, gap(GapPhase::Opened)), (nothing(), false));
        assert_eq!(tell(9, lost(2, 9)), (Told::State, true));
    }
}
