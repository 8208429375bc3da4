//! A stretch of a snapshot's history, as a writer takes it.

use crate::{
    error::Result,
    live::{KEYS_IN_MEMORY, Live, live},
    read::{records::Records, snapshot::Snapshot},
    record::{Change, Record},
    window::Window,
};

/// The state at one revision and every change after it to another, as records in order: what a
/// [`Writer`](crate::Writer) with the same `compacted` takes.
///
/// The window is the snapshot's own, or any within it: a state without history, an older state.
/// Memory: as [`hash_kv`](crate::hash_kv()).
///
/// # Errors
///
/// [`Error::Revision`](crate::Error::Revision) if the snapshot does not tell the window, and what
/// reading can meet.
pub fn history(snapshot: &Snapshot, window: Window) -> Result<History> {
    window.check(snapshot.window())?;
    let compacted = window.compacted;
    Ok(History {
        live: live(snapshot, compacted, compacted, KEYS_IN_MEMORY)?,
        records: snapshot.records()?,
        window,
        next: 0,
    })
}

/// An iterator over a stretch of a history. After an error it ends.
pub struct History {
    records: Records,
    live: Live,
    window: Window,
    /// The number of the next record in the file.
    next: usize,
}

impl Iterator for History {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let record = match self.records.next()? {
                Ok(record) => record,
                Err(error) => return Some(Err(error)),
            };
            let number = self.next;
            self.next += 1;
            if record.at.revision > self.window.revision {
                return None;
            }
            let state = record.at.revision <= self.window.compacted;
            // The bump that the compacted revision stands for.
            let bump = record.change == Change::Bump;
            if !state || (self.live.contains(number) && !bump) {
                return Some(Ok(record));
            }
        }
    }
}
