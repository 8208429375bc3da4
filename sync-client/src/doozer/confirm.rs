//! Waiting until enough persisters have a write on disk.
//!
//! A confirmation counts if it came over the connection over which the write was sent: then both
//! speak of the same cluster. If that connection is gone, the write is first looked up in the
//! cluster that is there now, and only then waited for again; so a cluster that was reset, or
//! restored to a point before the write, confirms nothing that it does not have.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use cairn_client::{Client, EventKind, File, Revision, Status};
use cairn_protocol::keys;
use futures::future::join_all;
use tokio::runtime::{self, Handle};
use tokio::time::{Instant, timeout, timeout_at};

use crate::core::behind::Behind;
use crate::core::liveness::Liveness;
use crate::core::persister::SUSPICION;
use crate::core::progress::Source;
use crate::core::quorum::Round;
use crate::core::target::Target;
use crate::core::witnesses::Witnesses;
use crate::doozer::error::{Error, Result};
use crate::doozer::follow::{read_mirror, replaced};

/// The persisters of a policy, and the connection on which they are followed.
#[derive(Debug)]
pub(crate) struct Confirmer {
    pub(crate) regular: Client,
    pub(crate) witnesses: Witnesses,
    pub(crate) origin: Origin,
    /// Where the persisters are followed.
    pub(crate) runtime: runtime::Id,
}

/// The cluster that the client connected to: the one that counted the revisions which its callers
/// know.
#[derive(Debug)]
pub(crate) struct Origin {
    connection: u64,
    name: OnceLock<Bytes>,
}

impl Origin {
    /// The cluster behind the client's connection.
    pub(crate) async fn of(regular: &Client) -> cairn_client::Result<Self> {
        loop {
            let connection = regular.generation();
            let file = regular.get(keys::IDENTITY, None).await?;
            if regular.generation() == connection {
                let name = file.map_or_else(OnceLock::new, |file| OnceLock::from(file.value));
                return Ok(Self { connection, name });
            }
        }
    }
}

impl Confirmer {
    /// The generation of the connection over which requests are sent.
    pub(crate) fn connection(&self) -> u64 {
        self.regular.generation()
    }

    /// Whether a revision that a caller knows is one of the cluster that is there now. A cluster
    /// that was reset or restored counts anew, and nothing but its name tells.
    pub(crate) async fn is_origin(&self) -> cairn_client::Result<bool> {
        let connection = self.connection();
        let now = self.regular.get(keys::IDENTITY, None).await?;
        let now = now.map(|file| file.value);
        if self.connection() == connection && connection == self.origin.connection {
            // Named by now, perhaps by the first persister ever.
            if let Some(name) = now {
                let _ = self.origin.name.set(name);
            }
            return Ok(true);
        }
        Ok(now.is_some() && now.as_ref() == self.origin.name.get())
    }

    /// The result of `asked` over this connection; `None`: the connection was replaced meanwhile.
    pub(crate) async fn while_connected<T>(
        &self,
        connection: u64,
        asked: impl Future<Output = T>,
    ) -> Option<T> {
        let mut status = self.regular.status();
        let answer = tokio::select! {
            answer = asked => answer,
            () = replaced(&mut status, connection) => return None,
        };
        (self.connection() == connection).then_some(answer)
    }

    /// Reads the mirrors of a path, for persisters that publish only the mirror. Leaves out those
    /// that cannot be read: the write may then end unconfirmed, never wrongly confirmed.
    pub(crate) async fn read_mirrors(&self, path: &str) {
        let mirrors = self
            .witnesses
            .persisters
            .iter()
            .filter(|one| one.source() == Source::Mirror);
        // Side by side: a write does not wait for each of them in turn.
        join_all(mirrors.map(|persister| async {
            if let Err(error) = read_mirror(persister, &self.regular, path).await {
                tracing::debug!(path, persister = persister.id, %error, "cannot read the mirror");
            }
        }))
        .await;
    }

    /// Returns once enough persisters have the target on disk, or says why that is not known.
    ///
    /// `sent_over`: the connection that was there before the write was sent. `started`: when it
    /// was answered.
    pub(crate) async fn confirm(
        &self,
        target: Target,
        sent_over: u64,
        started: Instant,
    ) -> Result<()> {
        // Before the connection may be replaced. Only a bare revision needs it.
        let is_bare = matches!(target, Target::All(_));
        let name = is_bare
            .then(|| self.witnesses.name_over(sent_over))
            .flatten();
        let mut confirmed_by = Vec::new();
        let end = self.witnesses.end(started);
        let at_once = self.wait_once(&target, sent_over, started, &mut confirmed_by);
        let soon = end.min(started + SUSPICION);
        let is_confirmed = if soon < end && self.is_followed_here() {
            at_once.await
        } else {
            // Too short a time to be told, or the other runtime may stand still.
            Box::pin(timeout_at(soon, at_once)).await == Ok(true)
        };
        if is_confirmed {
            return Ok(());
        }
        // Apart, as it is long and rare: a write carries the memory of all that it may await.
        let over = (sent_over, name);
        Box::pin(self.confirm_patiently(target, over, started, confirmed_by)).await
    }

    /// Whether the persisters are followed for as long as the caller makes progress.
    fn is_followed_here(&self) -> bool {
        Handle::try_current().is_ok_and(|here| here.id() == self.runtime)
    }

    /// Waits for the usual course: the connection stays, and the persisters write in no time.
    /// Returns whether the target is confirmed.
    async fn wait_once(
        &self,
        target: &Target,
        over: u64,
        started: Instant,
        confirmed_by: &mut Vec<u32>,
    ) -> bool {
        if self.connection() != over || self.must_learn_removed(target) {
            return false;
        }
        let wait = self
            .witnesses
            .wait(over, target, Some(started), confirmed_by);
        wait.await == Round::Confirmed
    }

    async fn confirm_patiently(
        &self,
        mut target: Target,
        over: (u64, Option<Bytes>),
        started: Instant,
        mut confirmed_by: Vec<u32>,
    ) -> Result<()> {
        let end = self.witnesses.end(started);
        // The mirror may have to tell what the watermark does not.
        let _interest = target.path().map(|path| self.witnesses.interest(path));
        let wait = self.wait(&mut target, over, started, &mut confirmed_by);
        if timeout_at(end, wait).await == Ok(true) {
            return Ok(());
        }
        Err(self.unconfirmed(
            target.revision().into(),
            true,
            confirmed_by,
            started.elapsed(),
        ))
    }

    /// The error for a write that is in the cluster, and no more is known.
    pub(crate) fn unconfirmed(
        &self,
        revision: Revision,
        exact: bool,
        mut confirmed_by: Vec<u32>,
        waited: Duration,
    ) -> Error {
        confirmed_by.sort_unstable();
        let mut behind = self.witnesses.behind(&confirmed_by);
        if matches!(
            &*self.regular.status().borrow(),
            Status::Disconnected { .. }
        ) {
            // Nobody can be heard, and silence means nothing.
            let unknown = |one: &mut Behind<_>| one.liveness = Liveness::Unknown;
            behind.iter_mut().for_each(unknown);
        }
        Error::Unconfirmed {
            revision,
            exact,
            behind,
            confirmed_by,
            waited,
        }
    }

    /// Returns whether the target is confirmed; false: it is no longer in the cluster.
    ///
    /// `name`: that of the cluster behind the connection over which the write was sent.
    async fn wait(
        &self,
        target: &mut Target,
        (sent_over, name): (u64, Option<Bytes>),
        started: Instant,
        confirmed_by: &mut Vec<u32>,
    ) -> bool {
        let mut connection = sent_over;
        let mut suspicious = false;
        let mut patience = SUSPICION.saturating_sub(started.elapsed());
        if self.must_learn_removed(target) {
            self.look_up_removed(target).await;
        }
        if let Target::Set { path, .. } = &*target {
            // Since when it is followed, its entry may have been written before.
            self.read_mirrors(path).await;
        }
        loop {
            let current = self.connection();
            if current != connection {
                confirmed_by.clear();
                match self.still_there(target, name.as_ref()).await {
                    Ok(true) => connection = current,
                    Ok(false) => return false,
                    Err(error) => {
                        tracing::debug!(%error, "cannot look up the write");
                        self.pause().await;
                    }
                }
                continue;
            }
            let round = self.witnesses.wait(connection, target, None, confirmed_by);
            let round = if suspicious {
                Ok(round.await)
            } else {
                timeout(patience, round).await
            };
            patience = SUSPICION;
            match round {
                Ok(Round::Confirmed) => return true,
                Ok(Round::Moved | Round::Late) => {
                    // Known to the task that follows, and so to the client.
                    debug_assert_ne!(self.connection(), connection);
                }
                Err(_) => {
                    suspicious = true;
                    self.witnesses
                        .persisters
                        .iter()
                        .for_each(|persister| persister.suspect());
                    self.look_up_removed(target).await;
                }
            }
        }
    }

    /// Whether it has to be found out what a delete removed. Only a mirror needs to know that.
    fn must_learn_removed(&self, target: &Target) -> bool {
        let mut persisters = self.witnesses.persisters.iter();
        matches!(target, Target::Delete { removed: None, .. })
            && persisters.any(|persister| persister.source() == Source::Mirror)
    }

    /// Finds out what a delete removed, if the cluster's history still knows.
    async fn look_up_removed(&self, target: &mut Target) {
        let Target::Delete {
            path,
            revision,
            removed: removed @ None,
        } = target
        else {
            return;
        };
        let before = Revision(revision.0.saturating_sub(1));
        match self.regular.get(path, Some(before)).await {
            Ok(file) => {
                let was = file.map_or(Revision::MISSING, |file| file.revision);
                *removed = Some(was.into());
            }
            Err(error) => tracing::debug!(%path, %error, "cannot read what it removed"),
        }
    }

    /// Whether the cluster that is there now has the write. Blocks while it has not come so far.
    async fn still_there(
        &self,
        target: &Target,
        name: Option<&Bytes>,
    ) -> cairn_client::Result<bool> {
        match target {
            Target::Set {
                path,
                revision,
                value,
            } => {
                let revision = Revision::from(*revision);
                let file = self.regular.get(path, Some(revision)).await;
                let is_ours = |file: File| file.revision == revision && file.value == *value;
                found(file.map(|file| file.is_some_and(is_ours)))
            }
            Target::Delete { path, revision, .. } => {
                let revision = Revision::from(*revision);
                let event = self.regular.wait("/**", revision).await;
                found(event.map(|event| {
                    event.revision == revision
                        && event.kind == EventKind::Delete
                        && *event.path == **path
                }))
            }
            // A bare revision says nothing about the cluster that counted it; its name does.
            Target::All(_) => self.is_called(name).await,
        }
    }

    /// Whether the cluster that is there now has this name. One that had none cannot be told from
    /// another.
    pub(crate) async fn is_called(&self, name: Option<&Bytes>) -> cairn_client::Result<bool> {
        let file = self.regular.get(keys::IDENTITY, None).await?;
        Ok(name.is_some() && file.as_ref().map(|file| &file.value) == name)
    }

    /// Pauses before a retry. The client replaces its connection by itself; other failures need no
    /// quicker retry.
    pub(crate) async fn pause(&self) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Discarded history proves nothing, and will not come back.
fn found(result: cairn_client::Result<bool>) -> cairn_client::Result<bool> {
    match result {
        Err(error) if error.is_too_late() => Ok(false),
        other => other,
    }
}
