//! Everything that ends a persister, each with what to do about it and an exit status of its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use cairn_journal::Revision;

use crate::cluster::control::Id;
use crate::cluster::error::Error as ClusterError;
use crate::identity::decision::Refusal;
use crate::identity::written::ParseError;

/// Why a persister ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The journal could not be opened, read or written.
    #[error(transparent)]
    Journal(#[from] cairn_journal::Error),
    /// The cluster could not be used.
    #[error("cluster: {0}")]
    Cluster(#[from] ClusterError),
    /// The cluster is not the one that the journal followed.
    #[error(
        "{refusal}\n  {}\n  The journal in {} is untouched.", refusal.advice(), .journal.display()
    )]
    Refused {
        /// How the two differ.
        refusal: Box<Refusal>,
        /// Where the journal is.
        journal: PathBuf,
    },
    /// The identity in the cluster cannot be read.
    #[error("{0}; a newer persister may have written it")]
    Identity(#[from] ParseError),
    /// Another live persister holds the id.
    #[error(
        "persister {id} is already running: its owner key is being refreshed by {holder:?} \
         (journal, process, place, pid). \
         Stop that one first, or choose another --id"
    )]
    IdTaken {
        /// The id.
        id: Id,
        /// The value of the owner key.
        holder: String,
    },
    /// Another persister took the id over while this one ran.
    #[error(
        "another persister took over id {id}: {holder:?} (journal, process, place, pid). This one \
         stops"
    )]
    Replaced {
        /// The id.
        id: Id,
        /// The value of the owner key.
        holder: String,
    },
    /// A restore ended with a cluster that differs from the journal.
    #[error(
        "the restored cluster differs from the journal: the journal has {expected}, the cluster \
         has {found}{keys}. \
         Is somebody else writing to it?"
    )]
    RestoreDiffers {
        /// What the journal says.
        expected: String,
        /// What the cluster says.
        found: String,
        /// The first keys that differ, and how.
        keys: String,
    },
    /// The cluster cannot take what is to be restored.
    #[error(
        "{keys} keys cannot be restored into this cluster, whose values have {max_value_bytes} \
         bytes at most: {}{}. \
         Nothing was written. If you know that it takes more, say --max-value-bytes SIZE; \
         --prefix restores a part",
        named.join(", "), if named.len() as u64 == *keys { "" } else { ", ..." }
    )]
    DoesNotFit {
        /// How many keys.
        keys: u64,
        /// The first of them, and why.
        named: Vec<String>,
        /// The longest value that the cluster takes.
        max_value_bytes: usize,
    },
    /// Keys of the journal lie above or below keys that the cluster has.
    #[error(
        "{keys} keys cannot be merged, because a file cannot be a directory too: {}{}. Nothing \
         was written",
        named.join(", "), if named.len() as u64 == *keys { "" } else { ", ..." }
    )]
    Clashes {
        /// How many keys.
        keys: u64,
        /// The first of them, and with what they clash.
        named: Vec<String>,
    },
    /// The state has nothing of a part that was asked for.
    #[error(
        "the journal has no key {prefix}, and none below it, at revision {at} (`dumpjournal \
         --state --at-revision {at}` \
         lists those that it has; the cluster's own below {control} are never restored). Nothing \
         was written"
    )]
    NoSuchPart {
        /// What was asked for.
        prefix: String,
        /// The revision of the state.
        at: Revision,
        /// The control area of the cluster.
        control: &'static str,
    },
    /// Somebody asked us to end in the middle of it.
    #[error("interrupted. What was done stays; run the same command again to complete it")]
    Interrupted,
    /// Going on would let go of changes that are, or may be, nowhere else.
    #[error("{0}.\n  Nothing was changed. If that is what you want, run with --accept-loss")]
    WouldLose(String),
    /// A follower was handed a revision out of order: a defect of the cluster or of the client.
    #[error(
        "the cluster answered with revision {got} where {expected} was due; nothing after \
         {expected} was journaled"
    )]
    OutOfOrder {
        /// The revision that was due.
        expected: Revision,
        /// The revision that came.
        got: Revision,
    },
    /// Metrics and health cannot be served.
    #[error("cannot serve metrics and health on {address}: {source}. Choose another --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The embedded cluster could not be started, or ended.
    #[error("the embedded cluster: {0:#}")]
    Embedded(anyhow::Error),
    /// A thread of ours ended unexpectedly.
    #[error("a part of the persister ended unexpectedly: {0}")]
    Panicked(String),
}

impl Error {
    /// The exit status of the process; `docs/operations.md` has the table.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        use cairn_journal::Error as J;
        match self {
            Self::Journal(J::Corrupt { .. } | J::CheckpointDamaged { .. }) => 10,
            Self::Journal(J::Locked { .. }) => 11,
            Self::Journal(J::Poisoned { .. }) => 13,
            // The same disk, met while a state was sorted.
            Self::Journal(error) if is_full(error) => 13,
            Self::Journal(
                J::NotInHistory { .. } | J::NotSeen { .. } | J::TimeNotInHistory { .. },
            )
            | Self::NoSuchPart { .. } => 28,
            Self::Journal(_) => 12,
            Self::Refused { refusal, .. } if matches!(**refusal, Refusal::RolledBack { .. }) => 29,
            Self::Refused { .. } | Self::Identity(_) => 20,
            Self::IdTaken { .. } | Self::Replaced { .. } => 21,
            Self::Cluster(_) | Self::OutOfOrder { .. } | Self::Embedded(_) => 22,
            Self::RestoreDiffers { .. } => 24,
            Self::WouldLose(_) => 25,
            Self::Clashes { .. } => 26,
            Self::DoesNotFit { .. } => 27,
            Self::Interrupted => 130,
            Self::Listen { .. } => 2,
            Self::Panicked(_) => 1,
        }
    }

    /// Whether the disk had no room.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Journal(error) => is_full(error),
            _ => false,
        }
    }

    /// Whether opening another session may help.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Cluster(ClusterError::Unavailable(_)))
    }
}

fn is_full(error: &cairn_journal::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    match error {
        cairn_journal::Error::Poisoned { cause, .. } => is_full(cause),
        cairn_journal::Error::NoRoom { .. } => true,
        cairn_journal::Error::Io { source, .. } => {
            matches!(source.kind(), StorageFull | QuotaExceeded)
        }
        _ => false,
    }
}
