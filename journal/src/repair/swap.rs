//! The new journal takes the old one's place.
//!
//! It lies in `repaired/` until it is complete and was read back. The marker `REPAIR` is the
//! commit: before it is durable an interrupted repair changes nothing and is thrown away; behind it
//! every step can be taken again. While a marker is there, readers and writers refuse the
//! directory: it is neither the old journal nor the new one.
//!
//! 1. `REPAIR`: every file of the old journal is moved into `damaged-N/`.
//! 2. It becomes `REPAIR-MOVED`: every file of the new one is moved up. Then the marker goes.

use std::path::{Path, PathBuf};

use crate::{
    directory::listing::Listing,
    error::{Error, Result},
    format::names::{
        Name, REPAIR, REPAIR_MOVED, REPAIRED_DIR, classify, damaged_name, damaged_number,
    },
    segment::create::{remove_if_there, sync_dir},
    storage::{
        file_handle::FileHandle,
        traits::{Access, Storage},
    },
};

/// Whether a repair was interrupted while it moved files.
pub(crate) fn is_under_way(listing: &Listing) -> bool {
    let kept = &listing.kept;
    kept.iter()
        .any(|name| name == REPAIR || name == REPAIR_MOVED)
}

/// A new directory for the new journal, without what an interrupted repair has left there.
pub(crate) fn make_room(storage: &dyn Storage, dir: &Path) -> Result<PathBuf> {
    discard(storage, dir)?;
    let repaired = dir.join(REPAIRED_DIR);
    create_dir(storage, &repaired)?;
    Ok(repaired)
}

/// Removes a new journal that was not completed.
pub(crate) fn discard(storage: &dyn Storage, dir: &Path) -> Result<()> {
    let repaired = dir.join(REPAIRED_DIR);
    for name in names(storage, &repaired)? {
        remove_if_there(storage, &repaired.join(name))?;
    }
    remove_dir(storage, &repaired)
}

/// The directory for files that are replaced or do not belong here: one that is empty, or that is
/// still to be created.
pub(crate) fn aside(storage: &dyn Storage, dir: &Path) -> Result<PathBuf> {
    let newest = newest(storage, dir)?;
    if let Some(newest) = newest {
        let path = dir.join(damaged_name(newest));
        if names(storage, &path)?.is_empty() {
            return Ok(path);
        }
    }
    Ok(dir.join(damaged_name(newest.unwrap_or(0) + 1)))
}

/// Moves one file there, durably. Another file of its name is never replaced.
pub(crate) fn move_aside(storage: &dyn Storage, path: &Path, aside: &Path) -> Result<PathBuf> {
    create_dir(storage, aside)?;
    let to = aside.join(path.file_name().unwrap_or_default());
    rename(storage, path, &to)?;
    sync_dir(storage, aside)?;
    sync_dir(storage, path.parent().unwrap_or(aside))?;
    Ok(to)
}

/// Lets the journal in `repaired/`, which is complete and durable, take the place of the one in
/// `dir`, of which the files go to `aside`: the newest of its kind.
pub(crate) fn commit(storage: &dyn Storage, dir: &Path, aside: &Path) -> Result<()> {
    create_dir(storage, aside)?;
    sync_dir(storage, &dir.join(REPAIRED_DIR))?;
    let marker = FileHandle::open(storage, &dir.join(REPAIR), Access::CreateNew)?;
    marker.sync_all()?;
    sync_dir(storage, dir)?;
    finish(storage, dir)
}

/// Takes all steps behind the commit that are not taken yet.
pub(crate) fn finish(storage: &dyn Storage, dir: &Path) -> Result<()> {
    let (first, second) = (dir.join(REPAIR), dir.join(REPAIR_MOVED));
    if FileHandle::open(storage, &first, Access::Read).is_ok() {
        let newest = newest(storage, dir)?.unwrap_or(1);
        let aside = dir.join(damaged_name(newest));
        create_dir(storage, &aside)?;
        let ours = |name: &String| {
            let name = classify(name);
            let segment = matches!(name, Name::Segment(_) | Name::Next | Name::Misnamed);
            segment || matches!(name, Name::Checkpoint(_))
        };
        move_all(storage, dir, &aside, ours)?;
        sync_dir(storage, &aside)?;
        sync_dir(storage, dir)?;
        rename(storage, &first, &second)?;
        sync_dir(storage, dir)?;
    }
    let repaired = dir.join(REPAIRED_DIR);
    move_all(storage, &repaired, dir, |_| true)?;
    sync_dir(storage, dir)?;
    if !matches!(storage.list(&repaired), Err(e) if e.kind() == std::io::ErrorKind::NotFound) {
        sync_dir(storage, &repaired)?;
    }
    remove_dir(storage, &repaired)?;
    remove_if_there(storage, &second)?;
    sync_dir(storage, dir)
}

/// Moves all files of these names. A listing may leave out a name that is there.
fn move_all(
    storage: &dyn Storage,
    from: &Path,
    to: &Path,
    is_meant: impl Fn(&String) -> bool,
) -> Result<()> {
    loop {
        let mut all = names(storage, from)?;
        all.retain(&is_meant);
        if all.is_empty() {
            return Ok(());
        }
        for name in all {
            rename(storage, &from.join(&name), &to.join(&name))?;
        }
    }
}

fn newest(storage: &dyn Storage, dir: &Path) -> Result<Option<u64>> {
    let mut newest = None;
    for n in 1.. {
        // Not by the listing of `dir`: not every storage shows directories.
        match storage.list(&dir.join(damaged_name(n))) {
            Ok(_) => newest = Some(n),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => break,
            Err(e) => {
                return Err(Error::io(
                    dir.join(damaged_name(n)),
                    "list the directory",
                    e,
                ));
            }
        }
    }
    let listed = names(storage, dir)?;
    let listed = listed.iter().filter_map(|name| damaged_number(name));
    Ok(newest.max(listed.max()))
}

/// The names in a directory; none if it does not exist.
fn names(storage: &dyn Storage, dir: &Path) -> Result<Vec<String>> {
    match storage.list(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|e| Error::io(dir, "list the directory", e)),
    }
}

fn create_dir(storage: &dyn Storage, dir: &Path) -> Result<()> {
    let created = storage.create_dir(dir);
    created.map_err(|e| Error::io(dir, "create the directory", e))
}

fn remove_dir(storage: &dyn Storage, dir: &Path) -> Result<()> {
    match storage.remove_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|e| Error::io(dir, "remove the directory", e)),
    }
}

fn rename(storage: &dyn Storage, from: &Path, to: &Path) -> Result<()> {
    let renamed = storage.rename(from, to);
    renamed.map_err(|e| Error::io(to, "move a file to", e))
}
