//! The revision whose state a journal held at a time.

use crate::{
    checkpoint::file::Checkpoint,
    error::{Error, Result},
    model::{entry::Entry, ids::Revision, time::Timestamp},
    read::reader::Reader,
    replay::machine::{Effect, Replay},
};

impl Reader {
    /// The newest revision that was covered before anything was observed to change later than
    /// `time`: [`Reader::state`] there is the state at that moment.
    ///
    /// Times are those of the observers' clocks, taken in the order of the records: a clock that
    /// was set back does not bring anything back.
    ///
    /// # Errors
    /// [`Error::TimeNotInHistory`] if the journal, or what retention has left of it, begins later,
    /// or if revisions have begun anew since, so that the state can no longer be asked for by a
    /// revision.
    pub fn revision_at(&self, time: Timestamp) -> Result<Revision> {
        let base = self.checkpoints()?.usable.pop();
        let mut records = match &base {
            // The oldest of them: what is before it may be gone.
            Some(base) if base.observed_at() <= time => self.records_from(base.sequence().next()),
            _ => self.records(),
        };
        let base = base.filter(|base| base.observed_at() <= time);
        let mut found = base.as_ref().map(Checkpoint::revision);
        let mut replay = base
            .as_ref()
            .map_or_else(Replay::default, |base| Replay::at_checkpoint(&base.header));
        let refuse = |detail: String| Error::TimeNotInHistory { time, detail };
        let mut over = false;
        records.try_for_each(|record| {
            let record = record?;
            let observed = observed(&record.entry);
            let is_later = observed.is_some_and(|observed| observed > time);
            // That nothing had changed until later does not end the search.
            over |= is_later && !matches!(record.entry, Entry::Watermark { .. });
            let step = replay.record(&record);
            if over && step.switch.is_some() {
                return Err(refuse(format!(
                    "another cluster was followed then, at its revision {}; revisions began anew \
                     at {}. Its \
                     history is still there (dumpjournal --to), its state cannot be asked for",
                    found.unwrap_or_default(),
                    observed.unwrap_or_default().show(),
                )));
            }
            let covers = matches!(
                record.entry,
                Entry::Changes { .. } | Entry::Watermark { .. } | Entry::Gap { .. }
            );
            if covers && step.effect != Effect::Hold && !over && !is_later {
                found = Some(record.revision);
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
