//! Taking a cluster's state when its history cannot be followed: the way across a gap.
//!
//! The gap is opened in the journal, the difference between the journal's state and the cluster's
//! is written, and the gap is closed. Until then the journal covers nothing beyond the gap's
//! beginning, so a crash in the middle leads here again.
//!
//! Neither state is held in memory: the cluster's is sorted as it arrives (a cluster lists its keys
//! in an order of its own), the journal's is a sorted stream, and the two are merged.
//!
//! Nothing is missed between the state and what is followed after it: following starts *first*,
//! from the revision after the one at which the snapshot is pinned, and is buffered meanwhile.

use std::cmp::Ordering;

use cairn_journal::{
    Change, GapReason, Journal, KeyValue, NewRecord, Revision, Stop, Timestamp,
    maintain::{SortedEntries, Sorter},
};
use futures::{Stream, StreamExt};

use crate::cluster::ahead::read_ahead;
use crate::cluster::budget::bytes_of;
use crate::cluster::error::Result as ClusterResult;
use crate::cluster::followed::{Followed, Live};
use crate::cluster::session::Session;
use crate::error::Error;

/// How many live keys are sorted in one go, as far as that many have arrived.
const CHUNK_KEYS: usize = 1024;

/// How many bytes of changes go into one record of the difference, and how many changes.
const RECORD_BYTES: usize = 1 << 20;
const RECORD_CHANGES: usize = 4096;

/// A state was taken: what follows it.
pub struct Taken {
    /// The revision of the state: the last one of the gap.
    pub at: Revision,
    /// Every revision after it.
    pub stream: Box<dyn Stream<Item = ClusterResult<Followed>> + Send + Unpin>,
}

/// Journals the difference between the journal's state and the cluster's.
///
/// `first` is the first revision that cannot be followed. `marker` is journaled right after the
/// gap is opened. `stop` ends it early.
///
/// # Errors
/// The cluster's, the journal's; in both cases the gap stays open in the journal.
pub async fn take<S: Session>(
    session: &S,
    journal: &Journal,
    first: Revision,
    reason: GapReason,
    marker: impl FnOnce(Revision) -> Option<NewRecord>,
    stop: &Stop,
) -> Result<Taken, Error> {
    // First, as it may take a while, and the cluster goes on. It is what the journal says in sum: a
    // difference that was not completed is no part of it, unless damage has made it one.
    let before = tokio::task::block_in_place(|| journal.consistent_state(stop))?;
    let at = session.revision().await?;
    let stream = read_ahead(session.follow(at.next()));
    // After a repair nothing new may have happened; then the gap is the newest revision.
    let (first, last) = (first.min(at), at);
    tracing::warn!(
        first = %first, last = %at, %reason,
        "revisions {first} to {at} cannot be followed one by one: taking the cluster's state \
         instead"
    );
    tokio::task::block_in_place(|| -> Result<_, cairn_journal::Error> {
        journal.append(NewRecord::gap_opened(first, last, reason, Timestamp::now()))?;
        if let Some(marker) = marker(first.previous()) {
            journal.append(marker)?;
        }
        Ok(())
    })?;
    let live = sorted(journal.sorter()?, session.snapshot(at)).await?;
    let changes = tokio::task::block_in_place(|| {
        let writer = Writer {
            journal,
            last,
            changes: Vec::new(),
            bytes: 0,
            total: 0,
        };
        let is_same = |old: &KeyValue, new: &KeyValue| {
            (&old.path, old.revision, &old.value) == (&new.path, new.revision, &new.value)
                && session.same_attributes(&old.attributes, &new.attributes)
        };
        let changes = write(before.entries, live, writer, is_same, stop)?;
        let closed = NewRecord::gap_closed(first, last, reason, Timestamp::now());
        journal.append_and_commit(closed)?;
        Ok::<_, cairn_journal::Error>(changes)
    })?;
    tracing::warn!(
        first = %first, last = %at, changes,
        "the journal has the cluster's state at revision {at}"
    );
    Ok(Taken {
        at,
        stream: Box::new(stream),
    })
}

/// All live keys, in the order of their paths.
pub(super) async fn sorted(
    mut sorter: Sorter,
    live: impl Stream<Item = ClusterResult<Live>> + Unpin,
) -> Result<SortedEntries, Error> {
    let mut chunks = live.ready_chunks(CHUNK_KEYS);
    while let Some(chunk) = chunks.next().await {
        // May write to the disk.
        tokio::task::block_in_place(|| {
            chunk.into_iter().try_for_each(|live| {
                let Live {
                    path,
                    revision,
                    value,
                    attributes,
                } = live?;
                let entry = KeyValue::new(path, revision, value);
                let entry = entry.with_attributes(attributes.bytes().clone());
                Ok::<_, Error>(sorter.push(entry)?)
            })
        })?;
    }
    Ok(tokio::task::block_in_place(|| sorter.sorted())?)
}

/// Writes what leads from `before` to `live`. Returns how many changes there were.
fn write(
    mut before: SortedEntries,
    mut live: SortedEntries,
    mut writer: Writer<'_>,
    is_same: impl Fn(&KeyValue, &KeyValue) -> bool,
    stop: &Stop,
) -> Result<u64, cairn_journal::Error> {
    let (mut old, mut new) = (before.next().transpose()?, live.next().transpose()?);
    loop {
        stop.check()?;
        let order = match (&old, &new) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.path.cmp(&new.path),
        };
        let is_same = match (&old, &new) {
            (Some(old), Some(new)) => is_same(old, new),
            _ => false,
        };
        let gone = old.take_if(|_| order.is_le());
        let there = new.take_if(|_| order.is_ge());
        match (gone, there) {
            (_, Some(_)) if is_same => {}
            (_, Some(new)) => {
                writer.push(new.into())?;
            }
            // What the cluster does not have any more is deleted.
            (Some(old), None) => writer.push(Change::delete(old.path))?,
            (None, None) => unreachable!("one of the two is the lesser"),
        }
        if order.is_le() {
            old = before.next().transpose()?;
        }
        if order.is_ge() {
            new = live.next().transpose()?;
        }
    }
    writer.flush()?;
    Ok(writer.total)
}

struct Writer<'a> {
    journal: &'a Journal,
    last: Revision,
    changes: Vec<Change>,
    bytes: usize,
    total: u64,
}

impl Writer<'_> {
    fn push(&mut self, change: Change) -> Result<(), cairn_journal::Error> {
        self.bytes += bytes_of(&change);
        self.changes.push(change);
        self.total += 1;
        if self.bytes >= RECORD_BYTES || self.changes.len() >= RECORD_CHANGES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), cairn_journal::Error> {
        if !self.changes.is_empty() {
            let changes = std::mem::take(&mut self.changes);
            self.bytes = 0;
            let record = NewRecord::changes(self.last, changes, Timestamp::now());
            // May wait for the disk when its queue is full.
            self.journal.append(record)?;
        }
        Ok(())
    }
}
