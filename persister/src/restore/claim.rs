//! The claim in the cluster's identity that says who restores what: at once bid, lock and sign of
//! life.
//!
//! Promise: no restore finishes unless its claim has held from its first write to its last. Whoever
//! takes over writes the claim by compare-and-set; the one that was replaced notices by the
//! revision that this costs, or within a second, before it writes anything more, and at the latest
//! when it wants to finish.

use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_journal::Revision;
use cairn_protocol::owner::HEARTBEAT;

use crate::cluster::control::{Control, ControlKey};
use crate::cluster::error::{Conflict, Error as ClusterError};
use crate::cluster::session::Session;
use crate::cluster::write::Expect;
use crate::error::Error;
use crate::identity::decision::RemoteCluster;
use crate::identity::lineage::Identity;

/// How old the knowledge that the claim holds may be when a write is begun.
const BELIEVED: Duration = Duration::from_secs(1);

/// How often others are looked out for while there is nothing to write yet.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Our claim.
pub(super) struct RestoreClaim<'a, S> {
    session: &'a S,
    /// What it says.
    value: Bytes,
    /// The revision that wrote it.
    at: Revision,
    /// What was there before, to be put back.
    before: Option<Bytes>,
    /// When it was last known to hold: when that was asked, not when it was answered.
    seen: Instant,
    /// When it was written.
    written: Instant,
}

impl<'a, S: Session> RestoreClaim<'a, S> {
    /// Writes it, if the cluster's identity is still what it was when it was looked at.
    ///
    /// # Errors
    /// [`ClusterError::Conflict`] if it is not.
    pub(super) async fn set(
        session: &'a S,
        remote: &RemoteCluster,
        identity: &Identity,
    ) -> Result<Self, Error> {
        let value: Bytes = identity.to_string().into();
        let mut claim = Self {
            session,
            value,
            at: Revision::NONE,
            before: None,
            seen: Instant::now(),
            written: Instant::now(),
        };
        let asked = Instant::now();
        let expect = match (&remote.identity, session.read(&ControlKey::Identity).await?) {
            (None, None) => Expect::Absent,
            (Some(seen), Some(Control { revision, value }))
                if seen.to_string().as_bytes() == &value[..] =>
            {
                if value == claim.value {
                    claim.at = revision;
                    claim.seen = asked;
                    return Ok(claim);
                }
                claim.before = Some(value);
                Expect::At(revision)
            }
            _ => return Err(ClusterError::Conflict(Conflict::Key).into()),
        };
        claim.write(expect, claim.value.clone()).await?;
        Ok(claim)
    }

    async fn write(&mut self, expect: Expect, value: Bytes) -> Result<(), Error> {
        let asked = Instant::now();
        let written = self.session.write(&ControlKey::Identity, expect, value);
        self.at = written.await?;
        self.seen = asked;
        self.written = asked;
        Ok(())
    }

    /// Looks whether it still holds.
    ///
    /// # Errors
    /// [`ClusterError::Conflict`] if somebody has taken over.
    pub(super) async fn check(&mut self) -> Result<(), Error> {
        let asked = Instant::now();
        match self.session.read(&ControlKey::Identity).await? {
            Some(found) if found.revision == self.at => {
                self.seen = asked;
                Ok(())
            }
            _ => Err(ClusterError::Conflict(Conflict::Key).into()),
        }
    }

    /// A session for the next write: of one who has looked lately that the claim still holds.
    ///
    /// # Errors
    /// As [`RestoreClaim::check`].
    pub(super) async fn session(&mut self) -> Result<S, Error> {
        if self.seen.elapsed() >= BELIEVED {
            self.check().await?;
        }
        Ok(self.session.fenced(&self.value))
    }

    /// Gives a sign of life now and then while there is nothing else to write.
    ///
    /// # Errors
    /// As [`RestoreClaim::check`].
    pub(super) async fn refresh(&mut self) -> Result<(), Error> {
        if self.written.elapsed() < HEARTBEAT {
            return Ok(());
        }
        self.write(Expect::At(self.at), self.value.clone()).await
    }

    /// Leaves others time to bid more.
    ///
    /// # Errors
    /// As [`RestoreClaim::check`].
    pub(super) async fn hold(&mut self, time: Duration) -> Result<(), Error> {
        let begun = Instant::now();
        while let Some(left) = time.checked_sub(begun.elapsed()).filter(|t| !t.is_zero()) {
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
            self.check().await?;
        }
        Ok(())
    }

    /// Takes it back: the cluster is as if nobody had come.
    ///
    /// # Errors
    /// As [`RestoreClaim::check`].
    pub(super) async fn withdraw(mut self) -> Result<(), Error> {
        match self.before.take() {
            Some(before) => self.write(Expect::At(self.at), before).await,
            None => {
                let at = Expect::At(self.at);
                self.session.delete(&ControlKey::Identity, at).await?;
                Ok(())
            }
        }
    }

    /// Replaces it by the identity of a cluster that is restored. Returns the revision of that.
    ///
    /// # Errors
    /// As [`RestoreClaim::check`].
    pub(super) async fn finish(mut self, identity: &Identity) -> Result<Revision, Error> {
        self.write(Expect::At(self.at), identity.to_string().into())
            .await?;
        Ok(self.at)
    }
}
