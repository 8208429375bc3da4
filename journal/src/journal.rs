//! The writer: callers queue records and wait; whoever finds the disk free writes everything queued.
//!
//! Promises: a sequence is reported durable only after a sync that covers it has returned without
//! error. After the first failed write or sync nothing is written any more and every caller gets that
//! failure. There is no timer between a caller and the disk: what queued up during the last sync is
//! the next group.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use uuid::Uuid;

use crate::{
    Entry, Error, Gap, NewRecord, Options, Reader, Recovery, Result, Revision, Sequence, Timeline,
    idle::Idle,
    layout::{Kind, RecordHeader, SEGMENT_HEADER_BYTES, record_length},
    payload::Payload,
    prepare::{self, Prepare, Preparer},
    queue::{Item, Queue, Room},
    recovery,
    storage::{Disk, Lock, SharedStorage},
    tail::Tail,
    tracker::Tracker,
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
    /// The gap whose difference is not complete, or (with [`crate::GapReason::Damage`]) the
    /// revisions that damage has cost and that no gap closed since has made good.
    pub open_gap: Option<Gap>,
}

/// The writer of a journal. Holds its lock.
///
/// Share it between threads by reference or `Arc`. Dropping it without [`Journal::close`] is like a
/// crash: what was committed stays, and the next opening cannot know that nothing is missing.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    idle: Option<Idle>,
    preparer: Option<Preparer>,
}

/// What callers and the background share.
#[derive(Debug)]
pub(crate) struct Shared {
    dir: PathBuf,
    uuid: Uuid,
    options: Options,
    storage: SharedStorage,
    state: Mutex<State>,
    /// Where waiters wait: those of the group being written on one, those of the next on the other,
    /// by the parity of the group's number, so that a finished group wakes its own and one leader.
    waiting: [Condvar; 2],
    /// Where callers wait who found the queue full.
    room: Condvar,
    syncs: Arc<AtomicU64>,
    appended: AtomicU64,
    prepare: Option<Arc<Prepare>>,
    // Last, so that it is released last.
    lock: Mutex<Option<Box<dyn Lock>>>,
}

#[derive(Debug)]
struct State {
    /// Records that no one has begun to write.
    queue: Queue,
    /// The buffer that is not in use.
    other: Queue,
    /// The number of the group that is queueing up.
    group: u64,
    /// The first sequence of that group.
    group_first: Sequence,
    /// The end of the journal, unless a leader has it.
    tail: Option<Box<Tail>>,
    next: Sequence,
    durable: Sequence,
    room: Room,
    tracker: Tracker,
    latched: Option<Arc<Error>>,
    /// How many records are likely to meet in the next group, and how long the last one took.
    expected: usize,
    took: Duration,
    /// Whether the newest record is a watermark, or nothing was written yet.
    quiet: bool,
}

impl Journal {
    /// Opens the journal in `dir` for writing: creates directory and journal if there is none, else
    /// recovers it. See `docs/format.md` for the steps.
    pub fn open(dir: &Path, options: Options) -> Result<(Self, Recovery)> {
        Self::open_with(Arc::new(Disk), dir, options)
    }

    /// The same on any storage.
    pub fn open_with(
        storage: SharedStorage,
        dir: &Path,
        options: Options,
    ) -> Result<(Self, Recovery)> {
        let (mut journal, recovery) = Self::open_without_threads(storage, dir, options)?;
        let shared = &journal.shared;
        journal.idle = shared
            .options
            .idle_watermark
            .map(|after| Idle::start(shared.clone(), after));
        journal.preparer = shared.prepare.clone().map(Preparer::start);
        Ok((journal, recovery))
    }

    /// The same without anything happening in the background, so that a simulation can be repeated:
    /// no idle watermarks, and room is made ahead only by [`Journal::prepare`].
    #[cfg(feature = "faulty")]
    pub fn open_by_hand(
        storage: SharedStorage,
        dir: &Path,
        options: Options,
    ) -> Result<(Self, Recovery)> {
        Self::open_without_threads(storage, dir, options)
    }

    /// Makes room ahead of the writer, now.
    #[cfg(feature = "faulty")]
    pub fn prepare(&self) {
        if let Some(prepare) = &self.shared.prepare {
            prepare.work();
        }
    }

    fn open_without_threads(
        storage: SharedStorage,
        dir: &Path,
        options: Options,
    ) -> Result<(Self, Recovery)> {
        options.validate()?;
        let opened = recovery::open(&*storage, dir, &options)?;
        let valid_to = opened.recovery.valid_to;
        let syncs = Arc::new(AtomicU64::new(0));
        let uuid = opened.header.uuid;
        let prepare = options.preallocate.then(|| {
            let segment_bytes = options.segment_bytes;
            let prepare = Prepare::new(storage.clone(), dir.to_owned(), segment_bytes);
            let header = SEGMENT_HEADER_BYTES as u64;
            prepare.entered(&opened.file, header, prepare::first_fill(segment_bytes));
            Arc::new(prepare)
        });
        let tail = Tail::new(
            storage.clone(),
            dir.to_owned(),
            options.segment_bytes,
            opened.file,
            opened.header,
            syncs.clone(),
            prepare.clone(),
        );
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            uuid,
            storage,
            state: Mutex::new(State {
                queue: Queue::default(),
                other: Queue::default(),
                group: 0,
                group_first: valid_to.next(),
                tail: Some(Box::new(tail)),
                next: valid_to.next(),
                durable: valid_to,
                room: Room::new(options.segment_bytes),
                tracker: opened.tracker,
                latched: None,
                expected: 0,
                took: Duration::ZERO,
                quiet: true,
            }),
            waiting: [Condvar::new(), Condvar::new()],
            room: Condvar::new(),
            syncs,
            appended: AtomicU64::new(0),
            prepare,
            lock: Mutex::new(Some(opened.lock)),
            options,
        });
        let journal = Self {
            shared,
            idle: None,
            preparer: None,
        };
        Ok((journal, opened.recovery))
    }

    /// Queues a record and returns its sequence. It is durable once [`Journal::commit`] says so.
    ///
    /// If the queue is full ([`Options::max_queued_bytes`]) this writes it, or waits until it was
    /// written.
    pub fn append(&self, record: NewRecord) -> Result<Sequence> {
        let (state, sequence) = self.shared.append(&record)?;
        drop(state);
        Ok(sequence)
    }

    /// Returns once everything up to `sequence` is durable, with the newest durable sequence.
    ///
    /// # Panics
    /// If `sequence` was never returned by [`Journal::append`].
    pub fn commit(&self, sequence: Sequence) -> Result<Sequence> {
        self.shared.commit(self.shared.state(), sequence)
    }

    /// [`Journal::append`] and [`Journal::commit`]; returns the record's sequence.
    pub fn append_and_commit(&self, record: NewRecord) -> Result<Sequence> {
        let (state, sequence) = self.shared.append(&record)?;
        self.shared.commit(state, sequence)?;
        Ok(sequence)
    }

    /// Where the journal ends.
    #[must_use]
    pub fn end(&self) -> End {
        let state = self.shared.state();
        End {
            next_sequence: state.next,
            durable: state.durable,
            revision: state.tracker.covered,
            timeline: state.tracker.timeline.clone(),
            open_gap: state.tracker.open_gap,
        }
    }

    /// The journal's identity, given when it was created.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.shared.uuid
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// The options it was opened with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// How many syncs of record data were made since opening.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.shared.syncs.load(Ordering::Relaxed)
    }

    /// How many bytes of records were appended since opening.
    #[must_use]
    pub fn appended_bytes(&self) -> u64 {
        self.shared.appended.load(Ordering::Relaxed)
    }

    /// A reader of the same directory.
    pub fn reader(&self) -> Result<Reader> {
        Reader::open_with(self.shared.storage.clone(), &self.shared.dir)
    }

    /// Writes what is queued and a closing watermark, syncs, and releases the lock.
    pub fn close(mut self) -> Result<()> {
        self.idle = None;
        self.preparer = None;
        self.shared.watermark(true)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.idle = None;
        self.preparer = None;
        // The background may still hold `shared` for a moment; the lock ends now.
        let lock = self.shared.lock.lock();
        lock.unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic with the state locked is one of our own assertions; the state it leaves is latched
        // or complete, never half-changed in what durability rests on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, record: &NewRecord) -> Result<(MutexGuard<'_, State>, Sequence)> {
        check(record)?;
        let payload = Payload::new(&record.entry);
        let payload_bytes = self.payload_bytes(&payload)?;
        let length = usize::try_from(record_length(payload_bytes)).expect("bounded by an option");

        let mut state = self.state();
        loop {
            state.check()?;
            let queued = state.queue.bytes.len();
            if queued == 0 || queued + length <= self.options.max_queued_bytes {
                break;
            }
            state = if state.tail.is_some() {
                self.lead(state)
            } else {
                self.room
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner)
            };
        }
        let sequence = state.push(record, &payload, payload_bytes);
        self.appended.fetch_add(length as u64, Ordering::Relaxed);
        Ok((state, sequence))
    }

    fn payload_bytes(&self, payload: &Payload) -> Result<u32> {
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

    fn commit<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        sequence: Sequence,
    ) -> Result<Sequence> {
        assert!(
            sequence < state.next,
            "only what was appended can be committed"
        );
        loop {
            if state.durable >= sequence {
                return Ok(state.durable);
            }
            state.check()?;
            if state.tail.is_some() {
                state = self.lead(state);
                continue;
            }
            // A leader is at work: on the group that holds our record, or on the one before.
            let group = if sequence >= state.group_first {
                state.group
            } else {
                state.group - 1
            };
            state = self.waiting[parity(group)]
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets those who were released by the last group queue up again before this one is taken, so
    /// that a few busy writers form one group and not two that take turns.
    ///
    /// Not a timer: it ends as soon as as many records are there as there were in the last group
    /// and behind it, which a single writer is by itself. Where that was too much to expect it gives up
    /// after a fraction of what the last group took, and the next time expects less.
    fn gather<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        // Large records are better copied by their writers while the disk works.
        if state.queue.items.len() >= state.expected || state.queue.bytes.len() > GATHER_BYTES {
            return state;
        }
        let patience = (state.took / 4).min(MOST_PATIENCE);
        let start = Instant::now();
        while state.queue.items.len() < state.expected && start.elapsed() < patience {
            drop(state);
            std::thread::yield_now();
            state = self.state();
        }
        state
    }

    /// Writes everything that is queued. The caller has seen that nobody else does.
    fn lead<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let mut tail = state.tail.take().expect("the caller looked");
        state = self.gather(state);
        let records = state.queue.items.len();
        let start = Instant::now();
        let empty = std::mem::take(&mut state.other);
        let mut group = std::mem::replace(&mut state.queue, empty);
        let number = state.group;
        state.group += 1;
        state.group_first = state.next;
        // The queue is empty now: whoever waited for room can go on while the disk works.
        self.room.notify_all();
        drop(state);

        let write = || {
            tail.write(&mut group, |durable| {
                let mut state = self.state();
                state.durable = durable;
                if state.group_first > durable.next() {
                    // A part of the group: those whose record is in it need not wait for the rest.
                    self.waiting[parity(number)].notify_all();
                }
            })
        };
        // One of our assertions may have failed: nobody may wait for a leader that is gone.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(write));
        let (result, panic) = match outcome {
            Ok(result) => (result, None),
            Err(panic) => (Err(Error::Bug), Some(panic)),
        };
        group.clear();

        let mut state = self.state();
        state.other = group;
        state.tail = Some(tail);
        state.took = start.elapsed();
        state.expected = records + state.queue.items.len();
        match result {
            Ok(()) => {
                self.waiting[parity(number)].notify_all();
                // One of those who queued up meanwhile leads the next group.
                self.waiting[parity(number + 1)].notify_one();
                self.room.notify_one();
            }
            Err(error) => {
                tracing::error!(%error, durable = %state.durable, "the journal stops");
                state.latched = Some(Arc::new(error));
                state.queue.clear();
                self.waiting.iter().for_each(Condvar::notify_all);
                self.room.notify_all();
            }
        }
        if let Some(panic) = panic {
            drop(state);
            std::panic::resume_unwind(panic);
        }
        state
    }

    /// Writes a watermark at the revision covered, and makes everything durable.
    fn watermark(&self, closed: bool) -> Result<()> {
        let observed_at = self.storage.now();
        let record = NewRecord {
            revision: COVERED,
            entry: Entry::Watermark {
                observed_at,
                closed,
            },
        };
        let (state, sequence) = self.append(&record)?;
        self.commit(state, sequence).map(drop)
    }

    /// Called by the idle thread: writes a watermark if everything is durable, has been so since
    /// `seen`, and the newest record is not a watermark itself. Returns what is durable then.
    pub(crate) fn watermark_if_idle(&self, seen: Sequence) -> Result<Sequence> {
        {
            let state = self.state();
            state.check()?;
            let busy = !state.queue.is_empty() || state.tail.is_none();
            if state.quiet || busy || state.durable != seen {
                return Ok(state.durable);
            }
        }
        self.watermark(false)?;
        Ok(self.state().durable)
    }
}

/// In a record of our own: the newest revision covered, whichever that is when it is queued.
const COVERED: Revision = Revision(i64::MIN);

fn parity(group: u64) -> usize {
    usize::from(!group.is_multiple_of(2))
}

/// What the format bounds besides the length.
fn check(record: &NewRecord) -> Result<()> {
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

impl State {
    fn check(&self) -> Result<()> {
        match &self.latched {
            None => Ok(()),
            Some(cause) => Err(Error::Latched {
                durable: self.durable,
                cause: cause.clone(),
            }),
        }
    }

    fn push(&mut self, record: &NewRecord, payload: &Payload, payload_bytes: u32) -> Sequence {
        if !self.room.fits(payload_bytes) {
            self.push_seal();
        }
        self.room.take(payload_bytes);
        let sequence = self.next;
        self.next = sequence.next();
        // Looked up here, under the lock: between a look and the push a timeline may have taken the
        // revisions back.
        let revision = if record.revision == COVERED {
            self.tracker.covered
        } else {
            record.revision
        };
        let header = RecordHeader {
            payload_bytes,
            kind: payload.kind,
            sequence,
            synced: Sequence::NONE,
            revision,
        };
        self.queue.push(payload, header, self.tracker.covered);
        self.tracker.apply(revision, &record.entry);
        self.quiet = payload.kind == Kind::Watermark;
        if !self.room.fits(payload_bytes) {
            // Another one like this has no room: sealed now, the seal shares this record's sync.
            self.push_seal();
        }
        sequence
    }

    fn push_seal(&mut self) {
        self.queue.items.push(Item::Seal {
            sequence: self.next,
            tracker: Box::new(self.tracker.clone()),
        });
        self.next = self.next.next();
        self.room.turn();
    }
}
