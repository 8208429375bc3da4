//! Errors of the sync client of etcd.
//!
//! A write has four outcomes, and they are never confused. `Ok`: durable. [`Error::Unconfirmed`]:
//! applied, and not known to be durable. Every other error: not applied, unless
//! [`Error::may_have_happened`] says that nobody can tell.

use std::fmt;
use std::time::Duration;

use cairn_etcd::ConfigError;

use crate::core::behind::confirmed;
use crate::core::durability::DurabilityError;
use crate::core::revision::Revision;
use crate::etcd::written::Written;

/// The result of a client's call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A persister that has not confirmed a write.
pub type Behind = crate::core::behind::Behind<i64>;

impl From<Revision> for i64 {
    fn from(revision: Revision) -> Self {
        revision.0
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What the cluster or the connection said, as the regular session does.
    #[error(transparent)]
    Etcd(#[from] cairn_etcd::Error),
    /// The write was applied, and is not known to be on enough disks.
    #[error(transparent)]
    Unconfirmed(Box<Unconfirmed>),
    /// Nothing could ever confirm that: an impossible policy, or a write to the persisters' own
    /// keys. Nothing was sent.
    #[error("durability: {0}")]
    Durability(#[from] DurabilityError),
    /// The cluster cannot even be tried. Nothing was sent.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There was no connection for as long as a call may take. Nothing was sent.
    #[error("no connection to any member within {waited:?}; nothing was sent")]
    Disconnected {
        /// How long.
        waited: Duration,
    },
    /// As many writes as may be were under way for as long as a call may take. Nothing was sent.
    #[error(
        "{under_way} writes are under way, which is the limit (Options::max_in_flight); this one \
         was not sent"
    )]
    Busy {
        /// How many.
        under_way: usize,
    },
}

impl Error {
    /// Whether the write was applied but is not known to be durable.
    #[must_use]
    pub fn is_unconfirmed(&self) -> bool {
        matches!(self, Self::Unconfirmed(_))
    }

    /// Whether the call may have changed the cluster although it failed. An unconfirmed write
    /// certainly has.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::Etcd(error) => error.may_have_happened(),
            Self::Unconfirmed(_) => true,
            Self::Durability(_)
            | Self::Config(_)
            | Self::Disconnected { .. }
            | Self::Busy { .. } => false,
        }
    }

    /// Whether the same call may succeed later. For a write, ask [`Error::may_have_happened`]
    /// first: trying again may do it twice.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Etcd(error) => error.is_unavailable(),
            Self::Disconnected { .. } | Self::Busy { .. } => true,
            Self::Unconfirmed(_) | Self::Durability(_) | Self::Config(_) => false,
        }
    }
}

/// A write that was applied, and of which no more is known.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Unconfirmed {
    /// The write. [`Client::wait_for`](crate::etcd::Client::wait_for) waits for longer.
    pub written: Written,
    /// Why it is not confirmed.
    pub reason: Reason,
    /// The persisters that have it on disk.
    pub confirmed_by: Vec<u32>,
    /// The persisters that were waited for and have not said so, and whether they live.
    pub behind: Vec<Behind>,
    /// How long they were waited for.
    pub waited: Duration,
}

/// Why a write that was applied is not confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Fewer persisters than required have said in time that it is on disk. It may have become
    /// durable, or still become so.
    Late,
    /// The connection was lost, and what is there now is another cluster: it was wiped, restored,
    /// or took the place of the first. Its persisters say nothing of this write.
    OtherCluster {
        /// The identity of the cluster that has answered the write.
        was: String,
        /// The identity of the one that is there now; `None`: no persister has named it.
        is: Option<String>,
    },
    /// The connection was lost, and the cluster, which has its name of before, does not have the
    /// write: it went back. The write is lost, unless a persister had it on disk.
    WentBack,
    /// The connection was lost, and nobody can tell whether the cluster that is there now has the
    /// write.
    Unverifiable {
        /// Why not.
        why: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late => write!(f, "it may yet become durable"),
            Self::OtherCluster { was, is: Some(is) } => write!(
                f,
                "the connection was lost, and the cluster that is there now is another one: it was \
                 {was}, and is {is}"
            ),
            Self::OtherCluster { was, is: None } => write!(
                f,
                "the connection was lost, and the cluster that is there now is another one: it was \
                 {was}, and has no name"
            ),
            Self::WentBack => write!(
                f,
                "the connection was lost, and the cluster that is there now does not have the \
                 write: it went back"
            ),
            Self::Unverifiable { why } => write!(
                f,
                "the connection was lost, and whether the cluster that is there now has the write \
                 cannot be told: {why}"
            ),
        }
    }
}

impl fmt::Display for Unconfirmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revision = self.written.revision();
        let waited = self.waited;
        write!(
            f,
            "applied at revision {revision}, but not confirmed durable within {waited:.1?}: "
        )?;
        confirmed(f, &self.confirmed_by)?;
        self.behind
            .iter()
            .try_for_each(|one| write!(f, "; {one}"))?;
        write!(f, "; {}", self.reason)
    }
}

impl std::error::Error for Unconfirmed {}
