//! Every way in which the journal can fail, each saying what, where, and what to do now.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    format::header::FORMAT_VERSION,
    model::{
        entry::Gap,
        ids::{Revision, Sequence},
        time::Timestamp,
    },
};

/// The journal's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every way in which the journal can fail.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A record or header that had been acknowledged is damaged. Nothing was touched.
    #[error(
        "{path}: damaged at offset {offset}, sequence {sequence} (the last good revision before it \
         is {revision}): {detail}. Nothing was changed. Restore the file from a copy, or repair \
         the journal (persister -f), which keeps every other record and the damaged file",
        path = path.display()
    )]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Offset of the first bad byte's record, in bytes.
        offset: u64,
        /// The sequence that should be there.
        sequence: Sequence,
        /// The newest revision covered by the records before it.
        revision: Revision,
        /// What is wrong.
        detail: String,
    },
    /// A checkpoint is damaged. Nothing was touched; whatever needs it uses an older one, or the
    /// whole history, if the journal still has that.
    #[error(
        "{path}: the checkpoint of revision {revision} is damaged at offset {offset}: {detail}. \
         Nothing was changed. Repair (persister -f) keeps it aside and says whether anything is \
         lost with it",
        path = path.display()
    )]
    CheckpointDamaged {
        /// The file.
        path: PathBuf,
        /// Offset of the bad block, in bytes.
        offset: u64,
        /// The revision that it is of.
        revision: Revision,
        /// What is wrong.
        detail: String,
    },
    /// The records asked for were removed by retention; a checkpoint covers them.
    #[error(
        "sequence {sequence} was removed by retention; the journal's records begin with {oldest}"
    )]
    Retired {
        /// What was asked for.
        sequence: Sequence,
        /// The oldest sequence that there still is.
        oldest: Sequence,
    },
    /// Another process has the journal open for writing.
    #[error("{path}: the journal is in use by {holder}. Stop that process, or give this one a \
        directory of its own", path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, as far as it said so.
        holder: String,
    },
    /// The operating system refused.
    #[error("{path}: cannot {op}: {source}", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        op: &'static str,
        /// The answer.
        source: Arc<io::Error>,
    },
    /// A write or sync failed earlier. What it covered was not acknowledged; nothing is written any
    /// more. Open the journal anew: that re-reads the disk.
    #[error(
        "the journal stopped after a failed write; nothing beyond sequence {durable} is known to \
         be durable: {cause}. Open it anew to go on"
    )]
    Poisoned {
        /// The newest sequence known to be durable.
        durable: Sequence,
        /// The failure.
        cause: Arc<Error>,
    },
    /// This sequence was never given by [`crate::Journal::append`] of this journal: it is of
    /// another one, or of a life of this one whose end was cut.
    #[error("sequence {sequence} was not appended here: the next one is {next}")]
    NotAppended {
        /// What was asked for.
        sequence: Sequence,
        /// What the next record will get at the earliest.
        next: Sequence,
    },
    /// The revision is older than what the journal covers already. Nothing was written. Only
    /// another timeline may count anew.
    #[error(
        "revision {revision} is older than {covered}, which the journal covers already; \
         revisions go back only with another timeline"
    )]
    RevisionFalls {
        /// What was to be appended.
        revision: Revision,
        /// The newest revision covered.
        covered: Revision,
    },
    /// The lock file was removed or replaced while this journal held it, so another writer may have
    /// opened the journal. What was just written is not acknowledged, and nothing is written any
    /// more.
    #[error(
        "{path}: the lock file was removed while it was held, or its directory was moved: another \
         process may write to this journal. Never do that; open the journal anew",
        path = path.display()
    )]
    LockLost {
        /// The lock file.
        path: PathBuf,
    },
    /// The segment that is being written lost its name, or a part of its bytes, to somebody else:
    /// what is written into it would be found by nobody. What was just written is not acknowledged,
    /// and nothing is written any more.
    #[error(
        "{path}: {detail} while it was being written. What was just written is not acknowledged. \
         Find out who did that, and open the journal anew",
        path = path.display()
    )]
    SegmentLost {
        /// The segment.
        path: PathBuf,
        /// What became of it.
        detail: String,
    },
    /// The record is larger than the journal accepts. Nothing was written.
    #[error("a record of {size} bytes exceeds the limit of {limit} bytes ({option})")]
    TooLarge {
        /// What it would take, in bytes.
        size: u64,
        /// What is allowed, in bytes.
        limit: u64,
        /// The option that says so.
        option: &'static str,
    },
    /// Written by another version of this library, whose files this one does not read.
    #[error(
        "{path}: has format version {found}; this program reads version {supported}. Carry the \
         journal over: `dumpjournal --json DIR` of the program that wrote it, piped into \
         `writejournal --json NEW-DIR` of this one",
        path = path.display()
    )]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// The version it names.
        found: u32,
        /// The version known here.
        supported: u32,
    },
    /// A file in the directory belongs to another journal or is misnamed.
    #[error(
        "{path}: does not belong to this journal: {detail}. Move it away",
        path = path.display()
    )]
    ForeignFile {
        /// The file.
        path: PathBuf,
        /// Why it does not belong.
        detail: String,
    },
    /// The directory holds no journal, and other things.
    #[error("{path}: not a journal: {detail}", path = path.display())]
    NotAJournal {
        /// The directory.
        path: PathBuf,
        /// What was found instead.
        detail: String,
    },
    /// A repair is moving files, or was interrupted while it did: what is there is neither the old
    /// journal nor the new one. Run the repair again.
    #[error(
        "{path}: a repair of this journal has not moved all files yet: until it has, nothing can \
         be read or written here. If it was interrupted, run it again (persister -f): it moves the \
         rest",
        path = path.display()
    )]
    RepairInterrupted {
        /// The file that says so.
        path: PathBuf,
    },
    /// The disk has no room for the repaired journal beside the damaged one. Nothing was changed.
    #[error(
        "{path}: no room for the repaired journal. It takes about {needed} bytes beside the \
         damaged one. Nothing was changed. Make room, or repair into a directory of another file \
         system (persister -f --repair-into DIR)",
        path = path.display()
    )]
    NoRoom {
        /// Where it was being written.
        path: PathBuf,
        /// About how many bytes it takes.
        needed: u64,
    },
    /// A donor does not say any more what it said a moment ago. The repair is not complete: run it
    /// again.
    #[error(
        "{donor}: what it knew of revisions {first} to {last} has changed while it was read. Run \
         the repair again"
    )]
    DonorChanged {
        /// The donor.
        donor: String,
        /// The first revision that it was asked for.
        first: Revision,
        /// The last.
        last: Revision,
    },
    /// An option has a value that cannot work.
    #[error("option {option}: {detail}")]
    InvalidOption {
        /// The option.
        option: &'static str,
        /// Why.
        detail: String,
    },
    /// An assertion of this library failed in the thread that was writing.
    #[error("the journal's writer panicked; this is a bug in it")]
    Bug,
    /// The caller asked for an early end ([`crate::Stop`]). Nothing was changed.
    #[error("stopped early, as was asked for")]
    Stopped,
    /// The revision asked for is not in the journal (any more, or yet).
    #[error("revision {revision} is not in this journal, which holds {oldest} to {newest}")]
    NotInHistory {
        /// What was asked for.
        revision: Revision,
        /// The oldest revision whose state can be told.
        oldest: Revision,
        /// The newest.
        newest: Revision,
    },
    /// The revision asked for lies among some that the journal never saw, or has lost, so the state
    /// at it cannot be told.
    #[error(
        "the state at revision {revision} is not known: revisions {} to {} are missing from this \
         journal ({}). The nearest states that it can tell: {}",
        gap.first, gap.last, gap.reason, nearest(*before, *after)
    )]
    NotSeen {
        /// What was asked for.
        revision: Revision,
        /// The revisions around it that are missing, and why.
        gap: Gap,
        /// The newest revision before it whose state can be told.
        before: Option<Revision>,
        /// The oldest one after it.
        after: Option<Revision>,
    },
    /// The state at a moment cannot be told.
    #[error("the state at {} is not in this journal: {detail}", time.show())]
    TimeNotInHistory {
        /// What was asked for.
        time: Timestamp,
        /// Why not.
        detail: String,
    },
}

fn nearest(before: Option<Revision>, after: Option<Revision>) -> String {
    match (before, after) {
        (Some(before), Some(after)) => format!("at revision {before}, and at {after}"),
        (Some(one), None) => format!("at revision {one}; none after it"),
        (None, Some(one)) => format!("at revision {one}; none before it"),
        (None, None) => "none".to_owned(),
    }
}

impl Error {
    pub(crate) fn other_format(path: &Path, found: u32) -> Self {
        Self::OtherFormat {
            path: path.to_owned(),
            found,
            supported: FORMAT_VERSION,
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>, op: &'static str, source: io::Error) -> Self {
        Self::Io {
            path: path.into(),
            op,
            source: Arc::new(source),
        }
    }

    /// Whether a file that was to be there is not.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Adds the newest revision covered before the damage, which a look at one segment alone cannot
    /// know.
    pub(crate) fn after(mut self, covered: Revision) -> Self {
        if let Self::Corrupt { revision, .. } = &mut self {
            *revision = covered;
        }
        self
    }

    /// Whether this is damage that [`crate::repair`] can deal with.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::CheckpointDamaged { .. })
    }

    /// Whether a file does not exist. One that was listed a moment ago may have been removed by
    /// retention.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the same call can succeed later without anything being done to the journal.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Locked { .. })
    }
}
