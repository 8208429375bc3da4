//! Everything that ends a persister, each with what to do about it and an exit status of its own.

use std::path::PathBuf;

use cairn_journal::Revision;

use crate::cluster::control::Id;
use crate::cluster::error::Error as ClusterError;
use crate::file_error::FileError;
use crate::host_port::HostPort;
use crate::identity::decision::Refusal;
use crate::identity::written::ParseError;
use crate::trouble::Trouble;

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
    /// The addresses lead to more than one cluster.
    #[error(
        "the addresses do not lead to one cluster: {0}. Name the nodes of one cluster, and no \
         others. Nothing was journaled"
    )]
    SeveralClusters(String),
    /// The cluster was given another name while somebody waited for it.
    #[error(
        "this was cluster {before}, and now {}: it was restored, or is another one, so a revision \
         of before may mean something else. Look at what is there, and wait again",
        now.as_deref().map_or_else(|| "it has no name".to_owned(), |now| format!("it is {now}"))
    )]
    Renamed {
        /// The name that it had.
        before: String,
        /// The name that it has.
        now: Option<String>,
    },
    /// The identity in the cluster cannot be read.
    #[error("{0}; a newer persister may have written it")]
    Identity(#[from] ParseError),
    /// Another live persister holds the id.
    #[error(
        "persister {id} is already running: its owner key is being refreshed by {holder:?} \
         (journal, process, place, pid). Stop that one first, or choose another --id"
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
         has {found}{keys}. Is somebody else writing to it?"
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
         bytes at most: {}{}. Nothing was written. If you know that it takes more, say \
         --max-value-bytes SIZE; --prefix restores a part",
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
         --state --at-revision {at}` lists those that it has; the cluster's own below {control} \
         are never restored). Nothing was written"
    )]
    NoSuchPart {
        /// What was asked for.
        prefix: String,
        /// The revision of the state.
        at: Revision,
        /// The control area of the cluster.
        control: &'static str,
    },
    /// A cluster that comes back from files is empty, and writing into it was not asked for.
    #[error(
        "the cluster is empty. It comes back from a file, before its members start: with the \
         revisions, versions, leases and history that it had. Stop these members, move their data \
         away, make them anew, and start them as it prints:\n  \
         persister restore -j {journal} --into DIR --member NAME=http://HOST:2380\n  \
         (--member once for each; --to-snapshot FILE makes the file alone; --dry-run says what \
         comes back).\n  \
         To write keys, values and leases into the members that run, ask for it: -r api. Nothing \
         was written, and nothing is followed", journal = .journal.display()
    )]
    ComesFromFiles {
        /// Where the journal is.
        journal: PathBuf,
    },
    /// A snapshot file is not made.
    #[error(transparent)]
    SnapshotFile(#[from] FileError),
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
        address: HostPort,
        /// Why not.
        source: std::io::Error,
    },
    /// The embedded cluster could not be started, or ended.
    #[error("the embedded cluster: {0:#}")]
    Embedded(anyhow::Error),
    /// The system has no thread left for a part of the persister.
    #[error("no thread for checkpoints: {0}")]
    NoThread(std::io::Error),
    /// A thread of ours ended unexpectedly.
    #[error("a part of the persister ended unexpectedly: {0}")]
    Panicked(String),
}

impl Error {
    /// The exit status of the process; `docs/operations.md` has the table.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Journal(error) => status_of(error),
            Self::NoSuchPart { .. } => 28,
            Self::Refused { refusal, .. } if matches!(**refusal, Refusal::RolledBack { .. }) => 29,
            Self::Refused { .. }
            | Self::SeveralClusters(_)
            | Self::Renamed { .. }
            | Self::Identity(_) => 20,
            Self::IdTaken { .. } | Self::Replaced { .. } => 21,
            Self::Cluster(_) | Self::OutOfOrder { .. } | Self::Embedded(_) => 22,
            Self::NoThread(_) => 23,
            Self::RestoreDiffers { .. } => 24,
            Self::WouldLose(_) => 25,
            Self::Clashes { .. } | Self::ComesFromFiles { .. } => 26,
            Self::DoesNotFit { .. } => 27,
            Self::SnapshotFile(error) => error.exit_status(),
            Self::Interrupted => 130,
            Self::Listen { source, .. } if Trouble::of(source) == Trouble::Passing => 23,
            Self::Listen { .. } => 2,
            Self::Panicked(_) => 1,
        }
    }

    /// Whether the disk had no room.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Journal(error) => trouble(error) == Some(Trouble::Full),
            _ => false,
        }
    }

    /// Whether the machine was short of something (descriptors, memory, threads): opening the
    /// journal again may help, and nobody needs to look.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        match self {
            Self::Journal(error) => trouble(error) == Some(Trouble::Passing),
            Self::NoThread(_) => true,
            _ => false,
        }
    }

    /// Whether the session has ended.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Cluster(ClusterError::Unavailable(_)))
    }

    /// Whether opening another session may help: this one is over, or somebody else wrote first.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Cluster(ClusterError::Unavailable(_) | ClusterError::Conflict(_))
        )
    }
}

fn status_of(error: &cairn_journal::Error) -> u8 {
    use cairn_journal::Error as J;
    match (error, trouble(error)) {
        // What the disk answered, whenever it did: while the journal was opened, read or written.
        (_, Some(Trouble::Full | Trouble::Disk)) => 13,
        (_, Some(Trouble::Passing)) => 23,
        (J::Corrupt { .. } | J::CheckpointDamaged { .. }, _) => 10,
        (J::Locked { .. }, _) => 11,
        (J::Poisoned { .. }, _) => 13,
        (J::NotInHistory { .. } | J::NotSeen { .. } | J::TimeNotInHistory { .. }, _) => 28,
        _ => 12,
    }
}

/// What the operating system's answer behind an error means, if there is one.
fn trouble(error: &cairn_journal::Error) -> Option<Trouble> {
    match error {
        cairn_journal::Error::Poisoned { cause, .. } => trouble(cause),
        cairn_journal::Error::NoRoom { .. } => Some(Trouble::Full),
        cairn_journal::Error::Io { source, .. } => Some(Trouble::of(source)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_journal::{Error as J, Sequence};
    use rustix::io::Errno;
    use std::sync::Arc;

    fn io(number: Errno) -> J {
        J::Io {
            path: PathBuf::from("j"),
            op: "read",
            source: Arc::new(std::io::Error::from_raw_os_error(number.raw_os_error())),
        }
    }

    fn poisoned(cause: J) -> J {
        J::Poisoned {
            durable: Sequence(1),
            cause: Arc::new(cause),
        }
    }

    /// The same answer of the system has the same status, whether the journal was opened, read or
    /// written. None of those that pass is one of "a person must look".
    #[test]
    fn each_answer_of_the_system_has_one_status_wherever_it_is_met() {
        for (number, first, later) in [
            (Errno::IO, 13, 13),
            (Errno::NOSPC, 13, 13),
            (Errno::DQUOT, 13, 13),
            (Errno::MFILE, 23, 23),
            (Errno::NFILE, 23, 23),
            (Errno::NOMEM, 23, 23),
            (Errno::AGAIN, 23, 23),
            (Errno::INTR, 23, 23),
            (Errno::ACCESS, 12, 13),
            (Errno::ROFS, 12, 13),
        ] {
            let passes = first == 23;
            for (error, status) in [(io(number), first), (poisoned(io(number)), later)] {
                let error = Error::Journal(error);
                assert_eq!(error.exit_status(), status, "{error}");
                assert_eq!(error.is_shortage(), passes, "{error}");
            }
        }
        let lost = J::SegmentLost {
            path: PathBuf::from("j"),
            detail: "the segment was removed".to_owned(),
        };
        assert_eq!(Error::Journal(poisoned(lost)).exit_status(), 13);
    }

    #[test]
    fn what_another_session_may_mend_is_not_the_end() {
        use crate::cluster::error::Conflict;
        for (error, passes) in [
            (ClusterError::Unavailable("away".to_owned()), true),
            (ClusterError::Conflict(Conflict::Key), true),
            (ClusterError::Conflict(Conflict::Identity), true),
            (ClusterError::HistoryDiscarded, false),
            (ClusterError::Refused("no".to_owned()), false),
        ] {
            let error = Error::Cluster(error);
            assert_eq!(error.may_pass(), passes, "{error}");
        }
        assert!(!Error::Interrupted.may_pass());
    }
}
