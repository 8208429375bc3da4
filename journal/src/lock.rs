//! A journal's lock without its writer: for whoever must know that nobody else is at work on it, and
//! has nothing to write.

use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
use std::path::Path;

use crate::{Error, Result, recovery, storage};

/// Keeps a journal from being opened by anybody, until it is dropped or the process ends.
#[derive(Debug)]
pub struct DirectoryLock {
    _lock: Box<dyn storage::Lock>,
}

impl DirectoryLock {
    /// Takes the lock of the journal in `dir`, and leaves everything else alone. `None` if somebody
    /// else has it, or if the disk cannot be written to.
    ///
    /// # Errors
    /// The disk's, unless it only cannot be written to.
    pub fn try_take(dir: &Path) -> Result<Option<Self>> {
        match recovery::take_lock(&storage::Disk, dir) {
            Ok(lock) => Ok(Some(Self { _lock: lock })),
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
