//! Which file has a name, and how long it is.
//!
//! A commit asks this between its sync and its acknowledgement, and asks for no more. Since Linux
//! 6.13 (multigrain timestamps) the next write to a file whose times were asked for has to give it
//! new ones: a change of the inode for every commit. Not asking made one writer a quarter faster.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

/// A file that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Device and number of the file.
    pub(crate) id: (u64, u64),
    /// In bytes.
    pub(crate) length: u64,
}

impl Found {
    /// What has this name; a symbolic link is not followed. `None`: nothing.
    pub(crate) fn at(path: &Path) -> io::Result<Option<Self>> {
        let found = match without_times(rustix::fs::CWD, path) {
            Some(found) => found,
            None => fs::symlink_metadata(path).map(|metadata| Self::from(&metadata)),
        };
        match found {
            Ok(found) => Ok(Some(found)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// What this is a handle of.
    pub(crate) fn of(file: &fs::File) -> io::Result<Self> {
        match without_times(file, Path::new("")) {
            Some(found) => found,
            None => Ok(Self::from(&file.metadata()?)),
        }
    }
}

impl From<&fs::Metadata> for Found {
    fn from(metadata: &fs::Metadata) -> Self {
        Self {
            id: (metadata.dev(), metadata.ino()),
            length: metadata.len(),
        }
    }
}

/// What `path` means, from `dir` on; an empty one means `dir` itself. `None`: this kernel, sandbox
/// or file system cannot say it in this way.
#[cfg(target_os = "linux")]
fn without_times(dir: impl std::os::fd::AsFd, path: &Path) -> Option<io::Result<Found>> {
    use rustix::{
        fs::{AtFlags, StatxFlags, makedev, statx},
        io::Errno,
    };

    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    let wanted = StatxFlags::INO | StatxFlags::SIZE;
    match statx(dir, path, flags, wanted) {
        Ok(told) if told.stx_mask & wanted.bits() == wanted.bits() => Some(Ok(Found {
            id: (
                makedev(told.stx_dev_major, told.stx_dev_minor),
                told.stx_ino,
            ),
            length: told.stx_size,
        })),
        Ok(_) | Err(Errno::NOSYS | Errno::PERM) => None,
        Err(e) => Some(Err(e.into())),
    }
}

#[cfg(not(target_os = "linux"))]
fn without_times(_: impl std::os::fd::AsFd, _: &Path) -> Option<io::Result<Found>> {
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// By name, by handle and through the standard library it is one file; a link is not followed.
    #[test]
    fn a_file_is_found_by_name_and_by_handle() {
        let dir = tempfile::tempdir().unwrap();
        let [path, link, none] = ["file", "link", "none"].map(|n| dir.path().join(n));
        fs::write(&path, [7; 100]).unwrap();
        symlink(&path, &link).unwrap();
        let file = fs::File::open(&path).unwrap();
        let found = Found::of(&file).unwrap();
        assert_eq!(found, Found::from(&file.metadata().unwrap()));
        assert_eq!(found.length, 100);
        assert_eq!(Found::at(&path).unwrap(), Some(found));
        assert_ne!(Found::at(&link).unwrap(), Some(found));
        assert!(Found::at(&link).unwrap().is_some());
        assert_eq!(Found::at(&none).unwrap(), None);
        assert!(Found::at(&path.join("below")).is_err());
    }
}
