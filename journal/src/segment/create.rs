//! Brings a new segment into being: written and synced under another name, then renamed, then
//! the directory synced, so that a file named `.seg` always has a sound header.
//!
//! A segment that was made ready ahead is synced together with its first records, and the directory
//! behind the writer's back: until then it is found under the name
//! [`NEXT`](crate::format::names::NEXT).

use std::path::{Path, PathBuf};

use crate::{
    error::{Error, Result},
    format::{
        layout::{SEGMENT_HEADER_BYTES, SegmentHeader},
        names::{TEMPORARY, segment_name},
    },
    storage::{
        file_handle::FileHandle,
        traits::{Access, Storage},
        zeros::fill,
    },
};

/// Creates the segment that `header` describes and returns once its name is durable. An empty
/// segment of the same name is replaced. Up to `zeros_to` it is filled with zeros.
pub(crate) fn segment(
    storage: &dyn Storage,
    dir: &Path,
    header: &SegmentHeader,
    zeros_to: u64,
) -> Result<FileHandle> {
    let path = dir.join(segment_name(header.first));
    let mut file = create_temporary(storage, &path)?;
    fill(&file, SEGMENT_HEADER_BYTES as u64, zeros_to)?;
    file.write_at(header.encode().as_slice(), 0)?;
    file.sync_data()?;
    publish(storage, dir, &mut file, path)?;
    Ok(file)
}

/// Opens a new file under the temporary name of `path`, throwing away what an earlier attempt left.
pub(crate) fn create_temporary(storage: &dyn Storage, path: &Path) -> Result<FileHandle> {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY);
    create_anew(storage, &PathBuf::from(name))
}

/// Opens a new file, throwing away what an earlier attempt left under this name.
pub(crate) fn create_anew(storage: &dyn Storage, path: &Path) -> Result<FileHandle> {
    remove_if_there(storage, path)?;
    FileHandle::open(storage, path, Access::CreateNew)
}

/// Gives a synced file its name, durably.
pub(crate) fn publish(
    storage: &dyn Storage,
    dir: &Path,
    file: &mut FileHandle,
    path: PathBuf,
) -> Result<()> {
    rename(storage, file, path)?;
    sync_dir(storage, dir)
}

/// Gives a synced file another name, which is durable once the directory was synced.
pub(crate) fn rename(storage: &dyn Storage, file: &mut FileHandle, path: PathBuf) -> Result<()> {
    storage
        .rename(&file.path, &path)
        .map_err(|e| Error::io(path.as_path(), "rename a new file to", e))?;
    file.renamed(path);
    Ok(())
}

pub(crate) fn sync_dir(storage: &dyn Storage, dir: &Path) -> Result<()> {
    storage
        .sync_dir(dir)
        .map_err(|e| Error::io(dir, "sync the directory", e))
}

pub(crate) fn remove_if_there(storage: &dyn Storage, path: &Path) -> Result<()> {
    match storage.remove(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|e| Error::io(path, "remove", e)),
    }
}
