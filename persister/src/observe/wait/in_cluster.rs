//! How far each persister is, told from the keys in the cluster alone.
//!
//! Promise: it says yes only of the cluster that it found first. A cluster that is given another
//! name meanwhile, by a restore or by its loss, may mean something else by the same revision.

use std::collections::BTreeMap;
use std::time::Duration;

use cairn_journal::Revision;
use cairn_protocol::owner::Owner;
use cairn_protocol::progress;
use futures::StreamExt as _;
use tokio::time::{Instant, sleep, timeout_at};

use crate::cluster::address::Address;
use crate::cluster::backoff::Backoff;
use crate::cluster::connect::{Task, connect};
use crate::cluster::control::{ControlKey, Id};
use crate::cluster::error::{Error as ClusterError, Result as ClusterResult};
use crate::cluster::session::{Cluster, Session};
use crate::error::Error;
use crate::identity::lineage::Identity;
use crate::observe::wait::progress::{LOOK_EVERY, Progress, WaitRequest};

/// How long a watermark stays behind before it is looked whether it has a reason to go on.
const QUIET: Duration = Duration::from_millis(500);

/// How many revisions are looked at for that.
const MOST_LOOKED_AT: i64 = 10_000;

/// Nothing is followed for an owner key, so none is looked out for.
const NO_ID: Id = 0;

/// Looks until enough persisters have everything, or the time is over.
pub(super) async fn wait(request: &WaitRequest, cluster: &Address) -> Result<Progress, Error> {
    connect(cluster, NO_ID, None, Waiting::of(request)).await
}

struct Waiting<'a> {
    request: &'a WaitRequest,
    by: Instant,
    /// The name of the cluster that was found first.
    cluster: Option<String>,
    /// What was seen last.
    seen: Option<Progress>,
    /// Watermarks that have stayed behind since.
    quiet: Option<(BTreeMap<Id, Option<Revision>>, Instant)>,
}

impl Task for Waiting<'_> {
    type Output = Result<Progress, Error>;

    async fn run<C: Cluster>(mut self, cluster: C) -> Self::Output {
        let mut backoff = Backoff::new();
        let mut unreached: Error = ClusterError::Unavailable("no answer in time".to_owned()).into();
        loop {
            let by = self.by;
            let looked = timeout_at(by, async {
                let session = cluster.open().await?;
                self.watch(&session).await
            });
            match looked.await {
                Err(_) => break,
                Ok(Ok(progress)) => return Ok(progress),
                Ok(Err(error)) if error.may_pass() => unreached = error,
                Ok(Err(error)) => return Err(error),
            }
            if timeout_at(by, sleep(backoff.pause())).await.is_err() {
                break;
            }
        }
        self.seen.ok_or(unreached)
    }
}

impl<'a> Waiting<'a> {
    fn of(request: &'a WaitRequest) -> Self {
        Self {
            request,
            by: Instant::now() + request.timeout,
            cluster: None,
            seen: None,
            quiet: None,
        }
    }

    /// Looks again and again, as long as the session lasts.
    async fn watch<S: Session>(&mut self, session: &S) -> Result<Progress, Error> {
        loop {
            self.identify(session).await?;
            let persisters = self.look(session).await?;
            // What was read is of the cluster that it was before and is after.
            self.identify(session).await?;
            let progress = Progress {
                revision: self.request.revision,
                persisters,
                required: self.request.required,
            };
            self.seen = Some(progress.clone());
            if progress.is_durable() {
                return Ok(progress);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn identify<S: Session>(&mut self, session: &S) -> Result<(), Error> {
        let Some(identity) = session.read(&ControlKey::Identity).await? else {
            // Nobody has named it yet; a cluster that had a name and has none is another one.
            return self.is_named(None);
        };
        self.is_named(Some(Identity::parse(&identity.value)?.id))
    }

    fn is_named(&mut self, now: Option<String>) -> Result<(), Error> {
        match &self.cluster {
            Some(before) if Some(before) != now.as_ref() => Err(Error::Renamed {
                before: before.clone(),
                now,
            }),
            before => {
                if before.is_none()
                    && let Some(now) = &now
                {
                    tracing::debug!(cluster = now, "waiting for persisters of this cluster");
                }
                self.cluster = now;
                Ok(())
            }
        }
    }

    /// How far each persister is.
    async fn look<S: Session>(
        &mut self,
        session: &S,
    ) -> Result<BTreeMap<Id, Option<Revision>>, Error> {
        let mut all = BTreeMap::new();
        for id in &self.request.persisters {
            all.insert(*id, said(session, *id).await?);
        }
        let now = Instant::now();
        match &self.quiet {
            Some((before, since)) if *before == all => {
                if now.duration_since(*since) >= QUIET {
                    self.quiet = Some((all.clone(), now));
                    let behind = all.values().flatten().min().copied();
                    if let Some(behind) = behind {
                        self.pass_control(session, behind, &mut all).await?;
                    }
                }
            }
            _ => self.quiet = Some((all.clone(), now)),
        }
        Ok(all)
    }

    /// A watermark says nothing of control writes, nor of revisions that changed nothing. A journal
    /// that has everything before them has everything.
    async fn pass_control<S: Session>(
        &self,
        session: &S,
        behind: Revision,
        all: &mut BTreeMap<Id, Option<Revision>>,
    ) -> Result<(), Error> {
        let wanted = self.request.revision;
        let newest = session.revision().await?;
        if newest < wanted || behind >= wanted || wanted.0 - behind.0 > MOST_LOOKED_AT {
            return Ok(());
        }
        let mut last_change = behind;
        let mut stream = session.follow(behind.next());
        loop {
            match stream.next().await {
                Some(Ok(followed)) => {
                    if followed.has_data() {
                        last_change = followed.revision;
                    }
                    if followed.revision >= wanted {
                        break;
                    }
                }
                // Nobody can tell any more.
                Some(Err(ClusterError::HistoryDiscarded)) => return Ok(()),
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            }
        }
        for have in all.values_mut().flatten() {
            if *have >= last_change {
                *have = (*have).max(wanted);
            }
        }
        Ok(())
    }
}

/// How far a persister says that it is.
async fn said<S: Session>(session: &S, id: Id) -> ClusterResult<Option<Revision>> {
    let watermark = session.read(&ControlKey::Watermark(id)).await?;
    let watermark = watermark.and_then(|said| progress::parse_revision(&said.value).ok());
    let owner = session.read(&ControlKey::Owner(id)).await?;
    let settled = owner.and_then(|said| Owner::parse(&said.value).ok()?.settled);
    Ok(settled.max(watermark).map(Revision))
}
