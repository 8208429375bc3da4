//! Reads the records since a checkpoint and sorts their changes, up to the last consistent point.
//!
//! A point is consistent where no gap's snapshot diff is under way: the state there is one that the
//! journal can vouch for. The changes of a snapshot diff are held back until it is complete, and
//! forgotten if it is begun anew, exactly as [`Reader::state`](crate::Reader::state) does.

use std::{path::PathBuf, sync::Arc};

use crate::{
    checkpoint::{file::Checkpoint, item::Item},
    error::Result,
    maintain::runs::{Runs, SortContext},
    model::{
        entry::{Entry, Record},
        ids::Sequence,
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
        // A loss was observed by the repair that found it.
        let observed_at = record.entry.observed_at();
        if let Some(at) = observed_at.filter(|_| !matches!(record.entry, Entry::Lost { .. })) {
            self.observed_at = at;
        }
        self.segment = Some(record.location.file.clone());
        self.replay.record(record).effect
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
    let reader = reader.clone().with_control();
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
    if let Entry::Lease {
        id, granted_ttl, ..
    } = record.entry
    {
        return into.push(Item::lease(id, granted_ttl, record.revision));
    }
    for change in record.entry.changes() {
        into.push(Item::of(change, record.revision))?;
    }
    Ok(())
}
