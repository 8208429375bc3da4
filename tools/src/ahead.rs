//! Records read ahead in a thread of their own: verifying and decoding take most of the time of a
//! dump, so it should not wait for the printing, nor the printing for it.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use cairn_journal::Record;

use crate::dump::DumpError;
use crate::source::{SourceError, SourceRecords};

/// Records are handed over in batches of so many, so that waking the other thread costs little.
const BATCH_RECORDS: usize = 512;

/// A batch ends early at so many bytes on disk: with the largest record, what bounds the memory.
const BATCH_BYTES: u64 = 256 << 10;

/// Batches that may wait: enough that neither side has to wait for a hiccup of the other.
const BATCHES_WAITING: usize = 8;

type Batch = Vec<Result<Record, SourceError>>;

/// Gives every record to `each`, up to the end as it is now, or the first error.
pub fn for_each(
    records: &mut SourceRecords,
    mut each: impl FnMut(Record) -> Result<(), DumpError>,
) -> Result<(), DumpError> {
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(BATCHES_WAITING);
        scope.spawn(move || read(records, &sender));
        // Leaving early drops the receiver, which ends the thread.
        for record in receiver.into_iter().flatten() {
            each(record?)?;
        }
        Ok(())
    })
}

fn read(records: &mut SourceRecords, sender: &SyncSender<Batch>) {
    let mut batch = Batch::with_capacity(BATCH_RECORDS);
    let mut bytes = 0;
    for record in records {
        bytes += record.as_ref().map_or(0, |record| record.location.length);
        batch.push(record);
        if batch.len() == BATCH_RECORDS || bytes >= BATCH_BYTES {
            let full = std::mem::replace(&mut batch, Batch::with_capacity(BATCH_RECORDS));
            bytes = 0;
            if sender.send(full).is_err() {
                return;
            }
        }
    }
    // Nobody left to take it: the printing has failed, and that is told there.
    let _ = sender.send(batch);
}
