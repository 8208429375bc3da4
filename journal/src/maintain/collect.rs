//! Reads the records since a checkpoint and sorts their changes, up to the last consistent point.
//!
//! A point is consistent where no gap's snapshot diff is under way: the state there is one that the
//! journal can vouch for. The changes of a snapshot diff are held back until it is complete, and
//! forgotten if it is begun anew, exactly as [`Reader::state`](crate::Reader::state) does.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;

use crate::{
    checkpoint::{blocks::Item, file::Checkpoint},
    error::Result,
    maintain::runs::{Runs, SortContext},
    model::{
        entry::{Change, Entry, Op, Record},
        ids::{Revision, Sequence},
        time::Timestamp,
    },
    read::reader::Reader,
    replay::machine::{Effect, Replay},
};

/// A point in history.
#[derive(Clone, Debug, Default)]
pub(crate) struct Point {
    pub(crate) sequence: Sequence,
    pub(crate) replay: Replay,
    pub(crate) observed_at: Timestamp,
    /// The segment of the last record; `None`: there was none since the checkpoint.
    pub(crate) segment: Option<Arc<PathBuf>>,
}

impl Point {
    /// Where a checkpoint was made.
    fn of(checkpoint: &Checkpoint) -> Self {
        let h = &checkpoint.header;
        Self {
            sequence: h.sequence,
            replay: Replay::at_checkpoint(h),
            observed_at: h.observed_at,
            segment: None,
        }
    }

    fn pass(&mut self, record: &Record) -> Effect {
        self.sequence = record.sequence;
        if let Some(at) = observed_at(&record.entry) {
            self.observed_at = at;
        }
        self.segment = Some(record.location.file.clone());
        self.replay.record(record).effect
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
    /// The last consistent point: what `runs` lead to.
    pub(crate) point: Point,
}

/// Collects from `base` (or the first record) to the last consistent point that is not beyond
/// `upto`.
pub(crate) fn collect(
    reader: &Reader,
    base: Option<&Checkpoint>,
    upto: Sequence,
    context: &SortContext,
) -> Result<Collected> {
    let mut at = base.map(Point::of).unwrap_or_default();
    let mut consistent = None;
    let mut runs = Runs::new(context.clone());
    let mut held = Runs::new(context.clone());
    let records = match base {
        Some(base) => reader.records_from(base.sequence().next()),
        None => reader.records(),
    };
    for record in records {
        context.stop.check()?;
        let record = record?;
        if record.sequence > upto {
            break;
        }
        // Copied at gaps only, which are few.
        let before = matches!(record.entry, Entry::Gap { .. }).then(|| at.clone());
        let effect = at.pass(&record);
        match effect {
            Effect::Apply => push(&mut runs, &record)?,
            Effect::Hold => push(&mut held, &record)?,
            Effect::Discard => {
                held = Runs::new(context.clone());
                consistent = before
                    .filter(|before| !before.replay.in_snapshot_diff())
                    .or(consistent);
            }
            Effect::Resync => {
                push(&mut runs, &record)?;
                runs.absorb(std::mem::replace(&mut held, Runs::new(context.clone())))?;
            }
        }
    }
    let point = match consistent {
        Some(before) if at.replay.in_snapshot_diff() => before,
        _ => at,
    };
    Ok(Collected { runs, point })
}

fn push(into: &mut Runs, record: &Record) -> Result<()> {
    for change in record.entry.changes() {
        into.push(item(record.revision, change))?;
    }
    Ok(())
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
