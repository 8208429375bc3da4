//! Real files of this machine, as something to write.

use std::fs;
use std::path::Path;

use bytes::Bytes;

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
