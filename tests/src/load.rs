//! What a test wrote, what was acknowledged, and what may therefore be found afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use bytes::Bytes;
use cairn_client::Revision;

/// Values above this size are left out of a load: more than a cluster takes.
const MAX_VALUE: u64 = 1 << 20;

/// Every regular, readable file below `root` that a cluster could hold: its path and content.
pub fn files_below(root: &Path) -> Vec<(String, Bytes)> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        // What cannot be listed or read belongs to somebody else, and is not part of the load.
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(metadata) = fs::symlink_metadata(entry.path()) else {
                continue;
            };
            if metadata.is_dir() {
                directories.push(entry.path());
                continue;
            }
            let path = entry.path().to_string_lossy().into_owned();
            if metadata.is_file()
                && metadata.len() < MAX_VALUE
                && cairn_client::path::is_valid(&path)
                && let Ok(content) = fs::read(entry.path())
            {
                files.push((path, content.into()));
            }
        }
    }
    files.sort();
    files
}

/// What one path may hold after a crash.
#[derive(Clone, Debug, Default)]
pub struct Expectation {
    /// The last acknowledged content, with its revision; `None`: acknowledged as absent, or never
    /// written.
    pub acknowledged: Option<(Revision, Bytes)>,
    /// A write that was under way: it may have happened, or not.
    pub pending: Option<Option<Bytes>>,
}

/// Every write of a test, kept by the one writer that each path has.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// By path.
    pub paths: BTreeMap<String, Expectation>,
}

impl Ledger {
    /// A write begins: of a value, or a delete.
    pub fn begin(&mut self, path: &str, value: Option<Bytes>) {
        self.paths.entry(path.to_owned()).or_default().pending = Some(value);
    }

    /// The write that was begun is acknowledged, a set at this revision.
    pub fn acknowledge(&mut self, path: &str, revision: Revision) {
        let entry = self.paths.entry(path.to_owned()).or_default();
        let value = entry.pending.take().expect("a write was begun");
        entry.acknowledged = value.map(|value| (revision, value));
    }

    /// Takes in another writer's part.
    pub fn merge(&mut self, other: Self) {
        self.paths.extend(other.paths);
    }

    /// Checks what was found after a crash; the number of acknowledged values and deletes.
    ///
    /// # Errors
    /// The first path that is lost, altered or invented.
    pub fn check(
        &self,
        found: &BTreeMap<String, (Revision, Bytes)>,
        revisions_kept: bool,
    ) -> Result<(usize, usize)> {
        let (mut values, mut deletes) = (0, 0);
        for (path, expected) in &self.paths {
            let now = found.get(path);
            if let (Some((_, value)), Some(Some(pending))) = (now, &expected.pending)
                && value == pending
            {
                continue;
            }
            if now.is_none() && expected.pending == Some(None) {
                continue;
            }
            match (&expected.acknowledged, now) {
                (Some((revision, value)), Some((at, is))) => {
                    ensure!(
                        value == is,
                        "{path}: acknowledged at {revision}, then altered"
                    );
                    ensure!(
                        !revisions_kept || revision == at,
                        "{path}: acknowledged at {revision}, found at {at}"
                    );
                    values += 1;
                }
                (Some((revision, _)), None) => {
                    ensure!(false, "{path}: acknowledged at {revision}, then lost");
                }
                (None, Some((at, _))) => {
                    ensure!(
                        false,
                        "{path}: found at {at}, though deleted or never acknowledged"
                    );
                }
                (None, None) => deletes += 1,
            }
        }
        for path in found.keys() {
            ensure!(self.paths.contains_key(path), "{path}: never written");
        }
        Ok((values, deletes))
    }
}
