//! The bytes of one segment file, read by position into one buffer.
//!
//! Never mapped: a page that the disk cannot read would end the process (SIGBUS), and damage is
//! what readers are there to tell of. They read patiently: what cannot be read counts as zeros,
//! which no checksum takes for a record, and is noted.

use std::{ops::Range, sync::Arc};

use crate::{error::Result, storage::file_handle::FileHandle};

/// How much is read at once: large enough to stream, small enough to stay in a processor's cache,
/// and to be re-read when following a live tail.
pub(crate) const WINDOW_BYTES: usize = 256 << 10;

/// How much is copied or compared at once.
pub(crate) const COPY_BYTES: usize = 1 << 20;

/// The bytes of one segment file, of which a part is at hand.
#[derive(Debug)]
pub(crate) struct Source {
    file: Arc<FileHandle>,
    buffer: Vec<u8>,
    start: u64,
    /// Whether sectors that cannot be read are taken for zeros.
    patient: bool,
    /// The first of them that was met.
    unreadable: Option<u64>,
}

impl Source {
    /// Reads the file as it is at each moment; what cannot be read is an error.
    pub(crate) fn window(file: Arc<FileHandle>) -> Self {
        Self {
            file,
            buffer: Vec::new(),
            start: 0,
            patient: false,
            unreadable: None,
        }
    }

    /// Reads the file as it is at each moment; what cannot be read counts as zeros, and is noted in
    /// [`Source::unreadable`].
    pub(crate) fn patient(file: Arc<FileHandle>) -> Self {
        Self {
            patient: true,
            ..Self::window(file)
        }
    }

    /// The bytes at `offset`: `length` of them, or as many as there are.
    #[inline]
    pub(crate) fn get(&mut self, offset: u64, length: usize) -> Result<&[u8]> {
        let end = self.start + self.buffer.len() as u64;
        if offset < self.start || offset + length as u64 > end {
            self.fill(offset, length)?;
        }
        let from = usize::try_from(offset - self.start).expect("inside the buffer");
        let to = (from + length).min(self.buffer.len());
        Ok(&self.buffer[from..to])
    }

    fn fill(&mut self, offset: u64, length: usize) -> Result<()> {
        self.buffer.resize(length.max(WINDOW_BYTES), 0);
        let read = if self.patient {
            self.file.read_around(&mut self.buffer, offset)
        } else {
            let read = self.file.read_at(&mut self.buffer, offset);
            read.map(|n| (n, None))
        };
        let (n, unreadable) = read.inspect_err(|_| self.buffer.clear())?;
        self.unreadable = match (self.unreadable, unreadable) {
            (Some(known), Some(met)) => Some(known.min(met)),
            (known, met) => known.or(met),
        };
        self.buffer.truncate(n);
        self.start = offset;
        Ok(())
    }

    /// Writes what is in `range` into `to`, from `at` on. How much of it there was.
    pub(crate) fn copy(&mut self, range: Range<u64>, to: &FileHandle, at: u64) -> Result<u64> {
        let length = range.end.saturating_sub(range.start);
        let mut done = 0;
        while done < length {
            let want = usize::try_from((length - done).min(COPY_BYTES as u64)).expect("bounded");
            let chunk = self.get(range.start + done, want)?;
            if chunk.is_empty() {
                break;
            }
            to.write_at(chunk, at + done)?;
            done += chunk.len() as u64;
        }
        Ok(done)
    }

    /// Forgets what was read, so that the next look is at the file as it is then.
    pub(crate) fn refresh(&mut self) {
        self.buffer.clear();
    }

    /// The first sector met so far that the disk could not read, by its offset in the file.
    pub(crate) fn unreadable(&self) -> Option<u64> {
        self.unreadable
    }
}

/// What to say of a sector that cannot be read.
pub(crate) fn unreadable_detail(offset: u64) -> String {
    format!("the disk cannot read the sector at offset {offset}")
}
