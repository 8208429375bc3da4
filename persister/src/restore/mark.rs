//! The mark in the cluster's identity that says who restores what: at once bid, lock and sign of life.
//!
//! Promise: no restore finishes unless its mark has stood from its first write to its last. Whoever
//! takes over writes the mark by compare-and-set; the one that was replaced notices by the revision that
//! this costs, or within a second, before it writes anything more, and at the latest when it wants to
//! finish.
//!
//! And nothing leaves a restore later than [`SENT_WITHIN`] after its mark was last known to stand: every
//! write carries that time with it, and the client looks at the clock right before it hands bytes
//! to the operating system. A process that was stopped after it had looked, however far the write had come,
//! throws away what it had not sent. Whoever takes over waits for longer than that before it
//! looks at the keys (`election::QUIET`), so that it sees all that was sent: docs/protocol.md has the whole argument.

use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_journal::Revision;
use cairn_protocol::owner::HEARTBEAT;

use crate::cluster::control::{Control, ControlKey};
use crate::cluster::error::{Conflict, Error as ClusterError};
use crate::cluster::session::Session;
use crate::cluster::write::Expect;
use crate::error::Error;
use crate::identity::decision::Theirs;
use crate::identity::lineage::Identity;

/// How old the knowledge that the mark stands may be when a write is begun.
const BELIEVED: Duration = Duration::from_secs(1);

/// How long after the mark was last known to stand a write may leave the process. The rest, beyond [`BELIEVED`],
/// is for what waits until the server reads. Below the time for which others, who have overruled us, wait.
pub(super) const SENT_WITHIN: Duration = Duration::from_secs(3);

/// How often others are looked out for while there is nothing to write yet.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Our mark.
pub(super) struct Mark<'a, S> {
    session: &'a S,
    /// What it says.
    value: Bytes,
    /// The revision that wrote it.
    at: Revision,
    /// What was there before, to be put back.
    before: Option<Bytes>,
    /// When it was last known to stand: when that was asked, not when it was answered.
    seen: Instant,
    /// When it was written.
    written: Instant,
}

impl<'a, S: Session> Mark<'a, S> {
    /// Writes it, if the cluster's identity is still what it was when it was looked at.
    ///
    /// # Errors
    /// [`ClusterError::Conflict`] if it is not.
    pub(super) async fn set(
        session: &'a S,
        theirs: &Theirs,
        identity: &Identity,
    ) -> Result<Self, Error> {
        let value: Bytes = identity.to_string().into();
        let mut mark = Self {
            session,
            value,
            at: Revision::NONE,
            before: None,
            seen: Instant::now(),
            written: Instant::now(),
        };
        let asked = Instant::now();
        let expect = match (&theirs.identity, session.read(&ControlKey::Identity).await?) {
            (None, None) => Expect::Absent,
            (Some(seen), Some(Control { revision, value }))
                if seen.to_string().as_bytes() == &value[..] =>
            {
                if value == mark.value {
                    mark.at = revision;
                    mark.seen = asked;
                    return Ok(mark);
                }
                mark.before = Some(value);
                Expect::At(revision)
            }
            _ => return Err(ClusterError::Conflict(Conflict::Key).into()),
        };
        mark.write(expect, mark.value.clone()).await?;
        Ok(mark)
    }

    async fn write(&mut self, expect: Expect, value: Bytes) -> Result<(), Error> {
        let asked = Instant::now();
        let written = self.session.write(&ControlKey::Identity, expect, value);
        self.at = written.await?;
        self.seen = asked;
        self.written = asked;
        Ok(())
    }

    /// Looks whether it still stands.
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

    /// A session for the next write: of one who has looked lately that the mark still stands, and whose calls
    /// are not sent when that is long ago.
    ///
    /// # Errors
    /// As [`Mark::check`].
    pub(super) async fn session(&mut self) -> Result<S, Error> {
        if self.seen.elapsed() >= BELIEVED {
            self.check().await?;
        }
        let session = self.session.fenced(&self.value);
        Ok(session.sending_by(self.seen + SENT_WITHIN))
    }

    /// Gives a sign of life now and then while there is nothing else to write.
    ///
    /// # Errors
    /// As [`Mark::check`].
    pub(super) async fn refresh(&mut self) -> Result<(), Error> {
        if self.written.elapsed() < HEARTBEAT {
            return Ok(());
        }
        self.write(Expect::At(self.at), self.value.clone()).await
    }

    /// Leaves others time to bid more.
    ///
    /// # Errors
    /// As [`Mark::check`].
    pub(super) async fn stand(&mut self, time: Duration) -> Result<(), Error> {
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
    /// As [`Mark::check`].
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
    /// As [`Mark::check`].
    pub(super) async fn finish(mut self, identity: &Identity) -> Result<Revision, Error> {
        self.write(Expect::At(self.at), identity.to_string().into())
            .await?;
        Ok(self.at)
    }
}
