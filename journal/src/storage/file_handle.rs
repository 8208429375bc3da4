//! An open file that knows its name.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    error::{Error, Result},
    storage::traits::{Access, File, Storage},
};

/// What a disk reads, or fails to, as a whole.
const SECTOR: u64 = 512;

/// Whether a read failed because of what is on the disk: the medium, or a checksum below us.
pub(crate) fn is_media_error(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let media = [
        Errno::IO,
        Errno::NODATA,
        Errno::BADMSG,
        Errno::UCLEAN,
        Errno::ILSEQ,
    ];
    let number = error.raw_os_error();
    media.iter().any(|e| number == Some(e.raw_os_error()))
}

/// An open file with its name, whose errors say what was tried where.
#[derive(Debug)]
pub(crate) struct FileHandle {
    pub(crate) path: Arc<PathBuf>,
    file: Box<dyn File>,
}

impl FileHandle {
    pub(crate) fn open(storage: &dyn Storage, path: &Path, access: Access) -> Result<Self> {
        let op = match access {
            Access::Read => "open for reading",
            Access::ReadWrite => "open for writing",
            Access::CreateNew => "create",
        };
        let file = storage
            .open(path, access)
            .map_err(|e| Error::io(path, op, e))?;
        Ok(Self {
            path: Arc::new(path.to_owned()),
            file,
        })
    }

    fn err(&self, op: &'static str) -> impl FnOnce(io::Error) -> Error + '_ {
        move |e| Error::io(self.path.as_path(), op, e)
    }

    pub(crate) fn len(&self) -> Result<u64> {
        self.file.len().map_err(self.err("tell the length"))
    }

    /// Length in bytes; `None`: its name is gone, or means another file by now.
    pub(crate) fn len_if_named(&self) -> Result<Option<u64>> {
        let length = self.file.len_under(&self.path);
        length.map_err(self.err("look at the name and length"))
    }

    /// Fills as much of `into` as the file has, and says how much.
    pub(crate) fn read_at(&self, into: &mut [u8], offset: u64) -> Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match self.file.read_at(&mut into[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.err("read")(e)),
            }
        }
        Ok(done)
    }

    /// Fills as much of `into` as the file has, with zeros in the place of sectors that cannot be
    /// read. Returns how much, and the offset of the first such sector.
    ///
    /// Asks for ever smaller parts around them, so that little is asked for twice: a disk may try
    /// for seconds before it gives up on one sector.
    pub(crate) fn read_around(&self, into: &mut [u8], offset: u64) -> Result<(usize, Option<u64>)> {
        match self.read_at(into, offset) {
            Ok(n) => return Ok((n, None)),
            Err(Error::Io { source, .. }) if is_media_error(&source) => {}
            Err(other) => return Err(other),
        }
        let end = self.len()?.min(offset + into.len() as u64);
        if end <= offset {
            return Ok((0, None));
        }
        let within = |at: u64| usize::try_from(at - offset).expect("inside the buffer");
        let half = (offset + end) / 2 / SECTOR * SECTOR;
        let middle = if half > offset {
            half
        } else {
            (offset / SECTOR + 1) * SECTOR
        };
        if middle >= end {
            into[..within(end)].fill(0);
            return Ok((within(end), Some(offset)));
        }
        let (left, right) = into[..within(end)].split_at_mut(within(middle));
        let (_, first) = self.read_around(left, offset)?;
        let (n, second) = self.read_around(right, middle)?;
        Ok((within(middle) + n, first.or(second)))
    }

    /// Writes all of `from`. A short write is carried on with: it is not a failure, the next call
    /// says whether there is one.
    pub(crate) fn write_at(&self, from: &[u8], offset: u64) -> Result<()> {
        let mut done = 0;
        while done < from.len() {
            match self.file.write_at(&from[done..], offset + done as u64) {
                Ok(0) => return Err(self.err("write")(io::ErrorKind::WriteZero.into())),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.err("write")(e)),
            }
        }
        Ok(())
    }

    /// Writes all of these blocks past the cache. What is left by a short write goes the usual way.
    pub(crate) fn write_around(&self, from: &[u8], offset: u64) -> Result<()> {
        match self.file.write_around(from, offset) {
            Ok(0) if !from.is_empty() => Err(self.err("write")(io::ErrorKind::WriteZero.into())),
            Ok(n) => self.write_at(&from[n..], offset + n as u64),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => self.write_at(from, offset),
            Err(e) => Err(self.err("write")(e)),
        }
    }

    /// Writes all of these blocks past the cache; they are on stable storage when this returns.
    pub(crate) fn write_through(&self, from: &[u8], offset: u64) -> Result<()> {
        let n = match self.file.write_through(from, offset) {
            Ok(0) if !from.is_empty() => {
                return Err(self.err("write")(io::ErrorKind::WriteZero.into()));
            }
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
            Err(e) => return Err(self.err("write and sync")(e)),
        };
        if n < from.len() {
            self.write_at(&from[n..], offset + n as u64)?;
            self.sync_data()?;
        }
        Ok(())
    }

    pub(crate) fn set_len(&self, length: u64) -> Result<()> {
        self.file
            .set_len(length)
            .map_err(self.err("set the length"))
    }

    pub(crate) fn sync_data(&self) -> Result<()> {
        self.file.sync_data().map_err(self.err("sync"))
    }

    pub(crate) fn sync_all(&self) -> Result<()> {
        self.file.sync_all().map_err(self.err("sync"))
    }

    pub(crate) fn renamed(&mut self, to: PathBuf) {
        self.path = Arc::new(to);
    }
}
