//! The real file system, through the calls that its promises are made for.
//!
//! Never retries a failed sync: after one, the kernel may have dropped the data and
//! would report success.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, FileTypeExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::{
    model::time::Timestamp,
    storage::{
        found::Found,
        traits::{Access, File, Lock, Storage},
    },
};

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

#[derive(Debug)]
struct DiskFile {
    file: fs::File,
    /// Device and number of the file.
    id: OnceLock<(u64, u64)>,
    /// A second handle of the file for writing past the page cache; `None`: that cannot be done
    /// here.
    around: OnceLock<Option<fs::File>>,
}

impl DiskFile {
    #[cfg(target_os = "linux")]
    fn around(&self) -> Option<&fs::File> {
        let open = || {
            use std::os::fd::AsRawFd as _;
            // By its descriptor: it may have been renamed.
            let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            let direct = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).ok()?;
            let mut options = OpenOptions::new();
            options.write(true).custom_flags(direct).open(path).ok()
        };
        self.around.get_or_init(open).as_ref()
    }

    #[cfg(not(target_os = "linux"))]
    fn around(&self) -> Option<&fs::File> {
        self.around.get_or_init(|| None).as_ref()
    }
}

/// Not every file system can write past the page cache, or with this alignment; some say so only
/// now.
fn cannot(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}

impl File for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(Found::of(&self.file)?.length)
    }

    fn len_under(&self, path: &Path) -> io::Result<Option<u64>> {
        let id = match self.id.get() {
            Some(id) => *id,
            None => {
                let id = Found::of(&self.file)?.id;
                *self.id.get_or_init(|| id)
            }
        };
        let found = Found::at(path)?.filter(|found| found.id == id);
        Ok(found.map(|found| found.length))
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(into, offset)
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(from, offset)
    }

    fn write_around(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        match self.around().map(|file| file.write_at(from, offset)) {
            None => self.write_at(from, offset),
            Some(Err(e)) if cannot(&e) => self.write_at(from, offset),
            Some(other) => other,
        }
    }

    #[cfg(target_os = "linux")]
    fn write_through(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        if let Some(file) = self.around() {
            let parts = [io::IoSlice::new(from)];
            let dsync = rustix::io::ReadWriteFlags::DSYNC;
            match rustix::io::pwritev2(file, &parts, offset, dsync).map_err(io::Error::from) {
                Err(e) if cannot(&e) => {}
                other => return other,
            }
        }
        let n = self.write_at(from, offset)?;
        self.sync_data()?;
        Ok(n)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.file)?)
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.file)?)
    }
}

#[derive(Debug)]
struct DiskLock {
    file: fs::File,
    path: PathBuf,
    /// Device and number of the file.
    id: (u64, u64),
}

impl Lock for DiskLock {
    fn is_held(&self) -> io::Result<bool> {
        let found = Found::at(&self.path)?;
        Ok(found.is_some_and(|found| found.id == self.id))
    }

    fn write_holder(&self, note: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.write_all_at(note.as_bytes(), 0)?;
        (&self.file).flush()
    }
}

/// Refuses a name that has something else than a file, before it is opened: opening a FIFO would
/// wait for its other end for ever.
fn require_file(path: &Path) -> io::Result<()> {
    let kind = match fs::metadata(path) {
        Ok(found) => found.file_type(),
        // Opening says so, or makes it.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    let what = if kind.is_file() {
        return Ok(());
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("it is {what}, not a file; move it out of the journal's directory"),
    ))
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

impl Storage for Disk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut missing: Vec<PathBuf> = Vec::new();
        let mut at = dir;
        while !at.as_os_str().is_empty() && !at.exists() {
            missing.push(at.to_owned());
            match at.parent() {
                Some(parent) => at = parent,
                None => break,
            }
        }
        if missing.is_empty() {
            // It may have been made a moment ago, by a process that was killed before its sync.
            match self.sync_dir(parent_of(dir)) {
                // Then it is not ours to make, either.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
                other => other?,
            }
        }
        for path in missing.iter().rev() {
            match fs::create_dir(path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
            self.sync_dir(parent_of(path))?;
        }
        if dir.is_dir() {
            Ok(())
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // A name that is not UTF-8 is none of ours; that there is one still matters.
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        // What is to be made is never opened if it is there already.
        if access != Access::CreateNew {
            require_file(path)?;
        }
        let mut options = OpenOptions::new();
        options.read(true).mode(0o640);
        match access {
            Access::Read => {}
            Access::ReadWrite => {
                options.write(true);
            }
            Access::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        Ok(Box::new(DiskFile {
            file: options.open(path)?,
            id: OnceLock::new(),
            around: OnceLock::new(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Ok(rustix::fs::fsync(fs::File::open(dir)?)?)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        require_file(path)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(path)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                let lock = DiskLock {
                    id: Found::of(&file)?.id,
                    file,
                    path: path.to_owned(),
                };
                // Another holder may have removed the name between the two calls.
                Ok(lock.is_held()?.then(|| Box::new(lock) as Box<dyn Lock>))
            }
            Err(e) if e == rustix::io::Errno::WOULDBLOCK => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn random(&self) -> u128 {
        uuid::Uuid::new_v4().as_u128()
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::{os::unix::net::UnixListener, sync::mpsc, thread, time::Duration};

    /// The story: a FIFO in place of a segment held whoever opened the journal for ever.
    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let [fifo, directory, socket] = ["fifo", "directory", "socket"].map(|n| dir.path().join(n));
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        fs::create_dir(&directory).unwrap();
        let _listener = UnixListener::bind(&socket).unwrap();
        for (path, what) in [(fifo, "FIFO"), (directory, "directory"), (socket, "socket")] {
            let (done, answer) = mpsc::channel();
            thread::spawn(move || {
                let opened = |access| Disk.open(&path, access).map(drop);
                let errors = [
                    opened(Access::Read),
                    opened(Access::ReadWrite),
                    Disk.lock(&path).map(drop),
                ];
                let _ = done.send((errors, opened(Access::CreateNew)));
            });
            let answer = answer.recv_timeout(Duration::from_secs(60));
            let (errors, created) = answer.expect("an answer, not a wait");
            for error in errors {
                let error = error.unwrap_err().to_string();
                assert!(error.contains(what), "{error}");
            }
            assert_eq!(created.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
    }
}
