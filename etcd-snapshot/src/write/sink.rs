//! Pages on their way to the file: each gets the next number, and none is written twice but the
//! first two.
//!
//! After a failed write nothing more is written: what the file system kept is unknown.

use std::{
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::PathBuf,
};

use sha2::{Digest, Sha256};

use crate::{
    error::{Error, Result},
    format::{
        meta::{META_BYTES, Meta, NO_FREELIST},
        page::{PAGE_HEADER_BYTES, PageHeader},
        size::{DIGEST_BYTES, MAX_ELEMENTS, MAX_PAGE_BYTES},
    },
};

/// Bytes that are collected before a write.
const BUFFER_BYTES: usize = 256 << 10;
/// The pages 0 and 1 are written last: they say where the rest is.
const META_PAGES: usize = 2;

static ZEROS: [u8; MAX_PAGE_BYTES] = [0; MAX_PAGE_BYTES];

pub(crate) struct PageSink<F: Write> {
    file: BufWriter<F>,
    path: PathBuf,
    page_bytes: usize,
    next: u64,
    /// CRC-32C of everything behind the first two pages.
    checksum: u32,
    failed: bool,
}

/// How a sealed file ends.
pub(crate) struct Sealed {
    /// Bytes of the whole file.
    pub(crate) bytes: u64,
    /// Its last bytes: the sha256 of all others.
    pub(crate) sha256: [u8; DIGEST_BYTES],
}

impl<F: Read + Write + Seek> PageSink<F> {
    /// Room for the first two pages is left at the beginning of `file`.
    pub(crate) fn new(file: F, path: PathBuf, page_bytes: usize) -> Result<Self> {
        let mut sink = Self {
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            path,
            page_bytes,
            next: META_PAGES as u64,
            checksum: 0,
            failed: false,
        };
        for _ in 0..META_PAGES {
            sink.attempt("write", |file| file.write_all(&ZEROS[..page_bytes]))?;
        }
        Ok(sink)
    }

    pub(crate) fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// Writes a page of `count` elements, as many pages long as it takes, and says its number.
    pub(crate) fn page(
        &mut self,
        flags: u16,
        count: usize,
        elements: &[u8],
        data: &[u8],
    ) -> Result<u64> {
        debug_assert!(count <= MAX_ELEMENTS, "a page of that many bytes cannot");
        let id = self.next;
        let bytes = PAGE_HEADER_BYTES + elements.len() + data.len();
        let pages = bytes.div_ceil(self.page_bytes);
        let header = PageHeader {
            id,
            flags,
            // One page, or the one element that does not fit into one, at most 2 GiB.
            count: u16::try_from(count).unwrap_or(u16::MAX),
            overflow: u32::try_from(pages - 1).unwrap_or(u32::MAX),
        };
        for part in [&header.encode()[..], elements, data] {
            self.append(part)?;
        }
        self.append(&ZEROS[..pages * self.page_bytes - bytes])?;
        self.next += pages as u64;
        Ok(id)
    }

    /// Writes the first two pages, reads everything back, and closes the file with its sha256.
    pub(crate) fn seal(mut self, root: u64) -> Result<(F, Sealed)> {
        self.attempt("write", |file| file.seek(SeekFrom::Start(0)))?;
        for id in [0, 1] {
            let meta = Meta {
                page_bytes: self.page_bytes,
                root,
                freelist: NO_FREELIST,
                pages: self.next,
                transaction: id,
            };
            let rest = self.page_bytes - META_BYTES;
            self.attempt("write", |file| {
                file.write_all(&meta.encode(id))?;
                file.write_all(&ZEROS[..rest])
            })?;
        }
        self.attempt("write", |file| file.flush())?;
        let sha256 = self.read_back()?;
        self.attempt("write", |file| {
            file.write_all(&sha256)?;
            file.flush()
        })?;
        let bytes = self.next * self.page_bytes as u64 + DIGEST_BYTES as u64;
        let Self { file, path, .. } = self;
        let (file, buffered) = file.into_parts();
        match buffered {
            Ok(rest) if rest.is_empty() => Ok((file, Sealed { bytes, sha256 })),
            _ => Err(Error::Stopped { path }), // flushed above, so never
        }
    }

    /// The sha256 of what the file system gives back, which must be what was written.
    fn read_back(&mut self) -> Result<[u8; DIGEST_BYTES]> {
        self.attempt("read back", |file| file.seek(SeekFrom::Start(0)))?;
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut left = self.next * self.page_bytes as u64;
        let mut unsummed = META_PAGES * self.page_bytes;
        let (mut digest, mut checksum) = (Sha256::new(), 0);
        while left > 0 {
            let want = usize::try_from(left).map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
            let part = &mut buffer[..want];
            self.attempt("read back", |file| file.get_mut().read_exact(part))?;
            digest.update(&*part);
            let skip = unsummed.min(part.len());
            checksum = crc32c::crc32c_append(checksum, &part[skip..]);
            unsummed -= skip;
            left -= part.len() as u64;
        }
        if checksum != self.checksum {
            self.failed = true;
            return Err(Error::ReadBack {
                path: self.path.clone(),
            });
        }
        Ok(digest.finalize().into())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.checksum = crc32c::crc32c_append(self.checksum, bytes);
        self.attempt("write", |file| file.write_all(bytes))
    }

    fn attempt<T>(
        &mut self,
        op: &'static str,
        io: impl FnOnce(&mut BufWriter<F>) -> io::Result<T>,
    ) -> Result<T> {
        if self.failed {
            return Err(Error::Stopped {
                path: self.path.clone(),
            });
        }
        io(&mut self.file).map_err(|source| {
            self.failed = true;
            let written = self.next * self.page_bytes as u64;
            Error::io(&self.path, op, written, source)
        })
    }
}
