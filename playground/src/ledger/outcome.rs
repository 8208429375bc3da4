//! What a client can be told about a write.

use serde::{Deserialize, Serialize};

/// What a client was told about a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// It is on as many disks as were asked for; a set at this revision.
    Durable {
        /// Its revision; `None` for a delete.
        revision: Option<i64>,
    },
    /// It is in effect, but was not confirmed to be on disk in time.
    Applied,
    /// It was not done.
    NotApplied,
    /// Nobody can tell.
    Unknown,
}

/// An [`Outcome`] without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// [`Outcome::Durable`].
    Durable,
    /// [`Outcome::Applied`].
    Applied,
    /// [`Outcome::NotApplied`].
    NotApplied,
    /// [`Outcome::Unknown`].
    Unknown,
}

impl Outcome {
    /// Without its details.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::Durable { .. } => Class::Durable,
            Self::Applied => Class::Applied,
            Self::NotApplied => Class::NotApplied,
            Self::Unknown => Class::Unknown,
        }
    }
}
