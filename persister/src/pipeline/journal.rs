//! The second stage: all that has queued becomes one commit.
//!
//! Promise: what is durable is told only after the fsync that covers it has returned. After the
//! first error nothing is appended and nothing is told any more.

use cairn_journal::{Journal, NewRecord, Revision, Sequence, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use crate::observe::vitals::Vitals;
use crate::pipeline::handover::{Reached, Seen};

/// How many bytes one commit gathers at most. Beyond it a larger write no longer makes the fsync
/// cheaper per record, and only delays the first waiter.
pub(super) const COMMIT_BYTES: usize = 8 << 20;

/// Journals all that is sent, until the sender is gone.
///
/// `watermark` is told the newest durable revision whenever changes have become durable, `durable`
/// the newest durable sequence whenever anything has.
///
/// # Errors
/// The journal's, after which the journal is poisoned and this stage must not be started again.
pub fn run(
    journal: &Journal,
    mut seen: mpsc::Receiver<Seen>,
    watermark: &watch::Sender<Reached>,
    durable: &watch::Sender<Sequence>,
    vitals: &Vitals,
) -> Result<(), cairn_journal::Error> {
    let mut group = Group::default();
    while let Some(first) = seen.blocking_recv() {
        group.take(journal, first)?;
        while group.bytes < COMMIT_BYTES {
            match seen.try_recv() {
                Ok(next) => group.take(journal, next)?,
                Err(_) => break,
            }
        }
        if group.is_due || group.bytes >= COMMIT_BYTES {
            std::mem::take(&mut group).commit(journal, watermark, durable, vitals)?;
        }
    }
    group.commit(journal, watermark, durable, vitals)
}

/// Records that are appended and not yet committed.
#[derive(Default)]
struct Group {
    last: Sequence,
    /// The newest revision that the group makes durable; `None` if it has only positions, which
    /// are never published: N persisters would keep each other awake.
    newest: Option<Revision>,
    records: usize,
    changes: usize,
    bytes: usize,
    permits: Vec<OwnedSemaphorePermit>,
    /// Whether it has more than control writes, which wait for something to be committed with.
    is_due: bool,
}

impl Group {
    fn take(&mut self, journal: &Journal, seen: Seen) -> Result<(), cairn_journal::Error> {
        self.is_due |= !matches!(seen, Seen::Control(..));
        let record = match seen {
            Seen::Record(record, permit) => {
                self.newest = Some(record.revision());
                self.changes += 1;
                self.hold(permit);
                record
            }
            Seen::Control(record, permit) => {
                self.hold(permit);
                record
            }
            Seen::Settled => return Ok(()),
            Seen::Position(revision) => NewRecord::watermark(revision, Timestamp::now()),
        };
        self.records += 1;
        self.last = journal.append(record)?;
        Ok(())
    }

    fn hold(&mut self, permit: OwnedSemaphorePermit) {
        self.bytes += permit.num_permits();
        self.permits.push(permit);
    }

    fn commit(
        self,
        journal: &Journal,
        watermark: &watch::Sender<Reached>,
        durable: &watch::Sender<Sequence>,
        vitals: &Vitals,
    ) -> Result<(), cairn_journal::Error> {
        if self.records == 0 {
            return Ok(());
        }
        vitals.committing();
        let synced = journal.commit(self.last)?;
        assert!(
            synced >= self.last,
            "commit returned before its records were durable"
        );
        if let Some(newest) = self.newest {
            watermark.send_replace(Reached::now(newest));
        }
        vitals.committed(self.records, self.changes, self.newest);
        durable.send_replace(self.last);
        Ok(())
    }
}
