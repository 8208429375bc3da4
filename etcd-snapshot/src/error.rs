//! Every way in which writing or reading a snapshot can fail: what, where, and what to do now.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::record::Position;

/// The result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every way in which writing or reading a snapshot can fail.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{path}: cannot {op}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        op: &'static str,
        /// The answer.
        source: io::Error,
    },
    /// The disk, the quota or the allowed size of a file is used up.
    #[error(
        "{path}: no room after {written} bytes: {source}. The unfinished file is removed; make \
         room, or write to another file system", path = path.display()
    )]
    NoSpace {
        /// The file that was asked for.
        path: PathBuf,
        /// Bytes of pages that had been handed to the file system.
        written: u64,
        /// The answer of the operating system.
        source: io::Error,
    },
    /// A snapshot is never written over another file.
    #[error("{path}: exists. Move it away, or choose another name", path = path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// An earlier write failed. The file on disk is not to be used.
    #[error("{path}: an earlier write failed; write the snapshot anew", path = path.display())]
    Stopped {
        /// The file.
        path: PathBuf,
    },
    /// What the disk gave back is not what was written.
    #[error(
        "{path}: what was read back differs from what was written: the disk or the memory of this \
         machine is faulty. Nothing was put in place", path = path.display()
    )]
    ReadBack {
        /// The file that was asked for.
        path: PathBuf,
    },
    /// A record does not come after the one before it.
    #[error("record {given} comes after {previous}: records are taken in ascending order")]
    OutOfOrder {
        /// The record that was refused.
        given: Position,
        /// The newest record that was taken.
        previous: Position,
    },
    /// Something is missing before a record of the history.
    #[error(
        "record {given} leaves a hole: {expected} is next. Behind the compacted revision every \
         revision has a record, and the records of a revision are numbered from 0"
    )]
    Hole {
        /// The record that was refused.
        given: Position,
        /// The record that has to come first.
        expected: Position,
    },
    /// A record that no etcd would have written.
    #[error("record {at}: {detail}")]
    Record {
        /// The record that was refused.
        at: Position,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// A lease that etcd would not take or not read back.
    #[error("lease {id:x} (hexadecimal): {detail}")]
    Lease {
        /// The lease's id.
        id: i64,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// A state whose keys do not ascend.
    #[error("key {key} does not come after the one before it: a state is taken in order of keys")]
    UnsortedKeys {
        /// The key that was refused, with bytes that cannot be printed escaped.
        key: String,
    },
    /// The options of a writer contradict the format.
    #[error("{option}: {detail}")]
    Options {
        /// The name of the field.
        option: &'static str,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// A revision outside of what the snapshot holds.
    #[error(
        "revision {asked} is outside of this snapshot, which tells {oldest} to {newest} \
         (revisions below are compacted)"
    )]
    Revision {
        /// What was asked for.
        asked: i64,
        /// The oldest revision whose whole state can be told.
        oldest: i64,
        /// The newest revision.
        newest: i64,
    },
    /// Not a snapshot of etcd v3.
    #[error(
        "{path}: not a snapshot of etcd v3: {detail}. `etcdctl snapshot save` makes one",
        path = path.display()
    )]
    NotASnapshot {
        /// The file.
        path: PathBuf,
        /// Why not.
        detail: String,
    },
    /// The sha256 at the end of the file is not that of the bytes before it.
    #[error(
        "{path}: the file ends with sha256 {stored}, its bytes have {computed}: it is damaged or \
         cut. Take another copy", path = path.display()
    )]
    Digest {
        /// The file.
        path: PathBuf,
        /// The last 32 bytes of the file, in hexadecimal.
        stored: String,
        /// The sha256 of everything before, in hexadecimal.
        computed: String,
    },
    /// A page contradicts the format.
    #[error(
        "{path}: damaged in page {page}, offset {offset}: {detail}. Take another copy",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The page.
        page: u64,
        /// Where in the file, in bytes.
        offset: u64,
        /// What is wrong.
        detail: String,
    },
    /// A value that is longer than the reader was allowed to hold in memory.
    #[error(
        "{path}: page {page}, offset {offset}: an entry of {bytes} bytes, more than the allowed \
         {limit}. Raise ReadOptions::max_entry_bytes if it is meant to be so", path = path.display()
    )]
    EntryTooLarge {
        /// The file.
        path: PathBuf,
        /// The page.
        page: u64,
        /// Where in the file, in bytes.
        offset: u64,
        /// Bytes of the entry's value.
        bytes: u64,
        /// Bytes that are allowed.
        limit: u64,
    },
}

impl Error {
    /// A refusal by the operating system; one for want of room says so.
    pub(crate) fn io(path: &Path, op: &'static str, written: u64, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::NoSpace {
                path,
                written,
                source,
            },
            io::ErrorKind::AlreadyExists => Self::Exists { path },
            _ => Self::Io { path, op, source },
        }
    }
}
