//! Records that are appended and not yet committed.
//!
//! Promise: what a group makes durable is told only after the fsync that covers it has returned.

use cairn_journal::{Journal, NewRecord, Revision, Sequence, Timestamp};
use tokio::sync::watch;

use crate::observe::vitals::Vitals;
use crate::pipeline::handover::Reached;

/// How many bytes one commit gathers at most. Beyond it a larger write no longer makes the fsync
/// cheaper per record, and only delays the first waiter.
pub(super) const COMMIT_BYTES: usize = 8 << 20;

/// What one commit makes durable.
#[derive(Default)]
pub(super) struct Group {
    last: Sequence,
    /// The newest revision that the group makes durable; `None` if it has only positions and
    /// control writes, which are never published: N persisters would keep each other awake.
    newest: Option<Revision>,
    records: usize,
    changes: usize,
    bytes: usize,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Whether it has as many bytes as one commit gathers.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= COMMIT_BYTES
    }

    /// Appends a revision that is published once it is durable, of so many bytes.
    pub(super) fn publish(
        &mut self,
        journal: &Journal,
        record: NewRecord,
        bytes: usize,
    ) -> Result<(), cairn_journal::Error> {
        self.newest = Some(record.revision());
        self.changes += 1;
        self.append(journal, record, bytes)
    }

    /// Appends the last position of an orderly end, which is published: nobody is kept awake who
    /// would answer it.
    pub(super) fn publish_last(
        &mut self,
        journal: &Journal,
        position: Revision,
    ) -> Result<(), cairn_journal::Error> {
        self.newest = Some(position);
        self.append(journal, NewRecord::watermark(position, Timestamp::now()), 0)
    }

    /// Appends a record that is never published, of so many bytes.
    pub(super) fn append(
        &mut self,
        journal: &Journal,
        record: NewRecord,
        bytes: usize,
    ) -> Result<(), cairn_journal::Error> {
        self.bytes += bytes;
        self.records += 1;
        self.last = journal.append(record)?;
        Ok(())
    }

    /// Makes it durable and tells `durable` its newest sequence. Returns what may be published.
    pub(super) fn commit(
        self,
        journal: &Journal,
        durable: &watch::Sender<Sequence>,
        vitals: &Vitals,
    ) -> Result<Option<Reached>, cairn_journal::Error> {
        if self.is_empty() {
            return Ok(None);
        }
        vitals.committing();
        tracing::trace!(name: "commit begins", target: "stage", records = self.records);
        let synced = journal.commit(self.last)?;
        tracing::trace!(name: "commit ended", target: "stage", "");
        assert!(
            synced >= self.last,
            "commit returned before its records were durable"
        );
        let newest = self.newest.map(Reached::now);
        vitals.committed(self.records, self.changes, self.newest);
        durable.send_replace(self.last);
        Ok(newest)
    }
}
