//! All that the journal asks of the world: files, directories, a lock, a clock and random numbers.
//!
//! Everything the journal promises rests on what these few calls promise, so they are a trait with
//! the promises in its words: [`Disk`] is the real implementation; with the feature `faulty` there
//! is a simulated one that breaks every promise that is not made here.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{Error, Result, Timestamp};

mod disk;
#[cfg(feature = "faulty")]
pub mod simulated;

pub use disk::Disk;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// A new file, for reading and writing; an error if the name is taken.
    CreateNew,
}

/// What is written past the memory that caches a file begins and ends at multiples of this, in the file
/// and in memory: the block of common file systems, and a multiple of the sector of all disks.
pub const BLOCK_BYTES: usize = 4096;

/// One open file.
///
/// What may survive a crash: of every write and `set_len` since the last successful sync, any subset
/// of the 512-byte sectors. A sector is old or new, never mixed, and a write harms no sector
/// that it does not touch.
pub trait File: Send + Sync + fmt::Debug {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads up to `into.len()` bytes at `offset`; fewer only at the end of the file or if
    /// interrupted, 0 only at the end.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes up to `from.len()` bytes at `offset` and says how many. Says nothing about the disk.
    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<usize>;

    /// Like [`File::write_at`], past the memory that caches the file, where the storage can: for what
    /// nobody reads soon. Without effect on what is written, only on what it costs; address,
    /// offset and length are multiples of [`BLOCK_BYTES`].
    fn write_around(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        self.write_at(from, offset)
    }

    /// Like [`File::write_around`], and what it says to have written is on stable storage then. Only
    /// that: the kernel syncs the range or has the disk write it through, so what was written
    /// elsewhere in the file before takes a [`File::sync_data`].
    fn write_through(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        let n = self.write_around(from, offset)?;
        self.sync_data()?;
        Ok(n)
    }

    /// Cuts or extends (with zeros) the file.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Returns Ok only if every write to this file that had returned before is on stable
    /// storage, with as much metadata as reading it back needs. After an error nothing is known, and
    /// what reads return proves nothing.
    fn sync_data(&self) -> io::Result<()>;

    /// Like `sync_data`, with all metadata.
    fn sync_all(&self) -> io::Result<()>;
}

/// Files, directories, a lock, a clock and random numbers.
///
/// What may survive a crash: of the directory operations since the last successful `sync_dir`,
/// any subset, each whole.
pub trait Storage: Send + Sync + fmt::Debug {
    /// Creates the directory and its parents, durably, if it does not exist.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names in a directory, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Opens a file.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>>;

    /// Gives a file another name in the same directory, replacing what has that name, at once: at
    /// every moment the new name means the old file or the new one.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name; an error if it is taken.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Returns Ok only if all operations on names in this directory that had returned before are
    /// on stable storage.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the exclusive lock on this file, creating it if need be; `None`: another
    /// holder has it. The lock ends with the value returned, or with the process.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;

    /// 128 bits that no other call, in any process, has returned.
    fn random(&self) -> u128;

    /// Now.
    fn now(&self) -> Timestamp;
}

/// A lock that is held.
pub trait Lock: Send + Sync + fmt::Debug {
    /// Whether the name still means the file that is locked: somebody may have removed it, and then
    /// another process can lock a new one.
    fn is_held(&self) -> io::Result<bool> {
        Ok(true)
    }

    /// Leaves a note in the lock file for whoever finds it locked. Not durable.
    fn write_holder(&self, note: &str) -> io::Result<()>;
}

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

/// A storage, shared.
pub type SharedStorage = Arc<dyn Storage>;

/// An open file with its name, whose errors say what was tried where.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) path: Arc<PathBuf>,
    file: Box<dyn File>,
}

impl Named {
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

    /// The same, with zeros in the place of sectors that cannot be read, and the offset of the first.
    ///
    /// Asks for ever smaller parts around them, so that little is asked for twice: a disk may try for
    /// seconds before it gives up on one sector.
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
