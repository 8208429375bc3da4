//! Makes room ahead of the writer, in the background: zeros behind the end of the current segment, and
//! the next segment's file complete, so that a commit finds blocks that are allocated and written and
//! costs the file system no metadata.
//!
//! Nothing rests on this. If it is late or fails, the writer writes into a growing file. It never
//! touches a byte that the writer has written, nor a segment that has a successor. It has a file
//! handle of its own: the kernel reports a failed write-back once to each, so the writer's next sync
//! still learns of a failure that was seen here first.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{JoinHandle, Thread},
};

use crate::{
    Result,
    directory::SPARE,
    segment,
    storage::{Access, Named, SharedStorage},
};

/// Written at once: small, as a sync of the same file has to wait for it.
const STEP_BYTES: u64 = 256 << 10;
/// How far ahead of the writer: what it writes in a few milliseconds at full speed.
const AHEAD_BYTES: u64 = 4 << 20;

/// From this size of a group on the data itself is the work. Zeros would only take bandwidth from it.
const LARGE_BYTES: u64 = 128 << 10;

/// As good as filled: nothing is going to be.
const NEVER: u64 = u64::MAX;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Writes zeros over `from..to`.
pub(crate) fn fill(file: &Named, from: u64, to: u64) -> Result<()> {
    let mut at = from;
    while at < to {
        let n = usize::try_from((to - at).min(ZEROS.len() as u64)).expect("bounded");
        file.write_at(&ZEROS[..n], at)?;
        at += n as u64;
    }
    Ok(())
}

/// How much is filled before a journal is opened for use.
pub(crate) fn first_fill(segment_bytes: u64) -> u64 {
    STEP_BYTES.min(segment_bytes)
}

/// Shared by the writer and the background.
#[derive(Debug)]
pub(crate) struct Prepare {
    storage: SharedStorage,
    dir: PathBuf,
    segment_bytes: u64,
    /// Up to where the current segment is filled. Grows only under `current`'s lock.
    filled: AtomicU64,
    /// Up to where it is written.
    written: AtomicU64,
    /// How many bytes a group has, averaged over the last few.
    typical: AtomicU64,
    current: Mutex<Current>,
    spare: Mutex<Spare>,
    /// Not tried again until the next segment.
    spare_failed: AtomicBool,
    stop: AtomicBool,
    thread: Mutex<Option<Thread>>,
}

#[derive(Debug)]
struct Current {
    /// The handle of the background. `None`: there is nothing (more) to fill.
    file: Option<Named>,
}

/// The next segment's file. One state under one lock: the background may make a file of this name only
/// while there is none, neither waiting here nor in the writer's hands. (While the writer turns it
/// into a segment it still has the spare's name, until it is renamed. A background that made another
/// under that name would have the writer go on in a file that nobody finds any more.)
#[derive(Debug)]
enum Spare {
    None,
    Ready(Named),
    /// From [`Prepare::take_spare`] to [`Prepare::entered`].
    Taken,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Prepare {
    pub(crate) fn new(storage: SharedStorage, dir: PathBuf, segment_bytes: u64) -> Self {
        Self {
            storage,
            dir,
            segment_bytes,
            filled: AtomicU64::new(0),
            written: AtomicU64::new(0),
            typical: AtomicU64::new(0),
            current: Mutex::new(Current { file: None }),
            spare: Mutex::new(Spare::None),
            spare_failed: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            thread: Mutex::new(None),
        }
    }

    /// The writer goes on in another segment, of which `filled` bytes are filled.
    pub(crate) fn entered(&self, file: &Named, written: u64, filled: u64) {
        let mut current = locked(&self.current);
        current.file = (filled < self.segment_bytes)
            .then(|| Named::open(&*self.storage, &file.path, Access::ReadWrite).ok())
            .flatten();
        let filled = if current.file.is_some() {
            filled
        } else {
            NEVER
        };
        self.filled.store(filled, Ordering::Release);
        self.written.store(written, Ordering::Release);
        self.spare_failed.store(false, Ordering::Relaxed);
        let mut spare = locked(&self.spare);
        if matches!(*spare, Spare::Taken) {
            *spare = Spare::None;
        }
    }

    /// The writer is about to write up to `end`.
    pub(crate) fn before_write(&self, end: u64) {
        if end > self.filled.load(Ordering::Acquire) {
            // Waits for a step that may be under way in these very bytes.
            let _guard = locked(&self.current);
            self.filled.fetch_max(end, Ordering::AcqRel);
        }
        self.written.store(end, Ordering::Release);
    }

    /// The writer has written and synced so many bytes; wakes the background if there is something
    /// to do.
    pub(crate) fn after_sync(&self, bytes: u64) {
        // Only the writer is here, so nothing is lost between the load and the store.
        let typical = (self.typical.load(Ordering::Relaxed) * 7 + bytes) / 8;
        self.typical.store(typical, Ordering::Relaxed);
        if typical > LARGE_BYTES {
            return;
        }
        if (self.fill_due() || self.spare_due())
            && let Some(thread) = &*locked(&self.thread)
        {
            thread.unpark();
        }
    }

    /// The spare, if it is ready. None is made until the writer has [entered](Self::entered) it. If
    /// it never does, it has failed, and the journal takes nothing any more.
    pub(crate) fn take_spare(&self) -> Option<Named> {
        let mut spare = locked(&self.spare);
        match std::mem::replace(&mut *spare, Spare::Taken) {
            Spare::Ready(file) => Some(file),
            other => {
                *spare = other;
                None
            }
        }
    }

    fn fill_due(&self) -> bool {
        let written = self.written.load(Ordering::Acquire);
        let filled = self.filled.load(Ordering::Acquire);
        filled < self.segment_bytes && filled < written + AHEAD_BYTES / 2
    }

    /// From the middle of a segment on: a journal that hardly grows needs no spare.
    fn spare_due(&self) -> bool {
        self.written.load(Ordering::Acquire) > self.segment_bytes / 2
            && !self.spare_failed.load(Ordering::Relaxed)
            && matches!(*locked(&self.spare), Spare::None)
    }

    /// Does all that there is to do now.
    pub(crate) fn work(&self) {
        loop {
            if self.stop.load(Ordering::Relaxed) || !self.fill_step() {
                break;
            }
        }
        if self.spare_due() {
            match self.make_spare() {
                Ok(None) => {}
                Ok(Some(file)) => *locked(&self.spare) = Spare::Ready(file),
                Err(error) => {
                    tracing::warn!(%error, "no segment is prepared");
                    self.spare_failed.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// Fills one step; whether there may be more to fill.
    fn fill_step(&self) -> bool {
        let mut current = locked(&self.current);
        let Some(file) = &current.file else {
            return false;
        };
        let from = self.filled.load(Ordering::Acquire);
        let ahead = self.written.load(Ordering::Acquire) + AHEAD_BYTES;
        let to = (from + STEP_BYTES).min(self.segment_bytes);
        if from >= to || from >= ahead {
            return false;
        }
        match fill(file, from, to) {
            Ok(()) => {
                self.filled.store(to, Ordering::Release);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the segment is not filled ahead");
                current.file = None;
                self.filled.store(NEVER, Ordering::Release);
                false
            }
        }
    }

    fn make_spare(&self) -> Result<Option<Named>> {
        let file = segment::create_temporary(&*self.storage, &self.dir.join(SPARE))?;
        let mut at = 0;
        while at < self.segment_bytes {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let to = (at + 4 * STEP_BYTES).min(self.segment_bytes);
            let step = fill(&file, at, to).and_then(|()| file.sync_data());
            if let Err(error) = step {
                // Most likely the disk is full: then the room is needed for records.
                let _ = segment::remove_if_there(&*self.storage, &file.path);
                return Err(error);
            }
            at = to;
        }
        Ok(Some(file))
    }
}

/// The background thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Preparer {
    prepare: Arc<Prepare>,
    thread: Option<JoinHandle<()>>,
}

impl Preparer {
    pub(crate) fn start(prepare: Arc<Prepare>) -> Self {
        let work = prepare.clone();
        let thread = std::thread::Builder::new()
            .name("journal-prepare".to_owned())
            .spawn(move || {
                while !work.stop.load(Ordering::Relaxed) {
                    work.work();
                    std::thread::park();
                }
            })
            .inspect_err(|error| tracing::warn!(%error, "nothing is prepared ahead"))
            .ok();
        *locked(&prepare.thread) = thread.as_ref().map(|t| t.thread().clone());
        Self { prepare, thread }
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.prepare.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt};

    use super::*;
    use crate::storage::Disk;

    /// The story: while the writer made a segment of the spare, the background removed that name and
    /// made another. The writer went on acknowledging into a file that had no name any more.
    #[test]
    fn no_spare_is_made_while_the_writer_has_one_in_hand() {
        let dir = tempfile::tempdir().unwrap();
        let segment_bytes = 4 * STEP_BYTES;
        let prepare = Prepare::new(Arc::new(Disk), dir.path().to_owned(), segment_bytes);
        prepare.before_write(segment_bytes / 2 + 1);
        prepare.work();
        let spare = prepare.take_spare().expect("it is due, and was made");
        let inode = || fs::metadata(&*spare.path).unwrap().ino();
        let before = inode();
        prepare.work();
        assert_eq!(
            inode(),
            before,
            "the writer's file is still the one of that name"
        );
        assert!(prepare.take_spare().is_none());
        // Once the writer has entered it (here under its old name), the next one may be made.
        prepare.entered(&spare, segment_bytes / 2 + 1, segment_bytes);
        prepare.work();
        assert!(prepare.take_spare().is_some());
    }
}
