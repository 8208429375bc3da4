//! The second stage: whatever has queued becomes one commit.
//!
//! Promise: a [`Durable`] is handed on only after the fsync that covers it has returned. After the
//! first error nothing is appended and nothing is handed on any more.

use cairn_journal::{Journal, NewRecord, Revision, Sequence};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Durable, Seen};
use crate::mirror::Op;

/// How many bytes one commit gathers at most. Beyond it a larger write no longer makes the fsync
/// cheaper per record, and only delays the first waiter.
const COMMIT_BYTES: usize = 8 << 20;

/// Journals everything that comes until the sender is gone.
///
/// `watermark` gets the newest durable revision first, so that a slow mirror never delays it;
/// `mirror` gets the operations in order.
///
/// # Errors
/// The journal's, on which the journal has latched and this stage must not be started again.
pub fn run(
    journal: &Journal,
    mut seen: mpsc::Receiver<Seen>,
    watermark: &watch::Sender<Revision>,
    mirror: Option<&mpsc::Sender<Durable>>,
) -> Result<(), cairn_journal::Error> {
    while let Some(first) = seen.blocking_recv() {
        let mut group = Group::default();
        group.take(journal, first)?;
        while group.bytes < COMMIT_BYTES {
            match seen.try_recv() {
                Ok(next) => group.take(journal, next)?,
                Err(_) => break,
            }
        }
        group.commit(journal, watermark, mirror)?;
    }
    Ok(())
}

/// What is appended and not yet committed.
#[derive(Default)]
struct Group {
    last: Option<Sequence>,
    /// The newest revision that the group makes durable; `None` if it has only positions, which
    /// are never published: N persisters would keep each other awake.
    newest: Option<Revision>,
    ops: Vec<Op>,
    bytes: usize,
    permits: Vec<tokio::sync::OwnedSemaphorePermit>,
    flushes: Vec<oneshot::Sender<()>>,
}

impl Group {
    fn take(&mut self, journal: &Journal, seen: Seen) -> Result<(), cairn_journal::Error> {
        match seen {
            Seen::Record {
                record,
                ops,
                covers,
                permit,
            } => {
                self.last = Some(journal.append(record)?);
                self.newest = Some(covers);
                self.ops.extend(ops);
                self.bytes += permit.as_ref().map_or(0, |permit| permit.num_permits());
                self.permits.extend(permit);
            }
            Seen::Position(revision) => {
                let record = NewRecord::watermark(revision, cairn_journal::Timestamp::now());
                self.last = Some(journal.append(record)?);
            }
            Seen::Flush(done) => self.flushes.push(done),
        }
        Ok(())
    }

    fn commit(
        self,
        journal: &Journal,
        watermark: &watch::Sender<Revision>,
        mirror: Option<&mpsc::Sender<Durable>>,
    ) -> Result<(), cairn_journal::Error> {
        if let Some(last) = self.last {
            let durable = journal.commit(last)?;
            assert!(
                durable >= last,
                "commit returned before its records were durable"
            );
        }
        drop(self.permits);
        if let Some(newest) = self.newest {
            watermark.send_replace(newest);
            if let Some(mirror) = mirror {
                // The publisher is gone when the session is: the next one starts from the journal.
                let _ = mirror.blocking_send(Durable {
                    newest,
                    ops: self.ops,
                });
            }
        }
        for done in self.flushes {
            let _ = done.send(());
        }
        Ok(())
    }
}
