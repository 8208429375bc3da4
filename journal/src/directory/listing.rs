//! What a directory holds, as of one moment, while a writer and its retention may be at work in it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    directory::handle::Directory,
    error::{Error, Result},
    format::{
        header::HeaderFault,
        layout::{MAGIC, SEGMENT_HEADER_BYTES},
        names::{LOCK, NEXT, Name, REPAIR, REPAIR_MOVED, classify, segment_name},
    },
    model::ids::{Revision, Sequence},
    segment::{create, scan},
    storage::{
        file_handle::FileHandle,
        traits::{Access, Storage},
    },
};

/// How often a directory is listed again because names came or went meanwhile. A writer needs
/// several syncs for each.
const LISTINGS: usize = 64;

/// How often a directory is looked at again in which there is nothing but [`NEXT`], not begun: a
/// writer and its retention may both have been faster than the look at it.
const LOOKS_AT_NEXT: usize = 8;

/// The names in a directory, sorted. Not as of one moment: a name that comes while it is listed may
/// be left out, and one that comes after it be there.
fn names(storage: &dyn Storage, dir: &Path) -> Result<Vec<String>> {
    let names = storage.list(dir);
    let mut names = names.map_err(|e| Error::io(dir, "list the directory", e))?;
    names.sort();
    Ok(names)
}

/// What a directory holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    pub(crate) segments: BTreeMap<Sequence, PathBuf>,
    pub(crate) checkpoints: BTreeMap<Revision, PathBuf>,
    pub(crate) temporary: Vec<PathBuf>,
    pub(crate) kept: Vec<String>,
    pub(crate) unknown: Vec<String>,
    /// Which of the segments still has the name [`NEXT`].
    unnamed: Option<Sequence>,
    /// End like a segment or checkpoint and are not named like one.
    pub(crate) misnamed: Vec<PathBuf>,
}

impl Listing {
    pub(crate) fn read(storage: &dyn Storage, dir: &Path) -> Result<Self> {
        let listing = Self::read_damaged(storage, dir)?;
        listing.is_not_half_replaced(dir)?;
        match listing.misnamed.first() {
            Some(path) => Err(Error::ForeignFile {
                path: path.clone(),
                detail: "it is not named by 20 digits".to_owned(),
            }),
            None => Ok(listing),
        }
    }

    /// An error while a repair moves files: what is there is neither the old journal nor the new
    /// one.
    fn is_not_half_replaced(&self, dir: &Path) -> Result<()> {
        let mut markers = [REPAIR, REPAIR_MOVED].into_iter();
        match markers.find(|marker| self.kept.iter().any(|name| name == marker)) {
            Some(marker) => Err(Error::RepairInterrupted {
                path: dir.join(marker),
            }),
            None => Ok(()),
        }
    }

    /// Reads a directory in which names may be wrong, or which a repair is changing.
    ///
    /// As of one moment: the names are the same before and after, and what is called [`NEXT`] is
    /// looked into in between. (Otherwise the file that was listed under that name may have got its
    /// own, and the one that was looked into be its successor: a segment would seem to be missing
    /// between the two.)
    pub(crate) fn read_damaged(storage: &dyn Storage, dir: &Path) -> Result<Self> {
        let mut before = names(storage, dir)?;
        let mut looks = 0;
        loop {
            let listing = Self::of(storage, dir, &before)?;
            let after = names(storage, dir)?;
            looks += 1;
            let is_settled = before == after
                && (looks >= LOOKS_AT_NEXT
                    || !listing.segments.is_empty()
                    || !after.iter().any(|name| name == NEXT));
            if is_settled || looks >= LISTINGS {
                return Ok(listing);
            }
            before = after;
        }
    }

    fn of(storage: &dyn Storage, dir: &Path, names: &[String]) -> Result<Self> {
        let mut listing = Self::default();
        let mut next = None;
        for name in names {
            let path = dir.join(name);
            match classify(name) {
                Name::Segment(first) => {
                    listing.segments.insert(first, path);
                }
                Name::Checkpoint(revision) => {
                    listing.checkpoints.insert(revision, path);
                }
                Name::Temporary => listing.temporary.push(path),
                Name::Next => next = Some(path),
                Name::Kept => listing.kept.push(name.clone()),
                Name::Misnamed => listing.misnamed.push(path),
                Name::Unknown => listing.unknown.push(name.clone()),
            }
        }
        if let Some(path) = next {
            listing.look_into_next(storage, dir, path)?;
        }
        Ok(listing)
    }

    /// What is called [`NEXT`] is a segment if it has the header of one. If it has not, nothing in
    /// it was acknowledged: it was never used, or power failed during its first sync.
    fn look_into_next(&mut self, storage: &dyn Storage, dir: &Path, path: PathBuf) -> Result<()> {
        let file = match FileHandle::open(storage, &path, Access::Read) {
            Ok(file) => file,
            // A writer has given it its name in this very moment.
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        match scan::decode_header(&file)?.0 {
            Ok(header) if !self.segments.contains_key(&header.first) => {
                self.unnamed = Some(header.first);
                let named = dir.join(segment_name(header.first));
                self.segments.insert(header.first, named);
            }
            Err(HeaderFault::Format(found)) => {
                return Err(Error::other_format(&path, found));
            }
            // A crash leaves a header's first sector old or new: zeros, or the magic.
            Err(_) if !begins_like_ours(&file)? => {
                return Err(Error::ForeignFile {
                    path,
                    detail: "it is no segment, nor was it made ready to be one".to_owned(),
                });
            }
            _ => self.temporary.push(path),
        }
        Ok(())
    }

    /// Gives a segment that is still called [`NEXT`] its own name, durably. Its header is written
    /// once more before: nothing but the page cache may have it, if the sync that was to cover it
    /// failed.
    pub(crate) fn give_name(&self, storage: &dyn Storage, dir: &Path) -> Result<()> {
        let Some(first) = self.unnamed else {
            return Ok(());
        };
        let mut file = FileHandle::open(storage, &dir.join(NEXT), Access::ReadWrite)?;
        let mut block = vec![0; SEGMENT_HEADER_BYTES];
        let n = file.read_at(&mut block, 0)?;
        file.write_at(&block[..n], 0)?;
        file.sync_all()?;
        create::publish(storage, dir, &mut file, dir.join(segment_name(first)))
    }

    /// The error for a directory that holds no segment.
    pub(crate) fn not_a_journal(&self, dir: &Path) -> Error {
        let remains = self.kept.iter().any(|n| n != LOCK) || !self.checkpoints.is_empty();
        let detail = if remains {
            "all its segments are missing".to_owned()
        } else if self.unknown.is_empty() {
            "it holds no segment".to_owned()
        } else {
            let mut some = self.unknown.clone();
            some.sort();
            some.truncate(3);
            format!("it holds no segment, but {}", some.join(", "))
        };
        Error::NotAJournal {
            path: dir.to_owned(),
            detail,
        }
    }

    /// Whether a new journal may be begun here: nothing is in the directory that somebody else
    /// put there, and nothing that says that there once was a journal.
    pub(crate) fn is_vacant(&self) -> bool {
        self.segments.is_empty()
            && self.checkpoints.is_empty()
            && self.kept.iter().all(|n| n == LOCK)
            // The root of a file system of its own is a good place for a journal.
            && self.unknown.iter().all(|n| n == "lost+found")
    }

    /// The segment after this one.
    pub(crate) fn after(&self, first: Sequence) -> Option<(Sequence, &PathBuf)> {
        self.segments
            .range(first.next()..)
            .next()
            .map(|(s, p)| (*s, p))
    }
}

/// Makes an error name the file that is there. A segment that is still called [`NEXT`] is spoken of
/// by the name that it is going to have, which nobody finds in the directory.
pub(crate) fn as_found(directory: &Directory, mut error: Error) -> Error {
    let (Error::Corrupt { path, .. } | Error::OtherFormat { path, .. } | Error::Io { path, .. }) =
        &mut error
    else {
        return error;
    };
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(Name::Segment(first)) = name.map(classify) else {
        return error;
    };
    let storage = directory.storage();
    let next = directory.path().join(NEXT);
    let is_there = FileHandle::open(storage, path, Access::Read).is_ok();
    let is_next = || {
        let file = FileHandle::open(storage, &next, Access::Read)?;
        scan::read_header(&file, first)
    };
    if !is_there && is_next().is_ok() {
        *path = next;
    }
    error
}

/// Whether a file that is no segment may be what is made ready to be one.
fn begins_like_ours(file: &FileHandle) -> Result<bool> {
    let mut begin = [0; MAGIC.len()];
    file.read_around(&mut begin, 0)?;
    Ok(begin == [0; MAGIC.len()] || begin == *MAGIC)
}
