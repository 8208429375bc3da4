//! A journal's directory by its path, and the storage that it lies on.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::storage::{disk::Disk, traits::SharedStorage, traits::Storage};

/// A directory that holds a journal, or is going to.
#[derive(Clone, Debug)]
pub struct Directory {
    storage: SharedStorage,
    path: PathBuf,
}

impl Directory {
    /// The directory at `path` on the real file system.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self::on(Arc::new(Disk), path)
    }

    /// The directory at `path` on any storage.
    pub fn on(storage: SharedStorage, path: impl Into<PathBuf>) -> Self {
        Self {
            storage,
            path: path.into(),
        }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    pub(crate) fn shared(&self) -> &SharedStorage {
        &self.storage
    }
}
