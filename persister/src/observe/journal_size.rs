//! How large the journal's directory is, looked up without waiting for a disk that hangs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How long an answer waits for a new look; after that it tells what the last one found.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct JournalSize {
    dir: PathBuf,
    found: Arc<Found>,
}

#[derive(Debug, Default)]
struct Found {
    bytes: AtomicU64,
    /// Whether a look is under way. There is one at most: each costs a thread if the disk hangs.
    looking: AtomicBool,
}

impl JournalSize {
    pub(super) fn of(dir: PathBuf) -> Self {
        Self {
            dir,
            found: Arc::default(),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the last look found, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.found.bytes.load(Ordering::Relaxed)
    }

    /// Looks again.
    pub(super) async fn look(&self) {
        if self.found.looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let (dir, found) = (self.dir.clone(), Arc::clone(&self.found));
        let looked = tokio::task::spawn_blocking(move || {
            if let Ok(entries) = std::fs::read_dir(dir) {
                let sizes = entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
                found.bytes.store(sizes.sum(), Ordering::Relaxed);
            }
            found.looking.store(false, Ordering::Release);
        });
        let _ = tokio::time::timeout(LOOK, looked).await;
    }
}
