//! Step 5: a torn tail is copied into a file of its own before it is cut.
//!
//! Promise: however often recovery is interrupted, each tail that was cut is kept once, and no file
//! of another tail is overwritten.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    error::Result,
    segment::{
        create,
        open::Segment,
        window::{COPY_BYTES, Source},
    },
    storage::{
        file_handle::FileHandle,
        traits::{Access, Storage},
    },
};

fn name(dir: &Path, last: &Segment, offset: u64, n: u32) -> PathBuf {
    let number = if n == 1 {
        String::new()
    } else {
        format!(".{n}")
    };
    dir.join(format!("{:020}.{offset}{number}.torn", last.header.first.0))
}

/// The torn tail that an interrupted opening has cut here: it kept it, cut it, and came no further.
/// A segment that has records is ended at one offset only once, so the file can be of nothing else.
pub(super) fn before(
    storage: &dyn Storage,
    dir: &Path,
    last: &Segment,
    offset: u64,
) -> Result<(u64, Option<PathBuf>)> {
    let mut newest = (0, None);
    for n in 1_u32.. {
        let path = name(dir, last, offset, n);
        match FileHandle::open(storage, &path, Access::Read) {
            Ok(file) => newest = (file.len()?, Some(path)),
            Err(error) if error.is_not_found() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(newest)
}

/// A name for a torn tail, which no *other* torn tail has: an empty last segment keeps its name
/// when it is replaced, so the next tail may be torn at the same offset of a segment of the same
/// name.
fn free_path(
    storage: &dyn Storage,
    dir: &Path,
    last: &Segment,
    offset: u64,
    bytes: u64,
) -> Result<PathBuf> {
    for n in 1_u32.. {
        let path = name(dir, last, offset, n);
        let there = match FileHandle::open(storage, &path, Access::Read) {
            Err(error) if error.is_not_found() => return Ok(path),
            other => Arc::new(other?),
        };
        // An interrupted recovery has kept this very tail.
        if there.len()? == bytes && holds(&there, last, offset, bytes)? {
            return Ok(path);
        }
    }
    unreachable!("there are more numbers than files")
}

/// Whether `kept` begins with the `bytes` bytes that stand at `offset` in the segment.
fn holds(kept: &Arc<FileHandle>, last: &Segment, offset: u64, bytes: u64) -> Result<bool> {
    let mut kept = Source::window(kept.clone());
    let mut tail = Source::window(last.file.clone());
    let mut done = 0;
    while done < bytes {
        let want = usize::try_from((bytes - done).min(COPY_BYTES as u64)).expect("bounded");
        let (left, right) = (kept.get(done, want)?, tail.get(offset + done, want)?);
        if left != right || left.is_empty() {
            return Ok(false);
        }
        done += left.len() as u64;
    }
    Ok(true)
}

/// Copies the bytes that are going to be cut into a file of their own, durably.
pub(super) fn keep(
    storage: &dyn Storage,
    dir: &Path,
    last: &Segment,
    offset: u64,
    bytes: u64,
) -> Result<PathBuf> {
    let path = free_path(storage, dir, last, offset, bytes)?;
    let mut kept = create::create_temporary(storage, &path)?;
    Source::window(last.file.clone()).copy(offset..offset + bytes, &kept, 0)?;
    kept.sync_all()?;
    create::publish(storage, dir, &mut kept, path.clone())?;
    Ok(path)
}
