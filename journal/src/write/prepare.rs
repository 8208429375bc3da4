//! Works ahead of the writer and behind it, in the background: zeros behind the end of the current
//! segment, and the next segment's file complete, so that a commit finds blocks that are allocated
//! and written and costs the file system no metadata; and the directory synced after the writer has
//! gone on in that file.
//!
//! Preallocation is best effort; correctness never depends on it. If it is late or fails, the
//! writer writes into a growing file. It never touches a byte that the writer has written, nor a
//! segment that has a successor. It has a file handle of its own: the kernel reports a failed
//! write-back once to each, so the writer's next sync still learns of a failure that was seen here
//! first.
//!
//! What is done behind the writer is rested on, so its order is fixed: **a file is given the name
//! [`NEXT`] only after the directory was synced since the last one of that name was renamed.**
//! Until that sync the disk may know the segment by its old name only. A failed sync of the
//! directory stops the journal like any other.

use std::{
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::Thread,
};

use crate::{
    error::{Error, Result},
    format::{layout::SEAL_RESERVE_BYTES, names::NEXT},
    segment::create,
    storage::{
        file_handle::FileHandle,
        traits::{Access, SharedStorage},
        zeros::{STEP_BYTES, fill},
    },
};

/// How far ahead of the writer: what it writes in a few milliseconds at full speed.
const AHEAD_BYTES: u64 = 4 << 20;

/// From this size of a group on the data itself is the work. Zeros would only take bandwidth from
/// it.
const LARGE_BYTES: u64 = 512 << 10;

/// As good as filled: nothing is going to be.
const NEVER: u64 = u64::MAX;

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
    /// How long the current segment's file was seen to be. Nobody makes it shorter.
    length: AtomicU64,
    /// How many bytes a group has, averaged over the last few.
    typical: AtomicU64,
    current: Mutex<Current>,
    next: Mutex<Next>,
    /// The file that is being made ready, and up to where it is filled. Only the background is
    /// here.
    making: Mutex<Option<(FileHandle, u64)>>,
    /// The failure that the writer has still to be told of.
    failure: Mutex<Option<Error>>,
    failed: AtomicBool,
    /// No next segment could be made. Not tried again until one was begun without.
    no_next: AtomicBool,
    pub(crate) stop: AtomicBool,
    pub(crate) thread: Mutex<Option<Thread>>,
}

#[derive(Debug)]
struct Current {
    /// The handle of the background. `None`: there is nothing (more) to fill.
    file: Option<FileHandle>,
}

/// The next segment's file. One state under one lock: the background may make a file of this name
/// only while there is none. (A background that made one while the writer turned another into a
/// segment would have the writer go on in a file that nobody finds any more.)
#[derive(Debug)]
enum Next {
    None,
    /// And up to where it is filled.
    Ready(FileHandle, u64),
    /// The writer has it: from [`Prepare::take_next`] to [`Prepare::entered`].
    Taken,
    /// It was renamed, and the disk need not know yet.
    Renamed,
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
            length: AtomicU64::new(0),
            typical: AtomicU64::new(0),
            current: Mutex::new(Current { file: None }),
            next: Mutex::new(Next::None),
            making: Mutex::new(None),
            failure: Mutex::new(None),
            failed: AtomicBool::new(false),
            no_next: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            thread: Mutex::new(None),
        }
    }

    /// The writer goes on in another segment, of which so much is written and filled.
    pub(crate) fn enter(&self, written: u64, filled: u64) {
        let mut current = locked(&self.current);
        current.file = None;
        let filled = if filled < self.segment_bytes {
            filled
        } else {
            NEVER
        };
        self.filled.store(filled, Ordering::Release);
        self.written.store(written, Ordering::Release);
        self.length.store(0, Ordering::Release);
    }

    /// The segment has its name now.
    pub(crate) fn entered(&self, file: &FileHandle) {
        if self.filled.load(Ordering::Acquire) < self.segment_bytes {
            let mut current = locked(&self.current);
            current.file = FileHandle::open(&*self.storage, &file.path, Access::ReadWrite).ok();
            if current.file.is_none() {
                self.filled.store(NEVER, Ordering::Release);
            }
        }
        self.no_next.store(false, Ordering::Relaxed);
        let mut next = locked(&self.next);
        if matches!(*next, Next::Taken) {
            *next = Next::Renamed;
        }
    }

    /// What the background has failed in that the writer rests on: then it must not go on.
    pub(crate) fn check(&self) -> Result<()> {
        if self.failed.load(Ordering::Acquire)
            && let Some(error) = locked(&self.failure).clone()
        {
            return Err(error);
        }
        Ok(())
    }

    /// The writer is about to write up to `end`. Returns whether that is filled.
    pub(crate) fn before_write(&self, end: u64) -> bool {
        let is_filled = end <= self.filled.load(Ordering::Acquire);
        if !is_filled {
            // Waits for a step that may be under way in these very bytes.
            let _guard = locked(&self.current);
            self.filled.fetch_max(end, Ordering::AcqRel);
        }
        self.written.store(end, Ordering::Release);
        is_filled
    }

    /// The writer has written and synced so many bytes, and has seen the file to be so long; wakes
    /// the background if there is something to do.
    pub(crate) fn after_sync(&self, bytes: u64, length: u64) {
        self.length.fetch_max(length, Ordering::AcqRel);
        // Only the writer is here, so nothing is lost between the load and the store.
        let typical = (self.typical.load(Ordering::Relaxed) * 7 + bytes) / 8;
        self.typical.store(typical, Ordering::Relaxed);
        if (self.fill_due() || self.next_due() || self.name_due())
            && let Some(thread) = &*locked(&self.thread)
        {
            thread.unpark();
        }
    }

    /// The next segment's file, if it is ready. None is made until the writer has
    /// [entered](Self::entered) it. If it never does, it has failed, and the journal takes nothing
    /// any more.
    pub(crate) fn take_next(&self) -> Option<(FileHandle, u64)> {
        let mut next = locked(&self.next);
        match std::mem::replace(&mut *next, Next::Taken) {
            Next::Ready(file, filled) => Some((file, filled)),
            other => {
                *next = other;
                None
            }
        }
    }

    fn is_large(&self) -> bool {
        self.typical.load(Ordering::Relaxed) > LARGE_BYTES
    }

    fn fill_due(&self) -> bool {
        let written = self.written.load(Ordering::Acquire);
        let filled = self.filled.load(Ordering::Acquire);
        filled < self.segment_bytes && filled < written + AHEAD_BYTES / 2 && !self.is_large()
    }

    /// From the middle of a segment on: a journal that hardly grows needs none.
    fn next_due(&self) -> bool {
        self.written.load(Ordering::Acquire) > (self.segment_bytes - SEAL_RESERVE_BYTES) / 2
            && !self.no_next.load(Ordering::Relaxed)
            && matches!(*locked(&self.next), Next::None)
    }

    fn name_due(&self) -> bool {
        matches!(*locked(&self.next), Next::Renamed)
    }

    /// Does what there is to do now; of the next segment's file a step, so that the writer is not
    /// kept waiting for long: there are more groups in half a segment than steps.
    pub(crate) fn work(&self) {
        if self.name_due() && !self.make_name_durable() {
            return;
        }
        loop {
            if self.stop.load(Ordering::Relaxed) || !self.fill_step() {
                break;
            }
        }
        if self.next_due()
            && let Err(error) = self.make_next()
        {
            tracing::warn!(%error, "no segment is made ready");
            self.no_next.store(true, Ordering::Relaxed);
            // Most likely the disk is full: then the room is needed for records.
            *locked(&self.making) = None;
            let _ = create::remove_if_there(&*self.storage, &self.dir.join(NEXT));
        }
    }

    /// At an orderly end: leaves nothing to be done behind the writer.
    pub(crate) fn finish(&self) -> Result<()> {
        if self.name_due() {
            self.make_name_durable();
        }
        self.check()
    }

    /// Only from here on may another file be called [`NEXT`].
    fn make_name_durable(&self) -> bool {
        match create::sync_dir(&*self.storage, &self.dir) {
            Ok(()) => {
                *locked(&self.next) = Next::None;
                true
            }
            Err(error) => {
                *locked(&self.failure) = Some(error);
                self.failed.store(true, Ordering::Release);
                false
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
        if from >= to || from >= ahead || self.is_large() {
            return false;
        }
        let seen = self.length.load(Ordering::Acquire);
        let filled = file.len().and_then(|length| {
            // Somebody has cut it. Zeros would hide that from the writer, who looks at the length.
            if length < seen {
                let path = file.path.to_path_buf();
                let detail = format!("the segment was cut to {length} bytes, of {seen},");
                return Err(Error::SegmentLost { path, detail });
            }
            fill(file, from, to)
        });
        match filled {
            Ok(()) => {
                self.filled.store(to, Ordering::Release);
                self.length.fetch_max(to, Ordering::AcqRel);
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

    /// Goes on making the next segment's file, and hands it over once it is complete.
    fn make_next(&self) -> Result<()> {
        let mut making = locked(&self.making);
        let (file, from) = match making.take() {
            Some(begun) => begun,
            None => {
                let path = self.dir.join(NEXT);
                (create::create_anew(&*self.storage, &path)?, 0)
            }
        };
        let mut at = from;
        if !self.is_large() {
            // Never too slow: half a segment of groups like the last ones is enough for all of it.
            let step = STEP_BYTES.max(4 * self.typical.load(Ordering::Relaxed));
            at = (from + step).min(self.segment_bytes);
            fill(&file, from, at)?;
            if at < self.segment_bytes {
                *making = Some((file, at));
                return Ok(());
            }
        }
        file.sync_all()?;
        // Before the first record is in it: that one's sync is not one of the directory.
        create::sync_dir(&*self.storage, &self.dir)?;
        *locked(&self.next) = Next::Ready(file, at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt, sync::Arc};

    use super::*;
    use crate::storage::disk::Disk;

    /// The story: while the writer made a segment of the file, the background removed that name and
    /// made another. The writer went on acknowledging into a file that had no name any more.
    #[test]
    fn no_other_is_made_while_the_writer_has_one_in_hand() {
        let dir = tempfile::tempdir().unwrap();
        let segment_bytes = 4 * STEP_BYTES;
        let prepare = Prepare::new(Arc::new(Disk), dir.path().to_owned(), segment_bytes);
        prepare.before_write(segment_bytes / 2 + 1);
        let steps = segment_bytes / STEP_BYTES;
        (0..steps).for_each(|_| prepare.work());
        let (taken, _) = prepare.take_next().expect("it is due, and was made");
        let inode = || fs::metadata(&*taken.path).unwrap().ino();
        let before = inode();
        prepare.work();
        assert_eq!(
            inode(),
            before,
            "the writer's file is still the one of that name"
        );
        assert!(prepare.take_next().is_none());
        // Once the writer has entered it (here under its old name), the next one may be made.
        prepare.enter(segment_bytes / 2 + 1, segment_bytes);
        prepare.entered(&taken);
        (0..steps).for_each(|_| prepare.work());
        assert!(prepare.take_next().is_some());
    }
}
