//! What an interrupted life leaves under temporary names. Removed, unless there may be something in
//! it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    directory::{aside, listing::Listing},
    error::Result,
    format::{layout::SEGMENT_HEADER_BYTES, names::NEXT},
    segment::{
        create,
        window::{COPY_BYTES, Source},
    },
    storage::{
        file_handle::FileHandle,
        traits::{Access, Storage},
    },
};

/// Removes what was never used. A file called [`NEXT`] that has no sound header and yet holds
/// something is kept under another name, which is returned with its length: a crash while its first
/// records were written leaves such a file, but so does damage to the header of a segment.
pub(crate) fn remove_temporary(
    storage: &dyn Storage,
    dir: &Path,
    listing: &Listing,
) -> Result<Option<(PathBuf, u64)>> {
    let mut kept = None;
    for path in &listing.temporary {
        if path.ends_with(NEXT)
            && let Some(bytes) = content_bytes(storage, path)?
        {
            let aside = aside::keep_bad(storage, dir, path)?;
            tracing::warn!(kept = %aside.display(), "NEXT has no sound header, and is not empty");
            kept = Some((aside, bytes));
        }
        create::remove_if_there(storage, path)?;
    }
    Ok(kept)
}

/// A file called [`NEXT`] that has no sound header and yet holds something, and its length: what
/// [`remove_temporary`] would keep.
pub(crate) fn begun(storage: &dyn Storage, listing: &Listing) -> Result<Option<(PathBuf, u64)>> {
    let Some(path) = listing.temporary.iter().find(|path| path.ends_with(NEXT)) else {
        return Ok(None);
    };
    match content_bytes(storage, path) {
        Ok(bytes) => Ok(bytes.map(|bytes| (path.clone(), bytes))),
        // A writer has given it its name meanwhile.
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// How many bytes are behind the header of a file, if any of them is not zero.
fn content_bytes(storage: &dyn Storage, path: &Path) -> Result<Option<u64>> {
    let begin = SEGMENT_HEADER_BYTES as u64;
    let file = Arc::new(FileHandle::open(storage, path, Access::Read)?);
    let bytes = file.len()?.saturating_sub(begin);
    let mut source = Source::patient(file);
    let mut at = begin;
    loop {
        let chunk = source.get(at, COPY_BYTES)?;
        if chunk.is_empty() {
            // What cannot be read may be anything.
            return Ok(source.unreadable().map(|_| bytes));
        }
        if chunk.iter().any(|b| *b != 0) {
            return Ok(Some(bytes));
        }
        at += chunk.len() as u64;
    }
}
