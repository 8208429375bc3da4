//! The claim in the cluster's identity that says who restores what: first a bid, then a lock.
//!
//! Promise: no key is written before the claim is a lock, and a restore finishes only if its lock
//! has held from its first write to its last. A bid becomes a lock by compare-and-set, so of two
//! bidders one at most gets it, whatever their clocks say, and however long either was held up.
//!
//! Nobody writes over a lock but the next holder of the journal that it names, whose predecessor
//! is therefore dead, and an operator who says so. For the case that the operator was wrong, the
//! one that was replaced notices before it writes anything more: by the revision that this costs,
//! or because it looks before every write that comes more than [`BELIEVED`] after its last look.
//! docs/protocol.md has the whole argument.

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
use crate::identity::lineage::{Bid, Identity};

/// How old the knowledge that the claim holds may be when a write is begun.
const BELIEVED: Duration = Duration::from_secs(1);

/// How often others are looked out for while there is nothing to write yet.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often the log says whose bids are awaited.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Our claim.
pub(super) struct RestoreClaim<'a, S> {
    session: &'a S,
    /// What it says, and how that is written.
    claim: Identity,
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

fn taken() -> Error {
    ClusterError::Conflict(Conflict::Key).into()
}

impl<'a, S: Session> RestoreClaim<'a, S> {
    /// Writes it, if the cluster's identity is still what it was when it was looked at.
    ///
    /// # Errors
    /// [`ClusterError::Conflict`] if it is not.
    pub(super) async fn set(
        session: &'a S,
        remote: &RemoteCluster,
        claim: &Identity,
    ) -> Result<Self, Error> {
        let asked = Instant::now();
        let mut this = Self {
            session,
            claim: claim.clone(),
            value: claim.to_string().into(),
            at: Revision::NONE,
            before: None,
            seen: asked,
            written: asked,
        };
        let expect = match (&remote.identity, session.read(&ControlKey::Identity).await?) {
            (None, None) => Expect::Absent,
            (Some(seen), Some(Control { revision, value }))
                if seen.to_string().as_bytes() == &value[..] =>
            {
                if seen == claim {
                    this.at = revision;
                    return Ok(this);
                }
                this.before = Some(value);
                Expect::At(revision)
            }
            _ => return Err(taken()),
        };
        this.write(expect, claim).await?;
        Ok(this)
    }

    async fn write(&mut self, expect: Expect, claim: &Identity) -> Result<(), Error> {
        let asked = Instant::now();
        let value = Bytes::from(claim.to_string());
        let written = (self.session).write(&ControlKey::Identity, expect, value.clone());
        self.at = written.await?;
        (self.claim, self.value) = (claim.clone(), value);
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
            _ => Err(taken()),
        }
    }

    /// Looks whether a bid still holds. Others may have written into it that they have seen it, or
    /// whom they wait for.
    ///
    /// # Errors
    /// [`ClusterError::Conflict`] if somebody has bid more.
    async fn check_bid(&mut self, by: &str) -> Result<(), Error> {
        let found = (self.session.read(&ControlKey::Identity).await?).ok_or_else(taken)?;
        if found.revision == self.at {
            return Ok(());
        }
        let now = Identity::parse(&found.value)?;
        if now.bid().is_none_or(|bid| bid.by != by) {
            return Err(taken());
        }
        (self.claim, self.value, self.at) = (now, found.value, found.revision);
        Ok(())
    }

    /// Lets a bid stand until everybody who is waited for has bid, but not longer than it says, or
    /// for `wait` if nobody in particular is waited for; then makes it `lock`. A claim that is no
    /// bid stays as it is.
    ///
    /// # Errors
    /// [`ClusterError::Conflict`] if somebody has bid more.
    pub(super) async fn win(
        &mut self,
        wait: Option<Duration>,
        lock: &Identity,
    ) -> Result<(), Error> {
        let Some(by) = self.claim.bid().map(|bid| bid.by.clone()) else {
            return Ok(());
        };
        let (begun, mut said) = (Instant::now(), Instant::now());
        loop {
            let bid = self.claim.bid().ok_or_else(taken)?;
            let wait = if bid.of.is_empty() {
                Some(wait.unwrap_or_default())
            } else {
                bid.seconds.map(Duration::from_secs)
            };
            let is_over = wait.is_some_and(|wait| begun.elapsed() >= wait);
            if is_over || have_all_bid(bid) {
                match self.write(Expect::At(self.at), lock).await {
                    // Somebody has seen the bid, perhaps.
                    Err(Error::Cluster(ClusterError::Conflict(_))) => {}
                    locked => return locked,
                }
            } else if said.elapsed() >= SAY_EVERY {
                said = Instant::now();
                say(bid);
            }
            let left = wait.map_or(LOOK_EVERY, |wait| wait.saturating_sub(begun.elapsed()));
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
            self.check_bid(&by).await?;
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
        self.write(Expect::At(self.at), &self.claim.clone()).await
    }

    /// Takes it back: the cluster is as if nobody had come.
    ///
    /// # Errors
    /// As [`RestoreClaim::check`].
    pub(super) async fn withdraw(self) -> Result<(), Error> {
        let (key, at) = (ControlKey::Identity, Expect::At(self.at));
        match self.before {
            Some(before) => drop(self.session.write(&key, at, before).await?),
            None => drop(self.session.delete(&key, at).await?),
        }
        Ok(())
    }

    /// Replaces it by the identity of a cluster that is restored. Returns the revision of that.
    ///
    /// # Errors
    /// As [`RestoreClaim::check`].
    pub(super) async fn finish(mut self, identity: &Identity) -> Result<Revision, Error> {
        self.write(Expect::At(self.at), identity).await?;
        Ok(self.at)
    }
}

fn have_all_bid(bid: &Bid) -> bool {
    !bid.of.is_empty() && bid.missing().next().is_none()
}

fn say(bid: &Bid) {
    let missing: Vec<String> = bid.missing().map(|id| id.to_string()).collect();
    if !missing.is_empty() {
        tracing::info!(
            "the restore begins once these persisters have bid, too: {}",
            missing.join(", ")
        );
    }
}
