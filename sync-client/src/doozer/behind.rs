//! A persister that has not confirmed a write, as an error names it.

use std::fmt;
use std::time::Duration;

use cairn_client::Revision;
use tokio::time::Instant;

use crate::core::liveness::Liveness;
use crate::core::persister::Persister;

/// A persister that has not confirmed a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// Its number.
    pub persister: u32,
    /// The newest revision up to which it is known to have everything on disk; `None`: it has
    /// never published one.
    pub durable_to: Option<Revision>,
    /// How long ago it last said anything; `None`: not since this client connected.
    pub heard: Option<Duration>,
    /// Whether it lives.
    pub liveness: Liveness,
}

impl Behind {
    /// The state of the persister now.
    pub(crate) fn of(persister: &Persister) -> Self {
        let known = persister.known(Instant::now());
        Self {
            persister: persister.id,
            durable_to: known.watermark.map(Into::into),
            heard: known.heard,
            liveness: known.liveness,
        }
    }
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "persister {} ", self.persister)?;
        match self.durable_to {
            Some(revision) => write!(f, "is at revision {revision}")?,
            None => write!(f, "has published no watermark")?,
        }
        if let Some(heard) = self.heard {
            write!(f, ", last heard of {heard:.1?} ago")?;
        }
        write!(f, ", {}", self.liveness)
    }
}
