//! The bytes of one segment file, read by position into one window of memory.
//!
//! The file is never mapped: a page that the disk cannot read would end the process (SIGBUS), and
//! damage is what readers are there to tell of. They read patiently: what cannot be read counts as
//! zeros, which no checksum takes for a record, and is noted. The memory is an anonymous mapping:
//! it begins as zeros that cost nothing, is taken up only as far as the file has bytes, and where
//! there is none an error says so.

use std::{ops::Range, sync::Arc};

use memmap2::MmapMut;

use crate::{
    error::{Error, Result},
    storage::file_handle::FileHandle,
};

/// How much is read at first, and each time that the end of a live journal is looked at again; and
/// how much is looked at, at once, by those who look at every byte.
pub(crate) const LEAST_BYTES: usize = 64 << 10;

/// How much is read at once by those who go on and on. With values of 4 KiB a tenth less processor
/// time than with 256 KiB; with four times as much it was more again.
const MOST_BYTES: usize = 1 << 20;

/// How much is copied or compared at once.
pub(crate) const COPY_BYTES: usize = 1 << 20;

/// The bytes of one segment file, of which a part is at hand.
#[derive(Debug)]
pub(crate) struct Source {
    file: Arc<FileHandle>,
    memory: Option<MmapMut>,
    /// Which part of the file is at hand: from `start` on so many bytes, at the beginning of the
    /// memory.
    start: u64,
    filled: usize,
    /// How much was read at once the last time.
    step: usize,
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
            memory: None,
            start: 0,
            filled: 0,
            step: 0,
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
        let end = self.start + self.filled as u64;
        if offset < self.start || offset + length as u64 > end {
            self.fill(offset, length)?;
        }
        let from = usize::try_from(offset - self.start).expect("inside the window");
        let to = (from + length).min(self.filled);
        let memory = self.memory.as_deref().unwrap_or_default();
        Ok(&memory[from..to])
    }

    fn fill(&mut self, offset: u64, length: usize) -> Result<()> {
        let end = self.start + self.filled as u64;
        let goes_on = self.filled > 0 && (self.start..=end).contains(&offset);
        self.step = match goes_on {
            // The file had no more than this.
            true if self.filled < self.step => self.step,
            true => (self.step * 2).min(MOST_BYTES),
            false => LEAST_BYTES,
        };
        // Nothing is at hand until the read has succeeded.
        self.filled = 0;
        self.start = offset;
        let memory = room(&mut self.memory, length.max(self.step), &self.file)?;
        let (filled, unreadable) = if self.patient {
            self.file.read_around(memory, offset)?
        } else {
            (self.file.read_at(memory, offset)?, None)
        };
        self.filled = filled;
        self.unreadable = match (self.unreadable, unreadable) {
            (Some(known), Some(met)) => Some(known.min(met)),
            (known, met) => known.or(met),
        };
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
        self.filled = 0;
    }

    /// The first sector met so far that the disk could not read, by its offset in the file.
    pub(crate) fn unreadable(&self) -> Option<u64> {
        self.unreadable
    }
}

/// The first `length` bytes of the memory, which is made larger if need be. What was in it is lost
/// then.
fn room<'a>(
    memory: &'a mut Option<MmapMut>,
    length: usize,
    file: &FileHandle,
) -> Result<&'a mut [u8]> {
    if memory.as_ref().is_none_or(|memory| memory.len() < length) {
        // The old memory goes before the new is asked for.
        *memory = None;
        let new = MmapMut::map_anon(length);
        *memory = Some(new.map_err(|e| Error::io(file.path.as_path(), "map memory to read", e))?);
    }
    let memory = memory.as_deref_mut().unwrap_or_default();
    Ok(&mut memory[..length])
}

/// What to say of a sector that cannot be read.
pub(crate) fn unreadable_detail(offset: u64) -> String {
    format!("the disk cannot read the sector at offset {offset}")
}
