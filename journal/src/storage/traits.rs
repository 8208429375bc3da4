//! All that the journal asks of the world: files, directories, a lock, a clock and random numbers.
//!
//! Everything the journal promises rests on what these few calls promise, so they are a trait with
//! the promises in its words: [`Disk`](super::Disk) is the real implementation; with the feature
//! `faulty` there is a simulated one that breaks every promise that is not made here.

use std::{
    fmt, io,
    path::Path,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use crate::model::time::Timestamp;

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

/// What is written past the memory that caches a file begins and ends at multiples of this, in the
/// file and in memory: the block of common file systems, and a multiple of the sector of all disks.
pub const BLOCK_BYTES: usize = 4096;

/// One open file.
///
/// What may survive a crash: of every write and `set_len` since the last successful sync, any
/// subset of the 512-byte sectors. A sector is old or new, never mixed, and a write harms no sector
/// that it does not touch.
pub trait File: Send + Sync + fmt::Debug {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Length in bytes, if `path` still is a name of this file. `None`: the name is gone, or means
    /// another file by now.
    fn len_under(&self, path: &Path) -> io::Result<Option<u64>> {
        let _ = path;
        self.len().map(Some)
    }

    /// Reads up to `into.len()` bytes at `offset`; fewer only at the end of the file or if
    /// interrupted, 0 only at the end.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes up to `from.len()` bytes at `offset` and says how many. Says nothing about the disk.
    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<usize>;

    /// Like [`File::write_at`], past the memory that caches the file, where the storage can: for
    /// what nobody reads soon. Without effect on what is written, only on what it costs; address,
    /// offset and length are multiples of [`BLOCK_BYTES`].
    fn write_around(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        self.write_at(from, offset)
    }

    /// Like [`File::write_around`], and what it says to have written is on stable storage then.
    /// Only that: the kernel syncs the range or has the disk write it through, so what was written
    /// elsewhere in the file before takes a [`File::sync_data`].
    fn write_through(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        let n = self.write_around(from, offset)?;
        self.sync_data()?;
        Ok(n)
    }

    /// Cuts or extends (with zeros) the file.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Returns Ok only if every write to this file that had returned before is on stable storage,
    /// with as much metadata as reading it back needs. After an error nothing is known, and what
    /// reads return proves nothing.
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

    /// Gives a file another name, replacing what has that name, at once: at every moment the new
    /// name means the old file or the new one. In another directory of the same file system, too:
    /// the file is in one of the two at every moment and after every crash, and durably in the
    /// other once both are synced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name; an error if it is taken.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory. Not durable before the directory that it is in is synced.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

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

    /// How long ago something was, by a clock that only goes forward and that nobody sets. Between
    /// two calls in one process, as much as has passed.
    fn steady(&self) -> Duration {
        static BEGUN: OnceLock<Instant> = OnceLock::new();
        BEGUN.get_or_init(Instant::now).elapsed()
    }
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

/// A storage, shared.
pub type SharedStorage = Arc<dyn Storage>;
