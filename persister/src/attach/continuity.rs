//! Whether a cluster's history still is the one that the journal holds.
//!
//! An engine that may roll back can come back under its old identity at a lower revision, and then
//! gives the numbers of what it lost to other changes. So a newer revision than the journal's is
//! no proof. What is one:
//!
//! 1. Our own watermark: nobody else writes it, and it was written when the journal was as far as
//!    that. A cluster that has it has everything before it.
//! 2. Every revision from there to the journal's end, told again by the cluster and compared with
//!    what was journaled. What is compared is what is followed next, in one stream: nothing can
//!    slip in between.
//!
//! Where the watermark is newer than the journal's end, it was written after the last change, and
//! the newest thousand revisions are compared in its stead. Where the cluster has forgotten that
//! far back, its newest revision that the journal has is compared. Where it has forgotten that, or
//! the journal ends with a gap, no revision can be: then its keys are compared with the journal's.

use std::collections::VecDeque;
use std::time::Duration;

use cairn_journal::{Change, Entry, Error as JournalError, Journal, Revision, replay::Replay};
use cairn_protocol::progress;
use futures::StreamExt as _;

use crate::cluster::budget::bytes_of;
use crate::cluster::control::{ControlKey, Id};
use crate::cluster::error::{Error as ClusterError, Result as ClusterResult};
use crate::cluster::followed::{Changes, Followed};
use crate::cluster::session::Session;
use crate::error::Error;

/// How many revisions are compared where our watermark does not say how many there must be.
const COMPARED: i64 = 1_000;

/// How many revisions, and bytes of them, are compared at most.
const MOST_REVISIONS: usize = 65_536;
const MOST_BYTES: usize = 16 << 20;

/// How long a member may take to tell a revision that a majority has.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// What a comparison shows.
pub(super) enum Continuity {
    /// The histories are the same. Everything after the revision up to which they were compared.
    Same {
        /// That.
        stream: Changes,
        /// Whether any revision that changed something was compared.
        proven: bool,
    },
    /// They are not. `common`: the newest revision that both have, as far as is known.
    Parted {
        /// That revision.
        common: Revision,
        /// Whether any revision before it, that changed something, is the same.
        proven: bool,
    },
    /// The cluster does not keep the revisions that could be compared.
    Unknown,
}

/// Compares the histories up to `last`, which both have. `id`: whose watermark is ours, if any is.
///
/// # Errors
/// The cluster's, the journal's.
pub(super) async fn compare<S: Session>(
    session: &S,
    journal: &Journal,
    id: Option<Id>,
    last: Revision,
) -> Result<Continuity, Error> {
    let watermark = match id {
        Some(id) => session.read(&ControlKey::Watermark(id)).await?,
        None => None,
    };
    let ours = watermark.filter(|said| progress::parse_revision(&said.value).is_ok());
    let first = match ours {
        Some(said) if said.revision <= last => said.revision,
        _ => Revision((last.0 - COMPARED).max(1)),
    };
    let tail = tokio::task::block_in_place(|| Tail::read(journal, first, last))?;
    match compared(session, tail.clone()).await? {
        Continuity::Unknown if tail.first < last => compared(session, tail.newest()).await,
        known => Ok(known),
    }
}

/// The newest revision up to `last` that both have in common; `None`: it is not proven. What proves
/// it is a comparison that begins with our own watermark, the one of `id`.
///
/// # Errors
/// The cluster's, the journal's.
pub(crate) async fn common<S: Session>(
    session: &S,
    journal: &Journal,
    id: Id,
    last: Revision,
) -> Result<Option<Revision>, Error> {
    let said = session.read(&ControlKey::Watermark(id)).await?;
    let Some(first) = said.map(|said| said.revision).filter(|said| *said <= last) else {
        return Ok(None);
    };
    let tail = tokio::task::block_in_place(|| Tail::read(journal, first, last))?;
    if tail.first != first {
        return Ok(None);
    }
    let common = match compared(session, tail).await? {
        Continuity::Same { .. } => last,
        Continuity::Parted { common, .. } => common,
        Continuity::Unknown => return Ok(None),
    };
    Ok((common >= first).then_some(common))
}

async fn compared<S: Session>(session: &S, mut tail: Tail) -> Result<Continuity, Error> {
    let mut stream = session.follow(tail.first);
    let (mut due, mut proven) = (tail.first, false);
    while due <= tail.last {
        let followed = match told(&mut stream).await {
            Err(ClusterError::HistoryDiscarded) => return Ok(Continuity::Unknown),
            followed => followed?,
        };
        if followed.revision != due {
            return Err(Error::OutOfOrder {
                expected: due,
                got: followed.revision,
            });
        }
        let changes_something = !followed.changes.is_empty();
        if followed.changes != tail.take(due) {
            let common = due.previous();
            return Ok(Continuity::Parted { common, proven });
        }
        proven |= changes_something;
        due = due.next();
    }
    let stream = Box::new(stream);
    Ok(Continuity::Same { stream, proven })
}

/// The next revision of a stream, which the cluster has.
pub(crate) async fn told(
    stream: &mut (impl futures::Stream<Item = ClusterResult<Followed>> + Unpin),
) -> ClusterResult<Followed> {
    match tokio::time::timeout(TOLD_WITHIN, stream.next()).await {
        Ok(Some(followed)) => followed,
        Ok(None) => Err(ClusterError::Unavailable(
            "the stream of changes ended".to_owned(),
        )),
        Err(_) => Err(ClusterError::Unavailable(format!(
            "a revision that the cluster has was not told within {TOLD_WITHIN:?}: this node lags"
        ))),
    }
}

/// The end of a journal's history: what each revision changed, of all from `first` to `last`.
#[derive(Clone, Debug)]
struct Tail {
    first: Revision,
    last: Revision,
    /// Those that changed something, in order.
    records: VecDeque<(Revision, Vec<Change>)>,
    bytes: usize,
}

impl Tail {
    /// Reads what there is between `first` and `last`; begins later where the journal was told of
    /// no single revisions, or holds the history of another cluster.
    fn read(journal: &Journal, first: Revision, last: Revision) -> Result<Self, JournalError> {
        let reader = journal.reader()?.with_control();
        let mut tail = Self {
            first,
            last,
            records: VecDeque::new(),
            bytes: 0,
        };
        let mut replay = Replay::default();
        let mut records = reader.records_from_revision(first);
        let mut from_the_beginning = false;
        while let Some(record) = records.next() {
            let record = match record {
                Err(JournalError::NotInHistory { .. } | JournalError::Retired { .. })
                    if !from_the_beginning =>
                {
                    from_the_beginning = true;
                    tail.begin_at(first.max(reader.beginning()?.covered.next()));
                    replay = Replay::default();
                    records = reader.records();
                    continue;
                }
                other => other?,
            };
            let step = replay.record(&record);
            let is_timeline = matches!(record.entry, Entry::Timeline(_));
            if step.unseen.is_some() || step.switch.is_some() || is_timeline {
                tail.begin_at(first.max(replay.covered().next()));
            } else if let Entry::Changes { changes, .. } = record.entry {
                tail.push(record.revision, changes);
            }
        }
        Ok(tail)
    }

    /// Forgets everything before `first`.
    fn begin_at(&mut self, first: Revision) {
        self.first = first;
        let older = self.records.partition_point(|(at, _)| *at < first);
        for (_, changes) in self.records.drain(..older) {
            self.bytes -= changes.iter().map(bytes_of).sum::<usize>();
        }
    }

    fn push(&mut self, revision: Revision, changes: Vec<Change>) {
        if revision < self.first || revision > self.last {
            return;
        }
        self.bytes += changes.iter().map(bytes_of).sum::<usize>();
        self.records.push_back((revision, changes));
        while self.records.len() > MOST_REVISIONS || self.bytes > MOST_BYTES {
            let Some((oldest, _)) = self.records.front() else {
                break;
            };
            if *oldest == self.last {
                break; // one is compared, however large it is
            }
            self.begin_at(oldest.next());
        }
    }

    /// The newest revision alone.
    fn newest(mut self) -> Self {
        let first = self.first.max(self.last);
        self.begin_at(first);
        self
    }

    /// What `revision` changed. Asked in order.
    fn take(&mut self, revision: Revision) -> Vec<Change> {
        match self.records.front() {
            Some((at, _)) if *at == revision => self.records.pop_front(),
            _ => None,
        }
        .map(|(_, changes)| changes)
        .unwrap_or_default()
    }
}
