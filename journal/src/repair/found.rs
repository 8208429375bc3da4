//! Segment files as they are found in a damaged journal: whatever their headers say, or do not say.
//!
//! No file stays open: there may be more segments than a process may have open files.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use uuid::Uuid;

use crate::{
    directory::listing::Listing,
    error::{Error, Result},
    format::{
        header::HeaderFault,
        layout::{SEGMENT_HEADER_BYTES, Seed, SegmentHeader},
        names::NEXT,
    },
    model::ids::Sequence,
    repair::salvage,
    segment::window::{Source, unreadable_detail},
    storage::{
        file_handle::{FileHandle, is_media_error},
        traits::{Access, Storage},
    },
};

/// A segment file, whatever state it is in.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// By its name.
    pub(crate) first: Sequence,
    pub(crate) path: PathBuf,
    pub(crate) header: Result<SegmentHeader, String>,
    /// What it begins with by its header, if that is sound, else by its name.
    claims: Sequence,
    /// Headers that the records may verify by, if the header itself does not.
    pub(crate) guesses: Vec<SegmentHeader>,
}

impl Found {
    /// Looks at a file. Only a later format is an error: it is not damage.
    pub(crate) fn read(storage: &dyn Storage, path: &Path, first: Sequence) -> Result<Self> {
        let mut found = Self {
            first,
            path: path.to_owned(),
            header: Err(String::new()),
            claims: first,
            guesses: Vec::new(),
        };
        let mut block = vec![0; SEGMENT_HEADER_BYTES];
        let read = open_for_reading(storage, path)?.map(|file| file.read_around(&mut block, 0));
        let (n, unreadable) = match read {
            Some(read) => read?,
            None => {
                found.header = Err("the file cannot be opened".to_owned());
                return Ok(found);
            }
        };
        found.guesses = SegmentHeader::salvage(&block[..n]);
        found.header = match SegmentHeader::decode(&block[..n]) {
            Ok(h) if h.first != first => {
                found.claims = h.first;
                Err(format!(
                    "its header says that it begins with sequence {}",
                    h.first
                ))
            }
            // Its zeros may be those that were there; the disk is failing all the same.
            Ok(h) => unreadable.map_or(Ok(h), |at| Err(unreadable_detail(at))),
            Err(HeaderFault::Format(version)) => {
                return Err(Error::other_format(path, version));
            }
            Err(HeaderFault::Damaged(detail)) => Err(unreadable.map_or(detail, unreadable_detail)),
        };
        Ok(found)
    }

    /// All segments of a listing, oldest first. A copy under another name comes behind the segment
    /// that it is a copy of.
    pub(crate) fn all(storage: &dyn Storage, listing: &Listing) -> Result<Vec<Self>> {
        let segments = listing.segments.iter();
        let found = segments.map(|(first, path)| Self::read(storage, path, *first));
        let mut found = found.collect::<Result<Vec<_>>>()?;
        found.sort_by_key(|file| (file.claims, file.is_copy()));
        Ok(found)
    }

    /// Whether its header is sound, and is that of the segment of another name.
    pub(crate) fn is_copy(&self) -> bool {
        self.claims != self.first
    }

    /// The bytes of the file; `None`: it cannot be opened.
    pub(crate) fn source(&self, storage: &dyn Storage) -> Result<Option<Source>> {
        let file = open_for_reading(storage, &self.path)?;
        Ok(file.map(|file| Source::patient(Arc::new(file))))
    }

    /// The bytes, and by what the records verify, if by anything. `later`: the files behind it.
    pub(crate) fn open(
        &self,
        storage: &dyn Storage,
        later: &[Self],
        uuid: Uuid,
    ) -> Result<Option<(Source, Seed)>> {
        let mut guesses = Vec::new();
        if let Ok(h) = &self.header {
            guesses.push(h.seed());
        }
        if let Some(h) = later.iter().find_map(|file| file.header.as_ref().ok())
            && h.context.predecessor_first == self.first
        {
            guesses.push(Seed::new(uuid, h.context.predecessor_salt));
        }
        guesses.extend(self.guesses.iter().map(|g| Seed::new(uuid, g.salt)));
        let Some(mut source) = self.source(storage)? else {
            return Ok(None);
        };
        for seed in guesses {
            if salvage::any_record(&mut source, &seed)? {
                return Ok(Some((source, seed)));
            }
        }
        Ok(None)
    }
}

/// A donor's newest segment may not have its own name yet; that of the journal under repair has.
fn open_for_reading(storage: &dyn Storage, path: &Path) -> Result<Option<FileHandle>> {
    let opened = match FileHandle::open(storage, path, Access::Read) {
        Err(error) if error.is_not_found() => {
            FileHandle::open(storage, &path.with_file_name(NEXT), Access::Read)
        }
        other => other,
    };
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(Error::Io { source, .. }) if is_media_error(&source) => Ok(None),
        Err(other) => Err(other),
    }
}

/// The journal's UUID: the one that most headers name, else that of a copy that records verify by.
/// A header that names another one counts as damaged from here on.
pub(crate) fn identity(storage: &dyn Storage, files: &mut [Found]) -> Result<Option<Uuid>> {
    let mut votes: Vec<(Uuid, usize)> = Vec::new();
    for header in files.iter().filter_map(|f| f.header.as_ref().ok()) {
        match votes.iter_mut().find(|(uuid, _)| *uuid == header.uuid) {
            Some((_, n)) => *n += 1,
            None => votes.push((header.uuid, 1)),
        }
    }
    // Of several with as many, the oldest.
    let most = votes.iter().map(|(_, n)| *n).max();
    if let Some((uuid, _)) = votes.iter().find(|(_, n)| Some(*n) == most) {
        for file in files.iter_mut() {
            if let Ok(header) = &file.header
                && header.uuid != *uuid
            {
                file.header = Err(format!("it belongs to the journal {}", header.uuid));
            }
        }
        return Ok(Some(*uuid));
    }
    for file in files.iter() {
        for guess in &file.guesses {
            if let Some(mut source) = file.source(storage)?
                && salvage::any_record(&mut source, &guess.seed())?
            {
                return Ok(Some(guess.uuid));
            }
        }
    }
    Ok(None)
}
