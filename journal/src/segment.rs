//! Brings a new segment into being: written and synced under a temporary name, then renamed, then
//! the directory synced, so that a file named `.seg` always has a sound header.

use std::path::{Path, PathBuf};

use crate::{
    Error, Result,
    directory::{TEMPORARY, segment_name},
    layout::{SEGMENT_HEADER_BYTES, SegmentHeader},
    prepare,
    storage::{Access, Named, Storage},
};

/// Creates the segment that `header` describes and returns once its name is durable. An empty
/// segment of the same name is replaced. Up to `fill` it is filled with zeros.
pub(crate) fn create(
    storage: &dyn Storage,
    dir: &Path,
    header: &SegmentHeader,
    fill: u64,
) -> Result<Named> {
    let path = dir.join(segment_name(header.first));
    let file = create_temporary(storage, &path)?;
    prepare::fill(&file, SEGMENT_HEADER_BYTES as u64, fill)?;
    create_from(storage, dir, header, file)
}

/// The same from a file of zeros that was made and synced before.
pub(crate) fn create_from(
    storage: &dyn Storage,
    dir: &Path,
    header: &SegmentHeader,
    mut file: Named,
) -> Result<Named> {
    file.write_at(header.encode().as_slice(), 0)?;
    file.sync_data()?;
    publish(
        storage,
        dir,
        &mut file,
        dir.join(segment_name(header.first)),
    )?;
    Ok(file)
}

/// Opens a new file under the temporary name of `path`, throwing away what an earlier attempt left.
pub(crate) fn create_temporary(storage: &dyn Storage, path: &Path) -> Result<Named> {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY);
    let temporary = PathBuf::from(name);
    remove_if_there(storage, &temporary)?;
    Named::open(storage, &temporary, Access::CreateNew)
}

/// Gives a synced temporary file its name, durably.
pub(crate) fn publish(
    storage: &dyn Storage,
    dir: &Path,
    file: &mut Named,
    path: PathBuf,
) -> Result<()> {
    storage
        .rename(&file.path, &path)
        .map_err(|e| Error::io(path.as_path(), "rename a new file to", e))?;
    file.renamed(path);
    sync_dir(storage, dir)
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
