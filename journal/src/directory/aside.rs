//! Keeping a damaged file under another name before anything takes its place.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    error::{Error, Result},
    segment::{create, window::Source},
    storage::{
        file_handle::{FileHandle, is_media_error},
        traits::{Access, Storage},
    },
};

/// Gives the damaged file a second name, durably, so that replacing the first one keeps it.
pub(crate) fn keep_bad(storage: &dyn Storage, dir: &Path, path: &Path) -> Result<PathBuf> {
    for n in 1.. {
        let mut name = path.as_os_str().to_owned();
        name.push(if n == 1 {
            ".bad".to_owned()
        } else {
            format!(".{n}.bad")
        });
        let bad = PathBuf::from(name);
        match storage.link(path, &bad) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                // By an interrupted repair, or by one of an earlier damage.
                if !same_content(storage, path, &bad)? {
                    continue;
                }
            }
            // Not every file system has second names.
            Err(_) => copy(storage, dir, path, &bad)?,
        }
        create::sync_dir(storage, dir)?;
        return Ok(bad);
    }
    unreachable!("there are more names than files")
}

fn open(storage: &dyn Storage, path: &Path) -> Result<Option<Source>> {
    match FileHandle::open(storage, path, Access::Read) {
        Ok(file) => Ok(Some(Source::patient(Arc::new(file)))),
        Err(Error::Io { source, .. }) if is_media_error(&source) => Ok(None),
        Err(other) => Err(other),
    }
}

fn same_content(storage: &dyn Storage, a: &Path, b: &Path) -> Result<bool> {
    let (Some(mut a), Some(mut b)) = (open(storage, a)?, open(storage, b)?) else {
        return Ok(false);
    };
    let mut at = 0;
    loop {
        let chunk = a.get(at, 1 << 16)?;
        if chunk != b.get(at, 1 << 16)? {
            return Ok(false);
        }
        if chunk.is_empty() {
            return Ok(true);
        }
        at += chunk.len() as u64;
    }
}

/// What cannot be read is zeros in the copy.
fn copy(storage: &dyn Storage, dir: &Path, from: &Path, to: &Path) -> Result<()> {
    let Some(mut source) = open(storage, from)? else {
        return Ok(());
    };
    let mut target = create::create_temporary(storage, to)?;
    let mut at = 0;
    loop {
        let chunk = source.get(at, 1 << 20)?;
        if chunk.is_empty() {
            break;
        }
        target.write_at(chunk, at)?;
        at += chunk.len() as u64;
    }
    target.sync_all()?;
    create::publish(storage, dir, &mut target, to.to_owned())
}
