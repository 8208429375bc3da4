//! A persister that has not confirmed a write, as an error names it.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::liveness::Liveness;
use crate::core::persister::Persister;
use crate::core::revision::Revision;

/// A persister that has not confirmed a write. `R` is the engine's type of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind<R> {
    /// Its number.
    pub persister: u32,
    /// The newest revision up to which it is known to have everything on disk; `None`: it has
    /// never published one.
    pub durable_to: Option<R>,
    /// How long ago it last said anything; `None`: not since this client connected.
    pub heard: Option<Duration>,
    /// Whether it lives.
    pub liveness: Liveness,
}

/// The state of a persister now.
pub(crate) fn behind<R: From<Revision>>(persister: &Persister) -> Behind<R> {
    let known = persister.known(Instant::now());
    Behind {
        persister: persister.id,
        durable_to: known.watermark.map(Into::into),
        heard: known.heard,
        liveness: known.liveness,
    }
}

impl<R: fmt::Display> fmt::Display for Behind<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "persister {} ", self.persister)?;
        match &self.durable_to {
            Some(revision) => write!(f, "is at revision {revision}")?,
            None => write!(f, "has published no watermark")?,
        }
        if let Some(heard) = self.heard {
            write!(f, ", last heard of {heard:.1?} ago")?;
        }
        write!(f, ", {}", self.liveness)
    }
}

/// Names the persisters that have a write on disk, as an error does.
pub(crate) fn confirmed(f: &mut fmt::Formatter<'_>, persisters: &[u32]) -> fmt::Result {
    match persisters {
        [] => write!(f, "on no persister's disk"),
        [first, more @ ..] => {
            write!(f, "on the disk of persister {first}")?;
            more.iter().try_for_each(|id| write!(f, ", {id}"))
        }
    }
}
