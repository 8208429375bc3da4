//! Reads the records since a checkpoint and sorts their changes, up to the last settled point.
//!
//! A point is settled where no gap's difference is under way: the state there is one that the journal
//! can vouch for. The changes of a difference are held back until it is complete, and forgotten if it is
//! begun anew, exactly as [`Reader::state`](crate::Reader::state) does.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;

use crate::{
    checkpoint::{blocks::Item, file::Checkpoint},
    error::Result,
    maintain::runs::{Runs, Workshop},
    model::{
        entry::{Change, Entry, GapPhase, Op, Record},
        ids::{Revision, Sequence},
        time::Timestamp,
    },
    read::reader::Reader,
    replay::{timeline_switch, tracker::Tracker},
};

/// A point in history.
#[derive(Clone, Debug, Default)]
pub(crate) struct Point {
    pub(crate) sequence: Sequence,
    pub(crate) tracker: Tracker,
    /// The newest record with which counting began anew, and the first revision that can be told from there.
    pub(crate) counting_from: Sequence,
    pub(crate) counting_at: Revision,
    pub(crate) observed_at: Timestamp,
    /// The segment of the last record; `None`: there was none since the checkpoint.
    pub(crate) segment: Option<Arc<PathBuf>>,
}

impl Point {
    /// Where a checkpoint was made.
    pub(crate) fn of(checkpoint: &Checkpoint) -> Self {
        let h = &checkpoint.header;
        Self {
            sequence: h.sequence,
            tracker: Tracker {
                covered: h.revision,
                timeline: h.timeline.clone(),
                open_gap: h.open_gap,
                ..Tracker::default()
            },
            counting_from: h.counting_from,
            counting_at: h.counting_at,
            observed_at: h.observed_at,
            segment: None,
        }
    }

    fn pass(&mut self, record: &Record) {
        self.sequence = record.sequence;
        let covered = self.tracker.covered;
        self.tracker.apply(record.revision, &record.entry);
        match &record.entry {
            Entry::Timeline(t) if timeline_switch::counts_anew(t, record.revision, covered) => {
                self.counting_from = record.sequence;
                self.counting_at = timeline_switch::first_told(record.revision, covered);
            }
            // A timeline that took revisions back is among what is lost.
            Entry::Lost { .. } if record.revision < covered => {
                self.counting_from = record.sequence;
                self.counting_at = record.revision.next();
            }
            _ => {}
        }
        if let Some(at) = observed_at(&record.entry) {
            self.observed_at = at;
        }
        self.segment = Some(record.location.file.clone());
    }
}

fn observed_at(entry: &Entry) -> Option<Timestamp> {
    match entry {
        Entry::Changes { observed_at, .. }
        | Entry::Gap { observed_at, .. }
        | Entry::Watermark { observed_at, .. } => Some(*observed_at),
        Entry::Timeline(t) => Some(t.observed_at),
        Entry::Seal { .. } | Entry::Lost { .. } => None,
    }
}

/// What happened since a checkpoint.
pub(crate) struct Collected {
    pub(crate) runs: Runs,
    /// The last settled point: what `runs` lead to.
    pub(crate) point: Point,
}

/// Collects from `base` (or the first record) to the last settled point that is not beyond `upto`.
pub(crate) fn collect(
    reader: &Reader,
    base: Option<&Checkpoint>,
    upto: Sequence,
    workshop: &Workshop,
) -> Result<Collected> {
    let mut at = base.map(Point::of).unwrap_or_default();
    let mut settled = None;
    let mut runs = Runs::new(workshop.clone());
    let mut held = Runs::new(workshop.clone());
    let records = match base {
        Some(base) => reader.records_from(base.sequence().next()),
        None => reader.records(),
    };
    for record in records {
        workshop.stop.check()?;
        let record = record?;
        if record.sequence > upto {
            break;
        }
        if is_opened(&record) && !at.tracker.in_difference() {
            settled = Some(at.clone());
        }
        at.pass(&record);
        match &record.entry {
            // A difference that was not completed is begun anew.
            Entry::Gap {
                phase: GapPhase::Opened,
                ..
            } => held = Runs::new(workshop.clone()),
            // If only markers were lost, the difference goes on.
            Entry::Lost { .. } if at.tracker.in_difference() => {}
            // If a part of the difference was lost, what there is of it is better than nothing.
            Entry::Gap { .. } | Entry::Lost { .. } => {
                // Older than any part of the difference, which tells how things were after the gap.
                for change in record.entry.changes() {
                    runs.push(item(record.revision, change))?;
                }
                runs.absorb(std::mem::replace(&mut held, Runs::new(workshop.clone())))?;
            }
            Entry::Changes { changes, .. } => {
                let into = if at.tracker.in_difference() {
                    &mut held
                } else {
                    &mut runs
                };
                for change in changes {
                    into.push(item(record.revision, change))?;
                }
            }
            _ => {}
        }
    }
    let point = match settled {
        Some(before) if at.tracker.in_difference() => before,
        _ => at,
    };
    Ok(Collected { runs, point })
}

fn is_opened(record: &Record) -> bool {
    matches!(
        record.entry,
        Entry::Gap {
            phase: GapPhase::Opened,
            ..
        }
    )
}

/// A copy: what is sorted in memory must not keep the segments that it was read from.
fn item(revision: Revision, change: &Change) -> Item {
    Item {
        path: Bytes::copy_from_slice(&change.path),
        revision: change.revision.unwrap_or(revision),
        value: match &change.op {
            Op::Set(value) => Some(Bytes::copy_from_slice(value)),
            Op::Delete => None,
        },
    }
}
