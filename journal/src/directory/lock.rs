//! The directory, and nobody else in it.
//!
//! Promise: nothing is written into a directory that holds something of somebody else's and no
//! journal.

use std::{
    io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem},
    path::Path,
};

use crate::{
    directory::{handle::Directory, listing::Listing},
    error::{Error, Result},
    format::names::{CHECKPOINT, LOCK},
    storage::{
        file_handle::FileHandle,
        traits::{Access, Lock, Storage},
    },
};

/// Makes sure that the directory is there and may be ours, and locks it.
pub(crate) fn enter(storage: &dyn Storage, dir: &Path) -> Result<Box<dyn Lock>> {
    storage
        .create_dir(dir)
        .map_err(|e| Error::io(dir, "create the directory", e))?;
    // Before the lock file is put into somebody else's directory.
    let listing = Listing::read(storage, dir)?;
    if listing.segments.is_empty() && !listing.is_vacant() {
        return Err(listing.not_a_journal(dir));
    }
    take_lock(storage, dir)
}

/// Locks the directory, which is not looked at.
pub(crate) fn take_lock(storage: &dyn Storage, dir: &Path) -> Result<Box<dyn Lock>> {
    let path = dir.join(LOCK);
    let lock = storage
        .lock(&path)
        .map_err(|e| Error::io(path.as_path(), "lock", e))?;
    let Some(lock) = lock else {
        return Err(Error::Locked {
            holder: holder(storage, &path),
            path,
        });
    };
    // Only a courtesy to whoever is refused, so a full disk does not matter.
    let _ = lock.write_holder(&format!("process {}", std::process::id()));
    Ok(lock)
}

fn holder(storage: &dyn Storage, path: &Path) -> String {
    let mut note = [0; 64];
    FileHandle::open(storage, path, Access::Read)
        .and_then(|f| f.read_at(&mut note, 0))
        .ok()
        .filter(|n| *n > 0)
        .map_or_else(
            || "another process".to_owned(),
            |n| String::from_utf8_lossy(&note[..n]).trim().to_owned(),
        )
}

/// Takes the lock that keeps checkpoints and retention from each other, within one process too.
pub(crate) fn exclusive(storage: &dyn Storage, dir: &Path) -> Result<Box<dyn Lock>> {
    let path = dir.join(CHECKPOINT);
    let lock = storage
        .lock(&path)
        .map_err(|e| Error::io(path.as_path(), "lock", e))?;
    lock.ok_or_else(|| Error::Locked {
        path,
        holder: "another checkpoint, or retention, of this journal".to_owned(),
    })
}

/// Keeps a journal from being opened by anybody, until it is dropped or the process ends.
#[derive(Debug)]
pub struct DirectoryLock {
    _lock: Box<dyn Lock>,
}

impl Directory {
    /// Takes the lock of the journal, and leaves everything else alone. `None` if somebody else has
    /// it, or if the disk cannot be written to.
    ///
    /// # Errors
    /// The disk's, unless it only cannot be written to.
    pub fn try_lock(&self) -> Result<Option<DirectoryLock>> {
        match take_lock(self.storage(), self.path()) {
            Ok(lock) => Ok(Some(DirectoryLock { _lock: lock })),
            Err(Error::Locked { .. }) => Ok(None),
            Err(Error::Io { source, .. })
                if matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem) =>
            {
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }
}
