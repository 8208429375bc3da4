//! Errors of the sync client: the regular client's, and one outcome that only it knows.
//!
//! A write has three outcomes, and they are never confused. `Ok`: durable. [`Error::Unconfirmed`]:
//! applied, and not known to be durable. Every other error: not applied, unless
//! [`Error::may_have_happened`] says that nobody can tell.

use std::fmt;
use std::time::Duration;

use cairn_client::{ErrorCode, Revision};

use crate::DurabilityError;

/// The result of a client's call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The regular client's error. A write was not applied, or see [`Error::may_have_happened`].
    #[error(transparent)]
    Client(#[from] cairn_client::Error),
    /// The write was applied, and every reader of the cluster sees it; but fewer persisters than
    /// required have said in time that it is on disk. It may have become durable, or still become
    /// so: [`Client::wait_durable`](crate::Client::wait_durable) waits for longer.
    #[error("{}", unconfirmed(*revision, *exact, confirmed_by, behind, *waited))]
    Unconfirmed {
        /// The revision of the write; see `exact`.
        revision: Revision,
        /// Whether `revision` is the write's own. If not, the write is a delete whose revision
        /// could not be found out: it was applied after `revision`.
        exact: bool,
        /// The persisters that have it on disk.
        confirmed_by: Vec<u32>,
        /// The persisters that were waited for and have not said so.
        behind: Vec<Behind>,
        /// How long they were waited for.
        waited: Duration,
    },
    /// The path is `/ctl` or below it. Persisters do not journal the cluster's own subtree, so such
    /// a write can never be durable. Nothing was sent.
    #[error(
        "{path}: the cluster's own subtree /ctl is never journaled, so this write could never be \
         durable; it was not done. Use the regular client for it (Client::regular)"
    )]
    NeverDurable {
        /// The path.
        path: String,
    },
    /// The durability policy cannot be fulfilled. Nothing was connected.
    #[error("durability: {0}")]
    Durability(#[from] DurabilityError),
}

/// A persister that has not confirmed a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// Its number.
    pub persister: u32,
    /// The newest revision up to which it is known to have everything on disk; `None`: it has
    /// never published one.
    pub durable_to: Option<Revision>,
    /// How long ago it was last heard of; `None`: not since this client connected.
    pub heard: Option<Duration>,
}

impl Error {
    /// The server's reason, if there is one.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        self.as_client().and_then(cairn_client::Error::code)
    }

    /// Whether the same call may succeed later. For a write, ask [`Error::may_have_happened`]
    /// first: trying again may do it twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.as_client()
            .is_some_and(cairn_client::Error::is_retryable)
    }

    /// Whether the call may have changed the cluster although it failed. An unconfirmed write
    /// certainly has.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::Client(error) => error.may_have_happened(),
            Self::Unconfirmed { .. } => true,
            Self::NeverDurable { .. } | Self::Durability(_) => false,
        }
    }

    /// Whether the write was applied but is not known to be durable.
    #[must_use]
    pub fn is_unconfirmed(&self) -> bool {
        matches!(self, Self::Unconfirmed { .. })
    }

    /// Whether a compare-and-set failed because the file is newer than the caller knew.
    #[must_use]
    pub fn is_rev_mismatch(&self) -> bool {
        self.as_client()
            .is_some_and(cairn_client::Error::is_rev_mismatch)
    }

    /// Whether the revision asked for is no longer in the server's history.
    #[must_use]
    pub fn is_too_late(&self) -> bool {
        self.as_client()
            .is_some_and(cairn_client::Error::is_too_late)
    }

    fn as_client(&self) -> Option<&cairn_client::Error> {
        match self {
            Self::Client(error) => Some(error),
            _ => None,
        }
    }
}

fn unconfirmed(
    revision: Revision,
    exact: bool,
    confirmed_by: &[u32],
    behind: &[Behind],
    waited: Duration,
) -> String {
    let at = if exact { "at" } else { "after" };
    let mut text = format!(
        "applied {at} revision {revision}, but not confirmed durable within {waited:.1?}: "
    );
    match confirmed_by {
        [] => text.push_str("on no persister's disk"),
        ids => {
            let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
            text.push_str(&format!("on the disk of persister {}", ids.join(", ")));
        }
    }
    for one in behind {
        text.push_str(&format!("; {one}"));
    }
    text.push_str(". It is in effect, and may yet become durable; check that the persisters run");
    text
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "persister {} ", self.persister)?;
        match self.durable_to {
            Some(revision) => write!(f, "is at revision {revision}")?,
            None => write!(f, "has published no watermark")?,
        }
        match self.heard {
            Some(ago) => write!(f, ", last heard of {ago:.1?} ago"),
            None => write!(f, ", not heard of since this client connected"),
        }
    }
}
