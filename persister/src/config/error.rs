//! Why a configuration is not one.

use std::path::PathBuf;

use crate::cluster::in_process::node::NodeOptionsError;

/// Why the configuration is not one.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot read the configuration: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not valid.
    #[error("{}:{line}: {why}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong there.
        why: String,
    },
    /// No id was given anywhere.
    #[error("which persister is this? Give --id N, CAIRN_ID, or `id` in the configuration file")]
    NoId,
    /// No journal was given anywhere, and no id to name it by.
    #[error(
        "which journal? Give -j DIR, or the --id of its persister for journal-ID in this directory"
    )]
    NoJournal,
    /// What was asked for does not go together with restoring.
    #[error("`persister restore` restores into a cluster that runs elsewhere: leave out {0}")]
    NotForRestore(&'static str),
    /// The state of a moment that is still to come was asked for.
    #[error(
        "--at-time {} is in the future; it is {} now (times without an offset, or with Z, are \
         UTC). For the newest state leave it out", .0.show(), cairn_journal::Timestamp::now().show()
    )]
    InTheFuture(cairn_journal::Timestamp),
    /// A cluster that cannot be known without a name of ours.
    #[error(
        "--mirror none observes a cluster of etcd, which is known by its keys. A cluster of doozer \
         that was reset could not be told from what it was: use --mirror watermark"
    )]
    NotObservable,
    /// A restore writes.
    #[error("--mirror none writes nothing into the cluster, and {0} does: leave out one of them")]
    ObserverWrites(&'static str),
    /// More disks than there are, or none.
    #[error("--require {required} of {named} persisters is not possible: name more in --persist")]
    Required {
        /// How many are required.
        required: usize,
        /// How many are named.
        named: usize,
    },
    /// A persister whose status is not to be had, or one too many.
    #[error("{named} persisters are named, and {told} places in --status: name one for each")]
    StatusOfEach {
        /// How many places are named.
        told: usize,
        /// How many persisters.
        named: usize,
    },
    /// A flag of a snapshot file without one.
    #[error("{0} is about a snapshot file: give --to-snapshot FILE or --into DIR, too")]
    NeedsFile(&'static str),
    /// History that nobody could read.
    #[error(
        "--history-from needs --seamless (nothing was written after the journal's end) or \
         --rehearsal: otherwise everything before counts as compacted, and no history is readable"
    )]
    NoReadableHistory,
    /// Two members that could not both be there.
    #[error("the member {0} is given twice, by its name or by its address")]
    SameMember(String),
    /// A prefix can select nothing.
    #[error("--prefix {prefix:?} selects nothing: {why}")]
    Prefix {
        /// What was given.
        prefix: String,
        /// What is wrong with it.
        why: String,
    },
    /// A setting of the embedded cluster cannot work.
    #[error("--embedded: {0}")]
    Embedded(#[from] NodeOptionsError),
    /// A setting of the journal cannot work.
    #[error(transparent)]
    Journal(#[from] cairn_journal::Error),
}
