//! A file read by moving a window over it: any offset can be looked at, in bounded memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Bytes that are read at once: large enough to stream.
const WINDOW_BYTES: usize = 256 << 10;

/// The bytes of a file, up to the length that it had when it was opened.
#[derive(Debug)]
pub(super) struct Window {
    file: File,
    length: u64,
    buffer: Vec<u8>,
    start: u64,
}

impl Window {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // A pipe would look like an empty file, and one without a writer would be waited for.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is no regular file, and must be readable at any offset: save it to one first",
            ));
        }
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self {
            file,
            length,
            buffer: Vec::new(),
            start: 0,
        })
    }

    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// The bytes at `offset`: `length` of them, or as many as there are.
    pub(super) fn get(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let rest = self.length.saturating_sub(offset);
        let length = usize::try_from(rest).map_or(length, |rest| length.min(rest));
        let end = offset + length as u64;
        if offset < self.start || end > self.start + self.buffer.len() as u64 {
            self.fill(offset, length.max(WINDOW_BYTES))?;
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        let from = from.min(self.buffer.len());
        let to = (from + length).min(self.buffer.len());
        Ok(&self.buffer[from..to])
    }

    fn fill(&mut self, offset: u64, want: usize) -> io::Result<()> {
        let rest = self.length.saturating_sub(offset);
        let want = usize::try_from(rest).map_or(want, |rest| want.min(rest));
        self.buffer.resize(want, 0);
        self.start = offset;
        let mut filled = 0;
        while filled < want {
            match self
                .file
                .read_at(&mut self.buffer[filled..], offset + filled as u64)
            {
                // Somebody has cut the file meanwhile: it ends here.
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.buffer.clear();
                    return Err(error);
                }
            }
        }
        self.buffer.truncate(filled);
        Ok(())
    }
}
