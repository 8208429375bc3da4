//! Why a snapshot file is not made or not taken, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use cairn_journal::Revision;
use cairn_journal::storage::{Disk, Storage as _};

/// What stands in the way of a snapshot file, or of what it is to become.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file cannot be written or read back.
    #[error(transparent)]
    File(#[from] cairn_etcd_snapshot::Error),
    /// The file that is to be imported cannot be read.
    #[error(transparent)]
    Source(cairn_etcd_snapshot::Error),
    /// It was saved in the middle of a restore.
    #[error(
        "{}: it was saved while its cluster was being restored, and lacks what was not there yet: \
         take another one", .0.display()
    )]
    Unfinished(PathBuf),
    /// It is of another cluster.
    #[error("{} is no base for this cluster: {why}. Nothing was written", file.display())]
    OtherCluster {
        /// The file.
        file: PathBuf,
        /// How the two differ.
        why: String,
    },
    /// The file system.
    #[error("cannot {op} {}: {source}", path.display())]
    Io {
        /// What was done.
        op: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Something is in the way.
    #[error("{} exists already, and is not replaced: give another name", .0.display())]
    Exists(PathBuf),
    /// A key does not have what etcd needs to know of it.
    #[error(
        "the journal does not know create revision and version of the key {key:?} at revision \
         {revision}: it followed a cluster of another engine, or a persister that did not record \
         them. A snapshot file cannot be made of it; restore into a running cluster instead: \
         start an empty one, then `persister restore -a etcd://HOST:2379`"
    )]
    NoAttributes {
        /// The key.
        key: String,
        /// Its revision.
        revision: Revision,
    },
    /// The history that was asked for has a hole.
    #[error(
        "history cannot be readable from revision {asked} on: the journal tells it without a hole \
         from {oldest} to {newest}{}. Leave out --history-from, or give one of these",
        why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default()
    )]
    NoHistory {
        /// The C that was asked for.
        asked: Revision,
        /// The oldest possible.
        oldest: Revision,
        /// The newest possible.
        newest: Revision,
        /// What is missing before it.
        why: Option<String>,
    },
    /// There is nothing in the journal.
    #[error("the journal holds no revision of any cluster: there is nothing to restore")]
    Empty,
    /// The revisions would not fit.
    #[error("revision {0} leaves no room for the counter to go on")]
    NoRevisions(Revision),
    /// The file that was written does not say what the journal says.
    #[error(
        "the file does not have what the journal has, and what was made was thrown away: the \
         journal has {expected}, the file {found}. This is a defect of the persister, or of the \
         disk"
    )]
    Differs {
        /// What the journal says.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// Neither of etcd's tools can be run.
    #[error(
        "neither `etcdutl` nor `etcdctl` can be run, and one of them makes the members: install \
         etcd's (apt-get install etcd-client), or make only the file, with --to-snapshot"
    )]
    NoTool,
    /// etcd's tool failed.
    #[error("{tool} could not make member {member}: {said}")]
    Tool {
        /// Which of them.
        tool: &'static str,
        /// The member.
        member: String,
        /// What it said.
        said: String,
    },
}

impl FileError {
    /// The exit status of the process; `docs/operations.md` has the table.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::File(_) | Self::Io { .. } => 13,
            Self::Exists(_) => 2,
            Self::Source(_) | Self::Unfinished(_) => 12,
            Self::OtherCluster { .. } => 20,
            Self::NoAttributes { .. } | Self::NoRevisions(_) => 27,
            Self::NoHistory { .. } | Self::Empty => 28,
            Self::Differs { .. } => 24,
            Self::NoTool | Self::Tool { .. } => 30,
        }
    }
}

/// The error of doing `op` to `path`.
pub(crate) fn failed_to(op: &'static str, path: &Path) -> impl Fn(io::Error) -> FileError {
    move |source| FileError::Io {
        op,
        path: path.to_owned(),
        source,
    }
}

/// The directory that something is in.
pub(crate) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Makes the name of something durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), FileError> {
    let parent = parent(path);
    let synced = std::fs::File::open(&parent).and_then(|parent| parent.sync_all());
    synced.map_err(failed_to("sync", &parent))
}

/// Makes a directory and what it is in, durably. One that is there stays.
pub(crate) fn make_dir(path: &Path) -> Result<(), FileError> {
    Disk.create_dir(path).map_err(failed_to("create", path))
}
