//! The segment that is being read.

use std::path::PathBuf;

use crate::{
    error::{Error, Result},
    format::layout::RecordHeader,
    model::ids::Revision,
    segment::{
        open::{Extent, Segment},
        scan::{Passed, Scan},
    },
};

/// The segment that is being read, and how far.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) segment: Segment,
    pub(super) scan: Scan,
    pub(super) covered: Revision,
    /// Where the segment ends, and what comes then; known once there is a successor.
    pub(super) successor: Option<(Extent, PathBuf)>,
    /// Whether the scan began at the first record, so that the digest can be checked.
    pub(super) whole: bool,
    /// Whether everything behind the end was searched once.
    pub(super) searched: bool,
}

/// The record that a scan has just passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) header: RecordHeader,
    pub(super) offset: u64,
    /// The newest revision covered before it.
    pub(super) after: Revision,
}

impl Current {
    pub(super) fn corrupt(&self, detail: String) -> Error {
        Error::Corrupt {
            path: self.segment.file.path.to_path_buf(),
            offset: self.scan.offset,
            sequence: self.scan.expected,
            revision: self.covered,
            detail,
        }
    }

    /// What `show` makes of the record that was found.
    #[inline]
    pub(super) fn show<'a, T>(
        &'a mut self,
        found: Found,
        show: impl FnOnce(&Passed<'a>) -> Result<T, String>,
    ) -> Result<T> {
        let path = &self.segment.file.path;
        let passed = self.scan.passed(found.header, found.offset)?;
        show(&passed).map_err(|detail| Error::Corrupt {
            path: path.to_path_buf(),
            offset: found.offset,
            sequence: found.header.sequence,
            revision: found.after,
            detail,
        })
    }
}
