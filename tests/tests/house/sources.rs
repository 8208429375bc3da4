//! The source text of one crate, from disk, or changed in memory by a canary.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The files below the folder of a crate's root file.
#[derive(Clone)]
pub(crate) struct Sources {
    /// The file name of the root: `lib.rs`, `main.rs`.
    pub(crate) root: PathBuf,
    /// Each file's text by its path, relative to the root's folder.
    pub(crate) files: BTreeMap<PathBuf, String>,
}

impl Sources {
    /// Those of the crate with this root file.
    pub(crate) fn read(root: &Path) -> Self {
        let folder = root.parent().unwrap();
        let files = rust_files(folder)
            .into_iter()
            .map(|path| {
                let text = fs::read_to_string(&path).unwrap();
                (path.strip_prefix(folder).unwrap().to_owned(), text)
            })
            .collect();
        Self {
            root: root.file_name().unwrap().into(),
            files,
        }
    }

    /// Made up ones; the first is the root.
    pub(crate) fn made_up(files: &[(&str, &str)]) -> Self {
        Self {
            root: files[0].0.into(),
            files: files
                .iter()
                .map(|(path, text)| (path.into(), (*text).to_owned()))
                .collect(),
        }
    }

    /// Adds text at the end of a file.
    pub(crate) fn add(&mut self, path: &Path, text: &str) {
        let file = self.files.get_mut(path).unwrap();
        file.push('\n');
        file.push_str(text);
    }
}

/// Every Rust file below a folder, sorted.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return files;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
