//! Revisions between doozer and what decides without an engine.

use crate::core::revision::Revision;

impl From<cairn_client::Revision> for Revision {
    fn from(revision: cairn_client::Revision) -> Self {
        Self(revision.0)
    }
}

impl From<Revision> for cairn_client::Revision {
    fn from(revision: Revision) -> Self {
        Self(revision.0)
    }
}
