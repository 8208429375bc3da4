//! The second stage: all that has queued becomes one commit.
//!
//! Promise: what is durable is told only after the fsync that covers it has returned. After the
//! first error nothing is appended and nothing is told any more.

use cairn_journal::{Journal, NewRecord, Sequence, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use crate::observe::vitals::Vitals;
use crate::pipeline::group::Group;
use crate::pipeline::handover::{Reached, Seen};

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
    let mut gathered = Gathered::default();
    while let Some(first) = seen.blocking_recv() {
        tracing::trace!(name: "journal woke", target: "stage", "");
        gathered.take(journal, first)?;
        while !gathered.group.is_full() {
            match seen.try_recv() {
                Ok(next) => gathered.take(journal, next)?,
                Err(_) => break,
            }
        }
        if gathered.is_due || gathered.group.is_full() {
            std::mem::take(&mut gathered).commit(journal, watermark, durable, vitals)?;
        }
    }
    gathered.commit(journal, watermark, durable, vitals)
}

/// What has queued for the next commit.
#[derive(Default)]
struct Gathered {
    group: Group,
    /// Those of its records; they are given back when it is durable.
    permits: Vec<OwnedSemaphorePermit>,
    /// Whether it has more than control writes, which wait for something to be committed with.
    is_due: bool,
}

impl Gathered {
    fn take(&mut self, journal: &Journal, seen: Seen) -> Result<(), cairn_journal::Error> {
        self.is_due |= !matches!(seen, Seen::Control(..));
        match seen {
            Seen::Record(record, permit) => {
                self.group.publish(journal, record, permit.num_permits())?;
                self.permits.push(permit);
            }
            Seen::Control(record, permit) => {
                self.group.append(journal, record, permit.num_permits())?;
                self.permits.push(permit);
            }
            Seen::Lease(record) => self.group.append(journal, record, 0)?,
            Seen::Settled => {}
            Seen::Position(revision) => {
                let record = NewRecord::watermark(revision, Timestamp::now());
                self.group.append(journal, record, 0)?;
            }
            Seen::Last(revision) => self.group.publish_last(journal, revision)?,
        }
        Ok(())
    }

    fn commit(
        self,
        journal: &Journal,
        watermark: &watch::Sender<Reached>,
        durable: &watch::Sender<Sequence>,
        vitals: &Vitals,
    ) -> Result<(), cairn_journal::Error> {
        if let Some(newest) = self.group.commit(journal, durable, vitals)? {
            watermark.send_replace(newest);
        }
        Ok(())
    }
}
