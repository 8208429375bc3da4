//! Group commit: callers queue records and wait; whoever finds the disk free writes everything
//! queued.
//!
//! Promises: a sequence is reported durable only after a sync that covers it has returned without
//! error. After the first failed write or sync nothing is written any more and every caller gets
//! that failure. There is no timer between a caller and the disk: what queued up during the last
//! sync is the next group.
//!
//! Who wakes whom: a leader that is done wakes, at once, all whose records it has made durable.
//! They look at one atomic number and go: they need no lock to learn that they are done. Then it
//! wakes one of those who wait for the group that has queued up meanwhile, its *next leader*, to
//! lead that.

use std::{
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use uuid::Uuid;

use crate::{
    error::{Error, Result},
    format::{
        layout::record_length, names::LOCK, payload::Payload, position::TimelineTag,
        table::MAX_ATTRIBUTES_BYTES,
    },
    model::{
        entry::{Entry, Gap, NewRecord, Timeline},
        ids::{Revision, Sequence},
    },
    options::Options,
    storage::traits::{Lock, SharedStorage},
    write::{
        pending::{COVERED, Pending, Taken, Wait},
        prepare::Prepare,
    },
};

/// Longest name of a timeline, in bytes: a segment's header must hold two.
const MAX_TIMELINE_ID_BYTES: usize = 512;

/// What is already more than this is not waited for to become more.
const GATHER_BYTES: usize = 512 << 10;
/// No gathering is worth more than this, however slow the disk is.
const MOST_PATIENCE: Duration = Duration::from_micros(500);

/// Where a journal ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct End {
    /// The sequence that the next record will get at the earliest (a seal may come first).
    pub next_sequence: Sequence,
    /// The newest sequence known to be durable.
    pub durable: Sequence,
    /// The newest revision covered, once everything appended so far is durable.
    pub revision: Revision,
    /// The timeline in force.
    pub timeline: Option<Timeline>,
    /// The gap whose snapshot diff is not complete, or (with [`crate::GapReason::Damage`]) the
    /// revisions that damage has cost and that no gap closed since has made good.
    pub open_gap: Option<Gap>,
}

/// What callers and the background share.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) dir: PathBuf,
    pub(crate) uuid: Uuid,
    pub(crate) options: Options,
    pub(crate) storage: SharedStorage,
    pending: Mutex<Pending>,
    /// The newest durable sequence. Only leaders change it.
    durable: AtomicU64,
    /// How many records are queued, for a leader who waits for more.
    queued: AtomicUsize,
    /// Where callers wait who found the queue full, and how many do.
    room: Condvar,
    wanting_room: AtomicUsize,
    syncs: Arc<AtomicU64>,
    /// How many bytes of records were appended.
    appended: AtomicU64,
    /// From this size on a group is written past the page cache.
    uncached_bytes: AtomicUsize,
    pub(crate) prepare: Option<Arc<Prepare>>,
    // Last, so that it is released last.
    lock: Mutex<Option<Box<dyn Lock>>>,
}

impl Writer {
    #[allow(clippy::too_many_arguments)] // Each is a part of what an opening has found.
    pub(crate) fn new(
        dir: PathBuf,
        uuid: Uuid,
        options: Options,
        storage: SharedStorage,
        pending: Pending,
        durable: Sequence,
        syncs: Arc<AtomicU64>,
        prepare: Option<Arc<Prepare>>,
        lock: Box<dyn Lock>,
    ) -> Self {
        let uncached_bytes = AtomicUsize::new(options.uncached_bytes);
        Self {
            dir,
            uuid,
            options,
            storage,
            pending: Mutex::new(pending),
            durable: AtomicU64::new(durable.0),
            queued: AtomicUsize::new(0),
            room: Condvar::new(),
            wanting_room: AtomicUsize::new(0),
            syncs,
            appended: AtomicU64::new(0),
            uncached_bytes,
            prepare,
            lock: Mutex::new(Some(lock)),
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        // A panic with this locked is one of our own assertions; what it leaves is poisoned
        // or complete, never half-changed in what durability rests on.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn durable(&self) -> Sequence {
        Sequence(self.durable.load(Ordering::Acquire))
    }

    pub(crate) fn append(&self, record: &NewRecord) -> Result<Sequence> {
        self.queue(record).map(|(_, sequence)| sequence)
    }

    pub(crate) fn commit(&self, sequence: Sequence) -> Result<Sequence> {
        let durable = self.durable();
        if durable >= sequence {
            return Ok(durable);
        }
        self.wait(self.pending(), sequence)
    }

    pub(crate) fn append_and_commit(&self, record: &NewRecord) -> Result<Sequence> {
        let (pending, sequence) = self.queue(record)?;
        self.wait(pending, sequence)?;
        Ok(sequence)
    }

    pub(crate) fn enter_unnamed(&self, timeline: TimelineTag) {
        self.pending().tracker.enter_unnamed(timeline);
    }

    pub(crate) fn end(&self) -> End {
        let pending = self.pending();
        End {
            next_sequence: pending.next,
            durable: self.durable(),
            revision: pending.tracker.covered,
            timeline: pending.tracker.timeline.clone(),
            open_gap: pending.tracker.open_gap,
        }
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    pub(crate) fn appended_bytes(&self) -> u64 {
        self.appended.load(Ordering::Relaxed)
    }

    pub(crate) fn set_uncached_bytes(&self, bytes: usize) {
        self.uncached_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn unlock(&self) {
        let lock = self.lock.lock();
        lock.unwrap_or_else(PoisonError::into_inner).take();
    }

    fn queue(&self, record: &NewRecord) -> Result<(MutexGuard<'_, Pending>, Sequence)> {
        check(record)?;
        let payload = Payload::new(&record.entry);
        let bytes = self.payload_bytes(&payload)?;
        let length = usize::try_from(record_length(bytes)).expect("bounded by an option");

        let mut pending = self.pending();
        loop {
            pending.check(self.durable())?;
            let queue = &pending.queue;
            if queue.is_empty() || queue.len() + length <= self.options.max_queued_bytes {
                break;
            }
            if pending.is_free() {
                self.lead(pending);
                pending = self.pending();
            } else {
                self.wanting_room.fetch_add(1, Ordering::Relaxed);
                let woken = self.room.wait(pending);
                self.wanting_room.fetch_sub(1, Ordering::Relaxed);
                pending = woken.unwrap_or_else(PoisonError::into_inner);
            }
        }
        pending.check_revision(record)?;
        let sequence = pending.push(record, &payload, bytes);
        self.appended.fetch_add(length as u64, Ordering::Relaxed);
        self.queued
            .store(pending.queue.items.len(), Ordering::Relaxed);
        Ok((pending, sequence))
    }

    fn payload_bytes(&self, payload: &Payload<'_>) -> Result<u32> {
        let limit = self.options.max_payload_bytes;
        u32::try_from(payload.len())
            .ok()
            .filter(|n| *n <= limit)
            .ok_or(Error::TooLarge {
                size: payload.len() as u64,
                limit: u64::from(limit),
                option: "max_payload_bytes",
            })
    }

    /// Until the sequence is durable.
    fn wait<'a>(
        &'a self,
        mut pending: MutexGuard<'a, Pending>,
        sequence: Sequence,
    ) -> Result<Sequence> {
        if sequence >= pending.next {
            return Err(Error::NotAppended {
                sequence,
                next: pending.next,
            });
        }
        loop {
            let durable = self.durable();
            if durable >= sequence {
                return Ok(durable);
            }
            pending.check(durable)?;
            match pending.wait_for(sequence) {
                Wait::Lead => self.lead(pending),
                Wait::AsNextLeader => {
                    drop(pending);
                    std::thread::park();
                }
                Wait::For(group) => {
                    drop(pending);
                    group.0.wait();
                }
            }
            let durable = self.durable();
            if durable >= sequence {
                return Ok(durable);
            }
            pending = self.pending();
        }
    }

    /// Lets those who were released by the last group queue up again before this one is taken, so
    /// that a few busy writers form one group and not two that take turns.
    ///
    /// Not a timer: it ends as soon as as many records are there as there were in the last group
    /// and behind it, which a single writer is by itself. Where that was too much to expect it
    /// gives up after a fraction of what the last group took, and the next time expects less.
    fn gather<'a>(&'a self, pending: MutexGuard<'a, Pending>) -> MutexGuard<'a, Pending> {
        let expected = pending.expected;
        // Large records are better copied by their writers while the disk works.
        if pending.queue.items.len() >= expected || pending.queue.len() > GATHER_BYTES {
            return pending;
        }
        let patience = (pending.took / 4).min(MOST_PATIENCE);
        drop(pending);
        let start = Instant::now();
        while self.queued.load(Ordering::Relaxed) < expected && start.elapsed() < patience {
            std::thread::yield_now();
        }
        self.pending()
    }

    /// Writes everything that is queued. The caller has seen that nobody else does.
    fn lead(&self, mut pending: MutexGuard<'_, Pending>) {
        let tail = pending.take_tail();
        let mut pending = self.gather(pending);
        let mut taken = pending.close_group(tail);
        self.queued.store(0, Ordering::Relaxed);
        drop(pending);
        // The queue is empty now: whoever waited for room can go on while the disk works.
        self.tell_of_room(true);

        // One of our assertions may have failed: nobody may wait for a leader that is gone.
        let write = std::panic::AssertUnwindSafe(|| self.write(&mut taken));
        let (result, panic) = match std::panic::catch_unwind(write) {
            Ok(result) => (result, None),
            Err(panic) => (Err(Error::Bug), Some(panic)),
        };
        let failed = result.is_err();
        if let Err(error) = &result {
            tracing::error!(%error, durable = %self.durable(), "the journal stops");
        }
        let done = self.pending().finish(taken, result);
        // The next leader last: the others are likely to queue up again, and it waits a moment for
        // them.
        for group in [done.group, done.abandoned].into_iter().flatten() {
            // Never set before: each group is done once.
            let _ = group.0.set(());
        }
        for thread in [done.joined, done.next_leader].into_iter().flatten() {
            thread.unpark();
        }
        self.tell_of_room(failed);
        if let Some(panic) = panic {
            std::panic::resume_unwind(panic);
        }
    }

    fn write(&self, taken: &mut Taken) -> Result<()> {
        let durable = |durable: Sequence| self.durable.store(durable.0, Ordering::Release);
        let is_ours = || self.check_lock();
        taken.tail.uncached_bytes = self.uncached_bytes.load(Ordering::Relaxed);
        taken.tail.write(&mut taken.group, is_ours, durable)
    }

    /// Between the sync and the acknowledgement: whoever has taken the journal over since has not
    /// read it before that sync, and so has found what it covers.
    fn check_lock(&self) -> Result<()> {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let path = || self.dir.join(LOCK);
        match lock.as_ref().map(|lock| lock.is_held()) {
            Some(Ok(true)) => Ok(()),
            Some(Err(e)) => Err(Error::io(path(), "look at the lock", e)),
            _ => Err(Error::LockLost { path: path() }),
        }
    }

    fn tell_of_room(&self, all: bool) {
        if self.wanting_room.load(Ordering::Relaxed) == 0 {
            // Whoever is about to want it sees, under the lock, what has changed before.
            return;
        }
        if all {
            self.room.notify_all();
        } else {
            self.room.notify_one();
        }
    }

    /// Writes a watermark at the revision covered, and makes everything durable.
    pub(crate) fn watermark(&self, closed: bool) -> Result<()> {
        let observed_at = self.storage.now();
        let record = NewRecord {
            revision: COVERED,
            entry: Entry::Watermark {
                observed_at,
                closed,
            },
        };
        self.append_and_commit(&record).map(drop)
    }

    /// Called by the idle thread: writes a watermark if everything is durable, has been so since
    /// `seen`, and the newest record is not a watermark itself. Returns what is durable then.
    pub(crate) fn watermark_if_idle(&self, seen: Sequence) -> Result<Sequence> {
        {
            let pending = self.pending();
            let durable = self.durable();
            pending.check(durable)?;
            let busy = !pending.queue.is_empty() || !pending.is_free();
            if pending.quiet || busy || durable != seen {
                return Ok(durable);
            }
        }
        self.watermark(false)?;
        Ok(self.durable())
    }
}

/// What the format bounds besides the length.
fn check(record: &NewRecord) -> Result<()> {
    let attributes = record.entry.changes().iter().map(|c| c.attributes.len());
    if let Some(size) = attributes.max().filter(|n| *n > MAX_ATTRIBUTES_BYTES) {
        return Err(Error::TooLarge {
            size: size as u64,
            limit: MAX_ATTRIBUTES_BYTES as u64,
            option: "the format's bound on attributes",
        });
    }
    if let Entry::Timeline(t) = &record.entry {
        let longest = t.id.len().max(t.parent.as_ref().map_or(0, String::len));
        if longest > MAX_TIMELINE_ID_BYTES {
            return Err(Error::TooLarge {
                size: longest as u64,
                limit: MAX_TIMELINE_ID_BYTES as u64,
                option: "the format's bound on a timeline's name",
            });
        }
    }
    Ok(())
}
