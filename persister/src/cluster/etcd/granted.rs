//! How long leases last: no event tells, so each is asked once.
//!
//! Promise: the time of a lease that a change names is known before the change is passed on, unless
//! the lease was gone before it could be asked. Asking costs the cluster no revision.
//!
//! A number that is given again within a few seconds, to a lease of another time, keeps the time
//! that it had: nothing tells of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cairn_etcd::wire::{Event, LeaseLeasesRequest, LeaseTimeToLiveRequest};
use cairn_etcd::{ErrorKind, Session};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::cluster::error::Result;
use crate::cluster::followed::LeaseFact;

/// How many leases are asked for at once.
const AT_ONCE: usize = 32;

/// Leases and the seconds that each was granted.
pub(super) type Times = HashMap<i64, i64>;

/// The leases that one session knows.
#[derive(Debug, Default)]
pub(super) struct Granted {
    /// The seconds that each was granted; `None`: it was gone when it was asked for.
    known: Mutex<HashMap<i64, Option<i64>>>,
}

impl Granted {
    /// The times of the leases that `events` name and that were not known.
    pub(super) async fn learn(&self, session: &Session, events: &[Event]) -> Result<Times> {
        match self.has_new(events) {
            true => self.ask(session, self.new_in(events)).await,
            false => Ok(Times::new()),
        }
    }

    /// Whether `events` name a lease that is not known.
    pub(super) fn has_new(&self, events: &[Event]) -> bool {
        let is_named = events.iter().any(|event| {
            let lease = event.kv.as_ref().map_or(0, |key| key.lease);
            lease != 0
        });
        is_named && !self.new_in(events).is_empty()
    }

    /// The same, where a snapshot has every lease that there was after these events.
    pub(super) fn learn_from(&self, all: &Times, events: &[Event]) -> Times {
        let found = |id: &i64| (*id, all.get(id).copied());
        let found: Vec<_> = self.new_in(events).iter().map(found).collect();
        self.known().extend(found.iter().copied());
        let alive = found.into_iter();
        alive.filter_map(|(id, ttl)| Some((id, ttl?))).collect()
    }

    /// Takes in what a snapshot says.
    pub(super) fn remember(&self, all: &Times) {
        let all = all.iter().map(|(id, ttl)| (*id, Some(*ttl)));
        self.known().extend(all);
    }

    /// What became of leases, compared with those that are `known`.
    pub(super) async fn compared(
        &self,
        session: &Session,
        known: &BTreeMap<i64, i64>,
    ) -> Result<Vec<LeaseFact>> {
        let alive = match session.call(LeaseLeasesRequest {}).await {
            Ok(answer) => answer.leases,
            Err(error) if is_not_allowed(error.kind()) => {
                tracing::warn!(%error, "the cluster does not tell which leases there are");
                return Ok(Vec::new());
            }
            Err(error) => return Err(error.into()),
        };
        let alive: BTreeSet<i64> = alive.iter().map(|lease| lease.id).collect();
        let gone = known.keys().filter(|id| !alive.contains(id));
        let mut facts: Vec<LeaseFact> = gone
            .map(|id| LeaseFact {
                id: *id,
                granted_ttl: None,
            })
            .collect();
        let times: Times = {
            let mut cache = self.known();
            cache.retain(|id, _| alive.contains(id));
            let found = |id: &i64| Some((*id, cache.get(id).copied()??));
            let new = alive.iter().filter(|id| !known.contains_key(id));
            new.filter_map(found).collect()
        };
        let is_new = |id: &&i64| !known.contains_key(id) && !times.contains_key(id);
        let asked = self.ask(session, alive.iter().filter(is_new).copied().collect());
        facts.extend(asked.await?.into_iter().chain(times).map(fact));
        Ok(facts)
    }

    /// Those that `events` name and that are not known, in their order.
    fn new_in(&self, events: &[Event]) -> Vec<i64> {
        let known = self.known();
        let named = events
            .iter()
            .filter_map(|event| Some(event.kv.as_ref()?.lease));
        let mut seen = HashSet::new();
        named
            .filter(|id| *id != 0 && !known.contains_key(id) && seen.insert(*id))
            .collect()
    }

    async fn ask(&self, session: &Session, ids: Vec<i64>) -> Result<Times> {
        let asked = stream::iter(ids).map(async |id| Ok::<_, _>((id, granted(session, id).await?)));
        let found: Result<Vec<_>> = asked.buffer_unordered(AT_ONCE).try_collect().await;
        let found = found?;
        self.known().extend(found.iter().copied());
        let alive = found.into_iter();
        Ok(alive.filter_map(|(id, ttl)| Some((id, ttl?))).collect())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<i64, Option<i64>>> {
        // Nothing panics while it holds it; if so, what stands there is true all the same.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The seconds that a lease was granted; `None` if there is none of this number.
async fn granted(session: &Session, id: i64) -> Result<Option<i64>> {
    let request = LeaseTimeToLiveRequest { id, keys: false };
    match session.call(request).await {
        Ok(answer) => Ok(Some(answer.granted_ttl).filter(|ttl| *ttl > 0)),
        Err(error) if error.kind() == ErrorKind::LeaseNotFound => Ok(None),
        Err(error) if is_not_allowed(error.kind()) => {
            tracing::warn!(%error, "the cluster does not tell how long lease {id:x} lasts");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn is_not_allowed(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::PermissionDenied | ErrorKind::Unauthenticated
    )
}

pub(super) fn fact((id, ttl): (i64, i64)) -> LeaseFact {
    LeaseFact {
        id,
        granted_ttl: Some(ttl),
    }
}
