//! A real file system that is soon full.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::needs::needed;

/// A small file system in memory; unmounted when dropped.
pub struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    /// One of `mib` MiB. The caller must be allowed to mount.
    pub fn mount(mib: u32) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let size = format!("size={mib}m");
        mount(&["-t", "tmpfs", "-o", &size, "tmpfs"], directory.path())?;
        Ok(Self { directory })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where a journal may be on it.
    pub fn journal(&self) -> PathBuf {
        self.path().join("journal")
    }

    /// Takes up `mib` MiB of it, until the file that is returned is removed.
    pub fn ballast(&self, mib: usize) -> Result<PathBuf> {
        let path = self.path().join("ballast");
        fs::write(&path, vec![1; mib << 20])?;
        Ok(path)
    }

    /// Leaves no room for anything.
    pub fn fill(&self) -> Result<()> {
        let mut rest = fs::File::create(self.path().join("rest"))?;
        while rest.write_all(&[1; 4096]).is_ok() {}
        Ok(())
    }

    /// From now on nothing on it can be changed.
    pub fn make_read_only(&self) -> Result<()> {
        mount(&["-o", "remount,ro"], self.path())?;
        let written = fs::write(self.path().join("anything"), "x");
        ensure!(written.is_err(), "the small disk takes writes");
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted =
            needed("umount").and_then(|mut umount| Ok(umount.arg(self.path()).status()?));
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.path().display());
        }
    }
}

fn mount(arguments: &[&str], directory: &Path) -> Result<()> {
    let mounted = needed("mount")?.args(arguments).arg(directory).status()?;
    ensure!(
        mounted.success(),
        "this test mounts a small file system, which it is not allowed to. Run it as root, or in a \
         namespace of its own: unshare --map-root-user --mount ./test"
    );
    Ok(())
}
