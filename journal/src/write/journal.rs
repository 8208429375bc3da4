//! The journal as its writer holds it: opening, appending, committing, closing.
//!
//! How callers meet in groups is in [`writer`](crate::writer), what is on its way in
//! [`pending`](crate::pending), how it gets to the disk in [`tail`](crate::tail).

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};

use uuid::Uuid;

use crate::{
    checkpoint::ages::Ages,
    directory::{handle::Directory, listing::as_found},
    error::Result,
    format::{layout::SEGMENT_HEADER_BYTES, position::TimelineTag},
    model::{entry::NewRecord, ids::Sequence},
    options::Options,
    read::reader::Reader,
    recovery::open::{Opened, Recovery, open},
    storage::{traits::SharedStorage, zeros::first_fill},
    write::{
        idle::Idle,
        pending::Pending,
        prepare::Prepare,
        preparer::Preparer,
        queue::Place,
        tail::Tail,
        writer::{End, Writer},
    },
};

/// The writer of a journal. Holds its lock.
///
/// Share it between threads by reference or `Arc`. Dropping it without [`Journal::close`] is like a
/// crash: what was committed stays, and the next opening cannot know that nothing is missing.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Writer>,
    idle: Option<Idle>,
    preparer: Option<Preparer>,
    /// What retention knows of the ages of segments.
    ages: Mutex<Ages>,
}

impl Directory {
    /// Opens the journal for writing: creates directory and journal if there is none, else recovers
    /// it. `docs/format.md` has the steps.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) and
    /// [`Error::CheckpointDamaged`](crate::Error::CheckpointDamaged) before anything was changed;
    /// [`Error::Locked`](crate::Error::Locked) while another process has it open; what
    /// [`crate::Error`] says of directories that are no journal of this version.
    pub fn open(&self, options: Options) -> Result<(Journal, Recovery)> {
        let (mut journal, recovery) = Journal::open_without_threads(self, options)?;
        let shared = &journal.shared;
        journal.idle = shared
            .options
            .idle_watermark
            .map(|after| Idle::start(shared.clone(), after));
        journal.preparer = shared.prepare.clone().map(Preparer::start);
        Ok((journal, recovery))
    }

    /// [`Directory::open`] without anything happening in the background, so that a simulation can
    /// be repeated: no idle watermarks, and room is made ahead only by [`Journal::prepare`].
    #[cfg(feature = "faulty")]
    pub fn open_by_hand(&self, options: Options) -> Result<(Journal, Recovery)> {
        Journal::open_without_threads(self, options)
    }
}

impl Journal {
    /// Opens the journal in `dir` for writing: [`Directory::open`].
    ///
    /// # Errors
    /// As [`Directory::open`].
    pub fn open(dir: &Path, options: Options) -> Result<(Self, Recovery)> {
        Directory::at(dir).open(options)
    }

    /// Makes room ahead of the writer, now.
    #[cfg(feature = "faulty")]
    pub fn prepare(&self) {
        if let Some(prepare) = &self.shared.prepare {
            prepare.work();
        }
    }

    fn open_without_threads(directory: &Directory, options: Options) -> Result<(Self, Recovery)> {
        options.validate()?;
        let (storage, dir) = (directory.shared().clone(), directory.path());
        let opened = open(&*storage, dir, &options).map_err(|error| as_found(directory, error))?;
        Ok(Self::of(storage, dir, options, opened))
    }

    /// The writer of what an opening, or a repair, has made ready. Nothing happens in the
    /// background.
    pub(crate) fn of(
        storage: SharedStorage,
        dir: &Path,
        options: Options,
        opened: Opened,
    ) -> (Self, Recovery) {
        let valid_to = opened.recovery.valid_to;
        let syncs = Arc::new(AtomicU64::new(0));
        let uuid = opened.header.uuid;
        let prepare = options.preallocate.then(|| {
            let segment_bytes = options.segment_bytes;
            let prepare = Prepare::new(storage.clone(), dir.to_owned(), segment_bytes);
            let header = SEGMENT_HEADER_BYTES as u64;
            prepare.enter(header, first_fill(segment_bytes));
            prepare.entered(&opened.file);
            Arc::new(prepare)
        });
        let place = Place::new(uuid, options.segment_bytes, opened.header.salt);
        let tail = Tail::new(
            storage.clone(),
            dir.to_owned(),
            &options,
            opened.file,
            opened.header,
            syncs.clone(),
            prepare.clone(),
        );
        let pending = Pending::new(
            storage.clone(),
            place,
            valid_to.next(),
            opened.tracker,
            Box::new(tail),
        );
        let shared = Arc::new(Writer::new(
            dir.to_owned(),
            uuid,
            options,
            storage,
            pending,
            valid_to,
            syncs,
            prepare,
            opened.lock,
        ));
        let journal = Self {
            shared,
            idle: None,
            preparer: None,
            ages: Mutex::default(),
        };
        (journal, opened.recovery)
    }

    /// Queues a record and returns its sequence. It is durable once [`Journal::commit`] says so.
    ///
    /// If the queue is full ([`Options::max_queued_bytes`]) this writes it, or waits until it was
    /// written.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) and
    /// [`Error::RevisionFalls`](crate::Error::RevisionFalls) refuse this record only. After
    /// [`Error::Poisoned`](crate::Error::Poisoned) the journal takes nothing any more.
    pub fn append(&self, record: NewRecord) -> Result<Sequence> {
        self.shared.append(&record)
    }

    /// Returns once everything up to `sequence` is durable, with the newest durable sequence.
    ///
    /// A sequence that this journal has not given yet is [`crate::Error::NotAppended`].
    ///
    /// # Errors
    /// A write or sync that failed, and from then on [`Error::Poisoned`](crate::Error::Poisoned):
    /// nothing that was not returned before is known to be durable.
    /// [`Error::NotAppended`](crate::Error::NotAppended) poisons nothing.
    pub fn commit(&self, sequence: Sequence) -> Result<Sequence> {
        self.shared.commit(sequence)
    }

    /// [`Journal::append`] and [`Journal::commit`]; returns the record's sequence.
    ///
    /// # Errors
    /// Those of both.
    pub fn append_and_commit(&self, record: NewRecord) -> Result<Sequence> {
        self.shared.append_and_commit(&record)
    }

    /// Where the journal ends.
    #[must_use]
    pub fn end(&self) -> End {
        self.shared.end()
    }

    /// What is appended from here on is of this timeline, of which nobody knows the name.
    pub(crate) fn enter_unnamed(&self, timeline: TimelineTag) {
        self.shared.enter_unnamed(timeline);
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
        self.shared.syncs()
    }

    /// How many bytes of records were appended since opening.
    #[must_use]
    pub fn appended_bytes(&self) -> u64 {
        self.shared.appended_bytes()
    }

    /// Changes [`Options::uncached_bytes`] for the groups from the next one on: whether somebody
    /// reads along may turn out later than at opening.
    pub fn set_uncached_bytes(&self, bytes: usize) {
        self.shared.set_uncached_bytes(bytes);
    }

    pub(crate) fn ages(&self) -> MutexGuard<'_, Ages> {
        // Nothing in it is half-changed while anything can panic.
        self.ages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader of the same directory.
    ///
    /// # Errors
    /// As [`Directory::reader`].
    pub fn reader(&self) -> Result<Reader> {
        Directory::on(self.shared.storage.clone(), &self.shared.dir).reader()
    }

    /// Writes what is queued and a closing watermark, syncs, and releases the lock.
    ///
    /// # Errors
    /// A write or sync that failed: then what was not committed may be lost, as after a crash.
    pub fn close(mut self) -> Result<()> {
        self.idle = None;
        self.preparer = None;
        self.shared.watermark(true)?;
        self.shared.prepare.as_ref().map_or(Ok(()), |p| p.finish())
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.idle = None;
        self.preparer = None;
        // The background may still hold `shared` for a moment; the lock ends now.
        self.shared.unlock();
    }
}
