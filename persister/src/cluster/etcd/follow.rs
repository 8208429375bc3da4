//! Following: one watch of everything.
//!
//! Promise: every revision from the first one on comes once, whole and in order, or the stream ends
//! with an error. Where a member stands is never taken for something that has come: up to etcd
//! 3.4.24 and 3.5.7 a member may say that it is further than its watch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use cairn_etcd::wire::{Event, EventType, RangeRequest, WatchCreateRequest};
use cairn_etcd::{Session, Watch};
use cairn_journal::{Change, Revision};
use futures::{FutureExt, Stream, StreamExt, stream};
use tokio::task::block_in_place;

use crate::cluster::control::Id;
use crate::cluster::error::{Error, Result};
use crate::cluster::etcd::attributes::attributes_of;
use crate::cluster::etcd::catch_up::CatchUp;
use crate::cluster::etcd::contiguity::{Broken, Contiguity, revision_of};
use crate::cluster::etcd::granted::{Granted, Times, fact};
use crate::cluster::etcd::names::{RULES, touched};
use crate::cluster::etcd::spool::{Backlog, Spool};
use crate::cluster::followed::Followed;

/// The revision of a cluster that nobody has written to.
const FIRST: Revision = Revision(1);

/// How many events are read from a snapshot in one go.
const BACKLOG_EVENTS: usize = 1_024;

/// How many events of a watch are handed on together at most, beside those of its last answer.
const BATCH_EVENTS: usize = 1_024;

/// Every revision from `from` on; those of a long backlog from a snapshot, if there is a spool: one
/// that there is at first, and one that a watch leaves behind later.
pub(super) fn follow(
    session: Session,
    id: Id,
    granted: Arc<Granted>,
    spool: Option<Spool>,
    from: Revision,
) -> impl Stream<Item = Result<Followed>> + Send + Unpin + 'static {
    let following = Following {
        session,
        id,
        granted,
        contiguity: Contiguity::from(from.max(FIRST.next())),
        catch_up: spool
            .as_ref()
            .map(|spool| CatchUp::new(spool.worth, spool.patience)),
        spool,
        looks: true,
        backlog: None,
        watch: None,
        owes_first: from <= FIRST,
        ready: VecDeque::new(),
        failed: None,
        has_ended: false,
    };
    Box::pin(stream::unfold(following, |mut following| async move {
        let item = following.item().await?;
        Some((item, following))
    }))
}

struct Following {
    session: Session,
    id: Id,
    granted: Arc<Granted>,
    contiguity: Contiguity,
    /// Where a long backlog is read from.
    spool: Option<Spool>,
    catch_up: Option<CatchUp>,
    /// Whether it is to be looked if there is a long backlog, before anything else.
    looks: bool,
    backlog: Option<Backlog>,
    watch: Option<Watch>,
    /// Whether the first revision of all is to be told before the rest: it is that of an empty
    /// cluster, and no event tells of it.
    owes_first: bool,
    /// What has come and was not handed on yet: what one answer of the watch had.
    ready: VecDeque<Followed>,
    /// What came after that.
    failed: Option<Error>,
    has_ended: bool,
}

impl Following {
    async fn item(&mut self) -> Option<Result<Followed>> {
        loop {
            if let Some(followed) = self.ready.pop_front() {
                return Some(Ok(followed));
            }
            if self.has_ended {
                return None;
            }
            if let Some(error) = self.failed.take() {
                self.has_ended = true;
                return Some(Err(error));
            }
            self.failed = self.fill().await.err();
        }
    }

    /// Takes what comes next. What is told before it breaks is ready all the same.
    async fn fill(&mut self) -> Result<()> {
        if std::mem::take(&mut self.looks) {
            self.look_for_backlog().await?;
        }
        if let Some(backlog) = &mut self.backlog {
            let events = block_in_place(|| backlog.events(BACKLOG_EVENTS))?;
            if !events.is_empty() {
                let times = self.granted.learn_from(backlog.times(), &events);
                return self.pass(events, times, true);
            }
            tracing::info!(to = %self.contiguity.due().previous(), "the backlog is read");
            self.backlog = None;
        }
        let watch = match &mut self.watch {
            Some(watch) => watch,
            None => {
                // What was read elsewhere is told once more, and must be the same.
                let create = WatchCreateRequest::all(self.contiguity.repeatable().0);
                let watch = self.watch.insert(self.session.watch(create).await?);
                if self.owes_first && watch.created_revision() <= FIRST.0 {
                    self.owes_first = false;
                    self.ready.push_back(first());
                    return Ok(());
                }
                watch
            }
        };
        let Some(batch) = watch.next().await else {
            return Err(Error::Unavailable("the watch has ended".to_owned()));
        };
        let batch = batch?;
        // The member stood there when it told this. That is no proof of anything to come.
        let newest = batch.events.iter().rev().find_map(revision_of);
        let behind = newest.map_or(0, |newest| batch.revision - newest.0);
        if let Some(catch_up) = &mut self.catch_up {
            self.looks = catch_up.is_due(behind, Instant::now());
        }
        let mut events = batch.events;
        let mut ended = Ok(());
        if self.granted.has_new(&events) {
            // Asking takes a round trip: what has come meanwhile is asked for in the same one.
            while events.len() < BATCH_EVENTS
                && ended.is_ok()
                && let Some(Some(batch)) = watch.next().now_or_never()
            {
                ended = batch.map(|batch| events.extend(batch.events));
            }
        }
        let times = self.granted.learn(&self.session, &events).await?;
        self.pass(events, times, false)?;
        Ok(ended?)
    }

    /// Goes on from a snapshot's history, if there is enough to follow that it is worth one. A
    /// watch that runs is given up for it, and is there still if there can be none.
    async fn look_for_backlog(&mut self) -> Result<()> {
        let (Some(spool), Some(catch_up)) = (&self.spool, &mut self.catch_up) else {
            return Ok(());
        };
        let due = self.contiguity.due().0;
        let newest = self.session.call(RangeRequest::key("\0")).await?.header;
        let behind = newest.map_or(0, |header| header.revision) - due;
        if behind < spool.worth {
            return Ok(());
        }
        match self.watch {
            None => tracing::info!(from = due, behind, "reading the backlog from a snapshot"),
            Some(_) => tracing::warn!(
                from = due,
                behind,
                "the cluster is written to faster than its member tells: reading the backlog from \
                 a snapshot"
            ),
        }
        let asked = Instant::now();
        let fetched = spool.fetch(&self.session).await;
        let has_one = matches!(fetched, Ok(Some(_)));
        catch_up.fetched(asked, Instant::now(), has_one);
        if let Some(snapshot) = fetched? {
            self.backlog = Backlog::of(&snapshot, due)?;
        }
        if self.backlog.is_some() {
            self.watch = None;
        }
        Ok(())
    }

    /// Makes revisions of events. `times`: of the leases that they name first.
    fn pass(&mut self, events: Vec<Event>, mut times: Times, from_snapshot: bool) -> Result<()> {
        let (ready, id) = (&mut self.ready, self.id);
        let mut owed = std::mem::take(&mut self.owes_first).then(first);
        let passed = self.contiguity.pass(events, |revision, events| {
            ready.extend(owed.take());
            ready.push_back(Followed {
                from_snapshot,
                ..followed(id, revision, events, &mut times)
            });
        });
        passed.map_err(|broken| self.broken(broken))
    }

    fn broken(&self, broken: Broken) -> Error {
        let member = self.session.endpoint();
        match broken {
            Broken::Jump { due, got } => {
                tracing::error!(
                    "the member at {member} (etcd {}) told revision {got} where {due} was due: \
                     those between are taken from the cluster's state",
                    self.session.version().unwrap_or("of a version not told")
                );
                Error::HistoryDiscarded
            }
            // Another session, and a look at the whole, tells what became of the cluster.
            Broken::Again(revision) => Error::Unavailable(format!(
                "the member at {member} told revision {revision} again, and not as before"
            )),
            Broken::Nonsense => Error::Unavailable(format!(
                "the member at {member} told of an event without a key"
            )),
        }
    }
}

fn first() -> Followed {
    Followed {
        revision: FIRST,
        ..Followed::default()
    }
}

fn followed(id: Id, revision: Revision, events: Vec<Event>, times: &mut Times) -> Followed {
    let mut followed = Followed {
        revision,
        ..Followed::default()
    };
    for (sub, event) in events.into_iter().enumerate() {
        let is_delete = event.r#type == EventType::Delete as i32;
        let key = event.kv.unwrap_or_default();
        let named = times.remove_entry(&key.lease);
        followed.leases.extend(named.map(fact));
        let is_control = RULES.is_control(&key.key);
        if is_control {
            let value = (!is_delete).then_some(&key.value);
            followed.touched.extend(touched(id, &key.key, value));
        }
        let change = match is_delete {
            true => Change::delete(key.key),
            false => {
                let attributes = attributes_of(&key).numbered(sub).to_bytes();
                Change::set(key.key, key.value).with_attributes(attributes)
            }
        };
        followed.changes.push(match is_control {
            true => change.control(),
            false => change,
        });
    }
    followed
}
