//! A write of which it is asked whether it is on disk.

use std::sync::Arc;

use bytes::Bytes;

use crate::core::revision::Revision;

/// A write of which it is asked whether it is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Everything up to this revision.
    All(Revision),
    /// The set of a path. Its value tells it from another set of the path that got the same
    /// revision after a reset of the cluster.
    Set {
        path: Arc<str>,
        revision: Revision,
        value: Bytes,
    },
    /// The delete of a path. `removed`: the revision of the file that it removed, 0 if there was
    /// none; `None` if that is not known (yet).
    Delete {
        path: Arc<str>,
        revision: Revision,
        removed: Option<Revision>,
    },
}

impl Target {
    pub(crate) fn revision(&self) -> Revision {
        match self {
            Self::All(revision) | Self::Set { revision, .. } | Self::Delete { revision, .. } => {
                *revision
            }
        }
    }

    pub(crate) fn path(&self) -> Option<&str> {
        match self {
            Self::All(_) => None,
            Self::Set { path, .. } | Self::Delete { path, .. } => Some(path),
        }
    }
}
