//! What the journal says of leases is what the cluster says.
//!
//! Leases have no revisions, so they are not followed but asked for: those that changes name come
//! with the changes, and the others (without keys, or gone) are looked for at every attach and then
//! every few seconds. An older state may so have a lease for some seconds too long, without keys.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cairn_journal::replay::{Effect, Replay};
use cairn_journal::{
    Entry, Error as JournalError, Journal, NewRecord, Reader, Revision, Timestamp,
};
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::cluster::error::Result as ClusterResult;
use crate::cluster::followed::LeaseFact;
use crate::cluster::session::Session;
use crate::error::Error;

/// How often the cluster is asked which leases there are.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// How often reading is begun anew because retention was faster.
const RETRIES: usize = 8;

/// The leases of a journal, and what the cluster tells of them from now on.
pub struct Leases {
    journaled: Journaled,
    news: BoxStream<'static, ClusterResult<Vec<LeaseFact>>>,
}

/// The leases that a journal has: the number of each, and the seconds that it was granted.
type Journaled = Arc<Mutex<BTreeMap<i64, i64>>>;

impl Leases {
    /// Journals, as of the journal's end, how the leases of the cluster differ from those that it
    /// has.
    ///
    /// # Errors
    /// The cluster's, the journal's.
    pub async fn compared<S: Session>(session: &S, journal: &Journal) -> Result<Self, Error> {
        if !session.capabilities().tells_leases {
            return Ok(Self {
                journaled: Arc::default(),
                news: stream::pending().boxed(),
            });
        }
        let known = block_in_place(|| leases_of(journal))?;
        let facts = session.leases(&known).await?;
        let journaled = Arc::new(Mutex::new(known));
        let leases = Self {
            news: looking(session.clone(), Arc::clone(&journaled)),
            journaled,
        };
        let records = leases.records(journal.end().revision, facts);
        block_in_place(|| {
            let mut last = None;
            for record in records {
                last = Some(journal.append(record)?);
            }
            last.map_or(Ok(()), |last| journal.commit(last).map(drop))
        })?;
        Ok(leases)
    }

    /// What the cluster tells next. Nothing is lost if it is dropped.
    pub(super) async fn news(&mut self) -> ClusterResult<Vec<LeaseFact>> {
        match self.news.next().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }

    /// The records that tell what the journal does not have yet; they count as appended. `seen`:
    /// everything up to this revision is in the journal before them.
    pub(super) fn records(&self, seen: Revision, facts: Vec<LeaseFact>) -> Vec<NewRecord> {
        let mut journaled = locked(&self.journaled);
        let now = Timestamp::now();
        let mut records = Vec::new();
        for LeaseFact { id, granted_ttl } in facts {
            let before = match granted_ttl {
                Some(ttl) => journaled.insert(id, ttl),
                None => journaled.remove(&id),
            };
            if before != granted_ttl {
                records.push(NewRecord::lease(seen, id, granted_ttl, now));
            }
        }
        records
    }
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases").finish_non_exhaustive()
    }
}

fn locked(journaled: &Journaled) -> std::sync::MutexGuard<'_, BTreeMap<i64, i64>> {
    journaled.lock().unwrap_or_else(PoisonError::into_inner)
}

fn looking<S: Session>(
    session: S,
    journaled: Journaled,
) -> BoxStream<'static, ClusterResult<Vec<LeaseFact>>> {
    let look = move |()| {
        let (session, journaled) = (session.clone(), Arc::clone(&journaled));
        async move {
            sleep(LOOK_EVERY).await;
            // Before the question: a lease that is journaled while it is under way is not gone.
            let known = locked(&journaled).clone();
            Some((session.leases(&known).await, ()))
        }
    };
    stream::unfold((), look).boxed()
}

/// The leases that a journal has.
fn leases_of(journal: &Journal) -> Result<BTreeMap<i64, i64>, JournalError> {
    let reader = journal.reader()?;
    for _ in 0..RETRIES {
        match read(&reader) {
            // Retention has removed what was about to be read: there is a newer checkpoint.
            Err(JournalError::Retired { .. }) => {}
            other => return other,
        }
    }
    read(&reader)
}

/// Those of the newest checkpoint that is sound, and what came after it.
fn read(reader: &Reader) -> Result<BTreeMap<i64, i64>, JournalError> {
    let (mut leases, mut records) = (BTreeMap::new(), reader.records());
    for checkpoint in reader.checkpoints()?.usable {
        match checkpoint.leases() {
            Ok(found) => {
                leases = found;
                records = reader.records_from(checkpoint.sequence().next());
                break;
            }
            Err(error @ JournalError::CheckpointDamaged { .. }) => {
                tracing::warn!(%error, "a damaged checkpoint is passed over");
            }
            Err(error) => return Err(error),
        }
    }
    let (mut replay, mut held) = (Replay::default(), Vec::new());
    for record in records {
        let record = record?;
        let step = replay.record(&record);
        if matches!(step.effect, Effect::Discard) {
            held.clear();
        }
        if let Entry::Lease {
            id, granted_ttl, ..
        } = record.entry
        {
            held.push((id, granted_ttl));
        }
        if matches!(step.effect, Effect::Apply | Effect::Resync) {
            for (id, granted_ttl) in held.drain(..) {
                match granted_ttl {
                    Some(ttl) => leases.insert(id, ttl),
                    None => leases.remove(&id),
                };
            }
        }
    }
    Ok(leases)
}
