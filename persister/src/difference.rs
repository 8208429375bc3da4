//! Taking a cluster's state when its history cannot be followed: the way across a gap.
//!
//! The gap is opened in the journal, the difference between the journal's state and the cluster's
//! is written, and the gap is closed. Until then the journal covers nothing beyond the gap's
//! beginning, so a crash in the middle leads here again.
//!
//! Nothing is missed between the state and what is followed after it: following starts *first*,
//! from the revision after the one at which the snapshot is pinned, and is buffered meanwhile.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_journal::{Change, GapReason, Journal, NewRecord, Revision, Timestamp};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;

use crate::cluster::{self, Followed, Live, Session};
use crate::error::Error;
use crate::stage::{Room, bytes_of};

/// How many revisions are buffered while a snapshot is taken, and with the bytes that [`Room`] has.
/// With more, reading stops, and if the cluster then forgets them, there is another gap.
const BUFFERED_REVISIONS: usize = 65_536;

/// How many bytes of changes go into one record of the difference, and how many changes.
const RECORD_BYTES: usize = 1 << 20;
const RECORD_CHANGES: usize = 4096;

/// A state was taken: what follows it.
pub struct Taken {
    /// The revision of the state: the last one of the gap.
    pub at: Revision,
    /// Every revision after it.
    pub stream: Box<dyn Stream<Item = cluster::Result<Followed>> + Send + Unpin>,
}

/// Journals the difference between the journal's state and the cluster's.
///
/// `first` is the first revision that cannot be followed. `marker` is journaled right after the
/// gap is opened.
///
/// # Errors
/// The cluster's, the journal's; in both cases the gap stays open in the journal.
pub async fn take<S: Session>(
    session: &S,
    journal: &Journal,
    first: Revision,
    reason: GapReason,
    marker: impl FnOnce(Revision) -> Option<NewRecord>,
) -> Result<Taken, Error> {
    let at = session.revision().await?;
    let stream = buffered(session.follow(at.next()));
    // After a repair nothing new may have happened; then the gap is the newest revision.
    let (first, last) = (first.min(at), at);
    tracing::warn!(
        first = %first, last = %at, %reason,
        "revisions {first} to {at} cannot be followed one by one: taking the cluster's state instead"
    );
    let before = tokio::task::block_in_place(|| -> Result<_, cairn_journal::Error> {
        // The records of a gap that was left open are part of the state: the difference is taken
        // to what the journal says in sum.
        let state = cairn_journal::state(&journal.reader()?, None)?;
        journal.append(NewRecord::gap_opened(first, last, reason, Timestamp::now()))?;
        if let Some(marker) = marker(first.previous()) {
            journal.append(marker)?;
        }
        Ok(state.files)
    })?;

    let mut difference = Difference {
        before,
        writer: Writer {
            journal,
            last,
            changes: Vec::new(),
            bytes: 0,
            total: 0,
        },
    };
    let mut live = session.snapshot(at);
    while let Some(live) = live.next().await {
        difference.live(live?)?;
    }
    let changes = difference.close()?;
    tokio::task::block_in_place(|| {
        journal.append_and_commit(NewRecord::gap_closed(first, last, reason, Timestamp::now()))
    })?;
    tracing::warn!(first = %first, last = %at, changes, "the journal has the cluster's state at revision {at}");
    Ok(Taken {
        at,
        stream: Box::new(stream),
    })
}

/// The journal's state, minus what the cluster was seen to have.
struct Difference<'a> {
    before: BTreeMap<Bytes, (Revision, Bytes)>,
    writer: Writer<'a>,
}

impl Difference<'_> {
    fn live(&mut self, live: Live) -> Result<(), cairn_journal::Error> {
        let known = self
            .before
            .remove(&live.path)
            .is_some_and(|(revision, value)| revision == live.revision && value == live.value);
        if known {
            return Ok(());
        }
        self.writer
            .push(Change::set(live.path, live.value).at(live.revision))
    }

    /// What the cluster does not have any more is deleted. Returns how many changes there were.
    fn close(mut self) -> Result<u64, cairn_journal::Error> {
        for (path, _) in std::mem::take(&mut self.before) {
            self.writer.push(Change::delete(path))?;
        }
        self.writer.flush()?;
        Ok(self.writer.total)
    }
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
            tokio::task::block_in_place(|| self.journal.append(record))?;
        }
        Ok(())
    }
}

/// Reads `stream` from now on, up to a bound, so that it is not left behind meanwhile.
fn buffered(
    mut stream: impl Stream<Item = cluster::Result<Followed>> + Send + Unpin + 'static,
) -> impl Stream<Item = cluster::Result<Followed>> + Send + Unpin {
    let (to, mut from) = mpsc::channel(BUFFERED_REVISIONS);
    tokio::spawn(async move {
        let room = Room::new();
        while let Some(item) = stream.next().await {
            let changes = item.as_ref().map_or(&[][..], |followed| &followed.changes);
            let held = room.take(changes).await;
            if to.send((item, held)).await.is_err() {
                break;
            }
        }
    });
    futures::stream::poll_fn(move |context| {
        let next = from.poll_recv(context);
        next.map(|item| item.map(|(item, _held)| item))
    })
}
