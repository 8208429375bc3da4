//! The revision whose state a journal held at a time.

use crate::{
    checkpoint::file::Checkpoint,
    error::{Error, Result},
    model::{
        entry::{Entry, GapPhase},
        ids::Revision,
        time::Timestamp,
    },
    read::reader::Reader,
    replay::{timeline_switch, tracker::Tracker},
};

impl Reader {
    /// The newest revision that was covered before anything was observed to change later than `time`:
    /// [`Reader::state`] there is the state at that moment.
    ///
    /// Times are those of the observers' clocks, taken in the order of the records: a clock that was set
    /// back does not bring anything back.
    ///
    /// # Errors
    /// [`Error::MomentNotInHistory`] if the journal, or what retention has left of it, begins later, or if
    /// revisions have begun anew since, so that the state can no longer be asked for by a revision.
    pub fn revision_at(&self, time: Timestamp) -> Result<Revision> {
        let base = self.checkpoints()?.usable.pop();
        let mut records = match &base {
            // The oldest of them: what is before it may be gone.
            Some(base) if base.observed_at() <= time => self.records_from(base.sequence().next()),
            _ => self.records(),
        };
        let base = base.filter(|base| base.observed_at() <= time);
        let mut found = base.as_ref().map(Checkpoint::revision);
        let mut tracker = Tracker {
            covered: found.unwrap_or_default(),
            ..Tracker::default()
        };
        let refuse = |detail: String| Error::MomentNotInHistory { time, detail };
        let (mut over, mut in_difference) = (false, false);
        records.try_for_each(|record| {
        let record = record?;
        let is_later = observed(&record.entry).is_some_and(|observed| observed > time);
        // That nothing had changed until later does not end the search.
        over |= is_later && !matches!(record.entry, Entry::Watermark { .. });
        if let Entry::Gap { phase, .. } = &record.entry {
            in_difference = *phase == GapPhase::Opened;
        }
        let covered = tracker.covered;
        tracker.apply(record.revision, &record.entry);
        match &record.entry {
            Entry::Changes { .. } if in_difference => {}
            Entry::Timeline(timeline)
                if over && timeline_switch::counts_anew(timeline, record.revision, covered) =>
            {
                return Err(refuse(format!(
                    "another cluster was followed then, at its revision {}; revisions began anew at {}. Its \
                     history is still there (dumpjournal --to), its state cannot be asked for",
                    found.unwrap_or_default(),
                    timeline.observed_at.show(),
                )));
            }
            Entry::Changes { .. } | Entry::Watermark { .. } | Entry::Gap { .. }
                if !over && !is_later =>
            {
                found = Some(record.revision);
            }
            _ => {}
        }
        Ok(())
    })?;
        found.ok_or_else(|| refuse("the journal begins later".to_owned()))
    }
}

/// When a record was observed, if it says so.
fn observed(entry: &Entry) -> Option<Timestamp> {
    match entry {
        Entry::Changes { observed_at, .. }
        | Entry::Gap { observed_at, .. }
        | Entry::Watermark { observed_at, .. }
        | Entry::Lost { observed_at, .. } => Some(*observed_at),
        Entry::Timeline(timeline) => Some(timeline.observed_at),
        Entry::Seal { .. } => None,
    }
}
