//! A segment's file, and the ways to walk over it.

use std::{path::Path, sync::Arc};

use crate::{
    error::{Error, Result},
    format::{layout::SegmentHeader, names::NEXT},
    model::ids::Sequence,
    segment::{
        scan::{self, Scan},
        window::Source,
    },
    storage::{
        file_handle::FileHandle,
        traits::{Access, Storage},
    },
};

/// Where a segment that has a successor ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) last: Sequence,
    pub(crate) digest: u32,
    pub(crate) end: u64,
    pub(crate) seal: Option<u64>,
}

/// A segment whose header is sound.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) file: Arc<FileHandle>,
    pub(crate) header: SegmentHeader,
}

impl Segment {
    pub(crate) fn open(storage: &dyn Storage, path: &Path, first: Sequence) -> Result<Self> {
        match Self::open_named(storage, path, first) {
            // A writer was stopped before it could give it this name, or is about to.
            Err(error) if error.is_not_found() => Self::open_unnamed(storage, path, first)
                // Or has given it the name meanwhile.
                .map_or_else(|| Self::open_named(storage, path, first), Ok),
            other => other,
        }
    }

    fn open_named(storage: &dyn Storage, path: &Path, first: Sequence) -> Result<Self> {
        let file = Arc::new(FileHandle::open(storage, path, Access::Read)?);
        let header = scan::read_header(&file, first)?;
        Ok(Self { file, header })
    }

    /// The file called [`NEXT`], if it is this segment.
    fn open_unnamed(storage: &dyn Storage, path: &Path, first: Sequence) -> Option<Self> {
        let mut file = FileHandle::open(storage, &path.with_file_name(NEXT), Access::Read).ok()?;
        let header = scan::read_header(&file, first).ok()?;
        file.renamed(path.to_owned());
        Some(Self {
            file: Arc::new(file),
            header,
        })
    }

    /// A walk that reads the file as it is at each moment, going past what the disk cannot read: it
    /// counts as zeros, and is noted.
    pub(crate) fn scan_patiently(&self) -> Scan {
        let source = Source::patient(self.file.clone());
        Scan::new(self.file.path.clone(), source, &self.header)
    }

    /// A walk over a segment that has a successor, whose extent is known and final.
    pub(crate) fn scan_whole(&self, extent: &Extent) -> Result<Scan> {
        self.has_length(extent)?;
        Ok(self.scan_patiently())
    }

    pub(crate) fn has_length(&self, extent: &Extent) -> Result<()> {
        let length = self.file.len()?;
        if length < extent.end {
            return Err(Error::Corrupt {
                path: self.file.path.to_path_buf(),
                offset: length,
                sequence: extent.last,
                revision: self.header.covered,
                detail: format!(
                    "the file has {length} bytes, its successor says that its records take {}",
                    extent.end
                ),
            });
        }
        Ok(())
    }
}
