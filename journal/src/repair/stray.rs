//! Segments under names that are not theirs: each gets its own name back if no other file has it, else
//! it is kept aside. Nothing in them is lost.

use std::path::Path;

use crate::{
    directory::{aside, listing::Listing},
    error::{Error, Result},
    format::{
        layout::{SEGMENT_HEADER_BYTES, SegmentHeader},
        names::segment_name,
    },
    repair::{Repair, found, report::Damage},
    segment::create,
    storage::{
        file_handle::FileHandle,
        traits::{Access, Storage},
    },
};

impl Repair<'_> {
    /// Puts names right; returns the segments as they are found then, and the listing.
    pub(super) fn strays(&mut self, mut listing: Listing) -> Result<(Vec<found::Found>, Listing)> {
        let mut files = found::Found::all(self.storage, &listing)?;
        let uuid = found::identity(self.storage, &mut files)?;
        let misnamed = std::mem::take(&mut listing.misnamed);
        let mut strays: Vec<_> = misnamed.into_iter().map(|path| (path, true)).collect();
        let wrong = files.iter().filter(|f| f.header.is_err());
        strays.extend(wrong.map(|f| (f.path.clone(), false)));
        let mut changed = false;
        for (path, misnamed) in strays {
            let header = claimed(self.storage, &path)?;
            let header = header.filter(|h| uuid.is_none_or(|uuid| uuid == h.uuid));
            let own = header.map(|h| h.first);
            let free = own.filter(|first| !listing.segments.contains_key(first));
            let (bad_file, detail) = if let Some(first) = free {
                self.begin()?;
                let name = segment_name(first);
                let own = self.dir.join(&name);
                self.storage
                    .rename(&path, &own)
                    .map_err(|e| Error::io(own.as_path(), "rename a misnamed segment to", e))?;
                create::sync_dir(self.storage, self.dir)?;
                listing.segments.insert(first, own);
                (
                    None,
                    format!("by its header it is {name}, and has that name now"),
                )
            } else if misnamed {
                self.begin()?;
                let bad = aside::keep_bad(self.storage, self.dir, &path)?;
                create::remove_if_there(self.storage, &path)?;
                create::sync_dir(self.storage, self.dir)?;
                (
                    Some(bad),
                    "its name is not that of a journal's file".to_owned(),
                )
            } else {
                // It is replaced when its turn comes.
                continue;
            };
            changed = true;
            self.report.damaged.push(Damage {
                file: path,
                bad_file,
                offset: 0,
                lost: None,
                revisions: None,
                exact: true,
                detail,
            });
        }
        if changed {
            listing = Listing::read_damaged(self.storage, self.dir)?;
            files = found::Found::all(self.storage, &listing)?;
        }
        Ok((files, listing))
    }
}

/// The header of a file, if it is sound, whatever the file is called.
fn claimed(storage: &dyn Storage, path: &Path) -> Result<Option<SegmentHeader>> {
    let Ok(file) = FileHandle::open(storage, path, Access::Read) else {
        return Ok(None);
    };
    let mut block = vec![0; SEGMENT_HEADER_BYTES];
    let (n, _) = file.read_around(&mut block, 0)?;
    Ok(SegmentHeader::decode(&block[..n]).ok())
}
