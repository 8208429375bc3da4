//! Pages out of a snapshot: checked headers, and bytes through one buffer.

use std::{fmt::Display, sync::Arc};

use super::source::Source;
use crate::{
    error::{Error, Result},
    format::page::{PAGE_HEADER_BYTES, PageHeader},
};

/// Bytes that are read at once where one read follows the other.
const AHEAD_BYTES: u64 = 128 << 10;

/// The file as pages: the facts that every reader of it shares.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) source: Source,
    pub(crate) page_bytes: u64,
    /// How many there are, the first two included.
    pub(crate) count: u64,
    /// No value is longer, in bytes.
    pub(crate) max_entry_bytes: u64,
}

/// One page, or several in a row that are one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageRun {
    /// The number of the first.
    pub(crate) page: u64,
    /// Its place in the file.
    pub(crate) offset: u64,
    /// Bytes of all of them.
    pub(crate) bytes: u64,
    pub(crate) flags: u16,
    pub(crate) count: usize,
}

impl Pages {
    pub(crate) fn damaged(&self, page: u64, offset: u64, detail: impl Display) -> Error {
        Error::Damaged {
            path: self.source.path.clone(),
            page,
            offset,
            detail: detail.to_string(),
        }
    }

    /// The page to which something at `from` (a page, an offset) leads.
    pub(crate) fn run(&self, page: u64, from: (u64, u64)) -> Result<PageRun> {
        if page < 2 || page >= self.count {
            let detail = format!("leads to page {page}, of pages 2 to {}", self.count - 1);
            return Err(self.damaged(from.0, from.1, detail));
        }
        let offset = page * self.page_bytes;
        let mut bytes = [0; PAGE_HEADER_BYTES];
        self.source.read(&mut bytes, offset)?;
        let header = PageHeader::decode(&bytes);
        if header.id != page {
            let detail = format!("the page calls itself {}", header.id);
            return Err(self.damaged(page, offset, detail));
        }
        let pages = u64::from(header.overflow) + 1;
        if pages > self.count - page {
            let detail = format!("{pages} pages in a row end behind page {}", self.count - 1);
            return Err(self.damaged(page, offset, detail));
        }
        Ok(PageRun {
            page,
            offset,
            bytes: pages * self.page_bytes,
            flags: header.flags,
            count: usize::from(header.count),
        })
    }
}

/// Bytes of the file through a buffer, which reads ahead as long as that is of use.
#[derive(Debug)]
pub(crate) struct Pager {
    pages: Arc<Pages>,
    buffer: Vec<u8>,
    begin: u64,
}

impl Pager {
    pub(crate) fn new(pages: Arc<Pages>) -> Self {
        Self {
            pages,
            buffer: Vec::new(),
            begin: 0,
        }
    }

    /// The bytes at an offset. The caller has checked that pages are there, and bounded the length.
    pub(crate) fn bytes(&mut self, offset: u64, length: usize) -> Result<&[u8]> {
        let end = self.begin + self.buffer.len() as u64;
        let wanted_end = offset + length as u64;
        if offset < self.begin || wanted_end > end {
            let follows = (self.begin..=end).contains(&offset);
            let ahead = if follows {
                AHEAD_BYTES
            } else {
                self.pages.page_bytes
            };
            let file_end = self.pages.count * self.pages.page_bytes;
            let read_end = wanted_end.max((offset + ahead).min(file_end));
            // No longer than the caller's bound, or the read-ahead.
            let bytes = usize::try_from(read_end - offset).unwrap_or(usize::MAX);
            self.buffer.clear();
            self.buffer.resize(bytes, 0);
            if let Err(error) = self.pages.source.read(&mut self.buffer, offset) {
                self.buffer.clear();
                return Err(error);
            }
            self.begin = offset;
        }
        // Within the buffer, which is as long as a usize can say.
        let begin = usize::try_from(offset - self.begin).unwrap_or(usize::MAX);
        Ok(&self.buffer[begin..begin + length])
    }
}
