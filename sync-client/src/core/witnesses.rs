//! The persisters of a policy: who is waited for, until when, and who is behind.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::core::behind::{Behind, behind};
use crate::core::durability::Durability;
use crate::core::persister::{Interest, Persister};
use crate::core::quorum::{self, Round};
use crate::core::revision::Revision;
use crate::core::target::Target;

/// The timeout that replaces one too long for a clock, such as [`Duration::MAX`].
const FOR_EVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// A policy, and what is known of its persisters.
#[derive(Debug)]
pub(crate) struct Witnesses {
    pub(crate) durability: Durability,
    pub(crate) persisters: Vec<Arc<Persister>>,
}

impl Witnesses {
    /// Of a valid policy. Nothing is known yet.
    pub(crate) fn new(durability: Durability) -> Self {
        let numbers = durability.persisters.iter().copied();
        Self {
            persisters: numbers.map(Persister::new).collect(),
            durability,
        }
    }

    /// When a write that was answered at `started` is given up.
    pub(crate) fn end(&self, started: Instant) -> Instant {
        let end = started.checked_add(self.durability.timeout);
        end.unwrap_or_else(|| started + FOR_EVER)
    }

    /// Waits until enough of them have the target on disk, seen over this connection. Puts those
    /// that have into `confirmed_by`. `since`: as for [`Persister::wait`].
    pub(crate) async fn wait(
        &self,
        connection: u64,
        target: &Target,
        since: Option<Instant>,
        confirmed_by: &mut Vec<u32>,
    ) -> Round {
        confirmed_by.clear();
        let (all, required) = (&self.persisters, self.durability.required);
        quorum::wait(all, required, connection, target, since, confirmed_by).await
    }

    /// The newest revision up to which enough of them have everything on disk.
    pub(crate) fn durable_to(&self) -> Option<Revision> {
        quorum::durable_to(&self.persisters, self.durability.required)
    }

    /// Those that are not among `confirmed_by`.
    pub(crate) fn behind<R: From<Revision>>(&self, confirmed_by: &[u32]) -> Vec<Behind<R>> {
        let missing = |one: &&Arc<Persister>| !confirmed_by.contains(&one.id);
        let missing = self.persisters.iter().filter(missing);
        missing.map(|one| behind(one)).collect()
    }

    /// Starts tracking the mirror entries of `path`, until the guards are dropped.
    pub(crate) fn interest(&self, path: &str) -> Vec<Interest> {
        let persisters = self.persisters.iter();
        persisters.map(|one| one.interest(path)).collect()
    }

    /// As [`interest`](Self::interest), but of those only whose mirrors are followed.
    pub(crate) fn interest_in_mirrors(&self, path: &str) -> Vec<Interest> {
        let persisters = self.persisters.iter();
        let followed = persisters.filter_map(|one| one.interest_in_mirror(path));
        followed.collect()
    }

    /// The identity of the cluster behind a connection, if a follower has read it.
    pub(crate) fn name_over(&self, connection: u64) -> Option<Bytes> {
        self.persisters
            .iter()
            .find_map(|one| one.cluster_over(connection))
    }
}
