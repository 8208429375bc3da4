//! A directory of one run: private, locked while the run lives, and removed by the next run if it
//! could not be by its own.
//!
//! Nothing is deleted but directories of this module's making, below a parent that is this user's
//! alone.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::world::error::{Error, Result};

/// The file whose lock says that a run lives; it holds the id of its process.
const LOCK: &str = "cairn.lock";

/// How the directory of a run begins.
const PREFIX: &str = "run-";

/// Below which, in the parent, nobody sweeps while another creates.
const PARENT_LOCK: &str = "lock";

/// `f_type` of file systems that live in memory: tmpfs, ramfs.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// The directory of a run.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    kept: bool,
    _lock: File,
}

impl RunDirectory {
    /// A new one below `parent`, which is created if need be. Runs that left theirs behind are
    /// swept.
    ///
    /// # Errors
    /// If `parent` is not this user's alone, or the system refuses.
    pub fn create(parent: &Path) -> Result<Self> {
        private(parent)?;
        let file = parent.join(PARENT_LOCK);
        let guard = File::create(&file).map_err(Error::io("cannot create", &file))?;
        guard.lock().map_err(Error::io("cannot lock", &file))?;
        sweep(parent);
        let path = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(parent)
            .map_err(Error::io("cannot create a directory in", parent))?
            .keep();
        let lock = lock(&path)?;
        Ok(Self {
            path,
            kept: false,
            _lock: lock,
        })
    }

    /// This one, which stays when the run ends. It may be there already if it is empty.
    ///
    /// # Errors
    /// If another run uses it, if it holds anything else, or the system refuses.
    pub fn keep(path: &Path) -> Result<Self> {
        private(path)?;
        let path = path
            .canonicalize()
            .map_err(Error::io("cannot find", path))?;
        let entries = fs::read_dir(&path).map_err(Error::io("cannot read", &path))?;
        let foreign = entries.flatten().find(|entry| entry.file_name() != LOCK);
        let lock = lock(&path)?;
        if let Some(entry) = foreign {
            let why = format!(
                "it already holds {}; give an empty or a new directory",
                entry.file_name().display()
            );
            return Err(Error::Directory { path, why });
        }
        Ok(Self {
            path,
            kept: true,
            _lock: lock,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is in memory, where an fsync is nothing.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        rustix::fs::statfs(&self.path).is_ok_and(|stat| {
            u64::try_from(stat.f_type).is_ok_and(|kind| IN_MEMORY.contains(&kind))
        })
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed now is removed by the next run.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Where runs are kept by default: `$XDG_CACHE_HOME`, `~/.cache`, or the temporary directory.
#[must_use]
pub fn default_parent() -> PathBuf {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    match cache {
        Some(cache) => cache.join("cairn").join("playground"),
        None => {
            let user = rustix::process::geteuid().as_raw();
            std::env::temp_dir().join(format!("cairn-playground-{user}"))
        }
    }
}

/// Creates a directory for this user alone, or makes sure that it is.
fn private(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::io("cannot create", path))?;
    let about = fs::symlink_metadata(path).map_err(Error::io("cannot look at", path))?;
    let why = if !about.is_dir() {
        "it is a link or a file, not a directory"
    } else if about.uid() != rustix::process::geteuid().as_raw() {
        "it belongs to another user"
    } else if about.mode() & 0o022 != 0 {
        "others may write into it (chmod 700 it)"
    } else {
        return Ok(());
    };
    Err(Error::Directory {
        path: path.to_owned(),
        why: why.to_owned(),
    })
}

/// Takes the lock of a run's directory, and writes whose it is.
fn lock(directory: &Path) -> Result<File> {
    let path = directory.join(LOCK);
    let open = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let mut file = open.map_err(Error::io("cannot open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(&path)
                .ok()
                .and_then(|pid| pid.trim().parse().ok());
            return Err(Error::DirectoryInUse {
                path: directory.to_owned(),
                pid,
            });
        }
        Err(TryLockError::Error(cause)) => return Err(Error::io("cannot lock", &path)(cause)),
    }
    let written = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(Error::io("cannot write", &path))?;
    Ok(file)
}

/// Removes the directories of runs that no longer live. Best effort: what stays is for the next
/// one.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let is_run = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_run && lock(&entry.path()).is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_run_is_swept_and_a_living_one_is_not() -> Result<()> {
        let scratch = tempfile::tempdir().map_err(Error::io("scratch", Path::new("")))?;
        let parent = scratch.path().join("runs");
        let living = RunDirectory::create(&parent)?;
        let dead = parent.join("run-dead");
        fs::create_dir(&dead).map_err(Error::io("create", &dead))?;
        fs::write(dead.join(LOCK), "1\n").map_err(Error::io("write", &dead))?;
        let stranger = parent.join("precious");
        fs::create_dir(&stranger).map_err(Error::io("create", &stranger))?;
        let next = RunDirectory::create(&parent)?;
        assert!(living.path().exists() && next.path().exists() && stranger.exists());
        assert!(!dead.exists());
        let mode = next
            .path()
            .metadata()
            .map_err(Error::io("look", &dead))?
            .mode();
        assert_eq!(mode & 0o777, 0o700);
        let path = next.path().to_owned();
        drop(next);
        assert!(!path.exists());
        Ok(())
    }

    #[test]
    fn one_directory_is_for_one_run_and_for_nothing_else() -> Result<()> {
        let scratch = tempfile::tempdir().map_err(Error::io("scratch", Path::new("")))?;
        let path = scratch.path().join("kept");
        let first = RunDirectory::keep(&path)?;
        let second = RunDirectory::keep(&path);
        let pid = Some(std::process::id());
        assert!(
            matches!(&second, Err(Error::DirectoryInUse { pid: by, .. }) if *by == pid),
            "{second:?}"
        );
        fs::write(path.join("journal"), "x").map_err(Error::io("write", &path))?;
        drop(first);
        assert!(path.join("journal").exists(), "it is kept");
        let third = RunDirectory::keep(&path);
        assert!(matches!(third, Err(Error::Directory { .. })), "{third:?}");
        Ok(())
    }

    #[test]
    fn a_link_to_elsewhere_is_no_parent() -> Result<()> {
        let scratch = tempfile::tempdir().map_err(Error::io("scratch", Path::new("")))?;
        let link = scratch.path().join("link");
        std::os::unix::fs::symlink("/tmp", &link).map_err(Error::io("link", &link))?;
        let refused = RunDirectory::create(&link);
        assert!(
            matches!(refused, Err(Error::Directory { .. })),
            "{refused:?}"
        );
        Ok(())
    }
}
