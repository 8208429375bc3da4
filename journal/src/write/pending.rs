//! What is on its way to the disk: the records that queue up for the next group, and what is known
//! of the journal behind them.
//!
//! Pure bookkeeping, changed under one lock and never across a system call.

use std::sync::OnceLock;
use std::{
    sync::Arc,
    thread::Thread,
    time::{Duration, Instant},
};

use crate::{
    error::{Error, Result},
    format::{kind::Kind, layout::RecordHeader, payload::Payload},
    model::{
        entry::{Entry, NewRecord},
        ids::{Revision, Sequence},
    },
    replay::tracker::Tracker,
    storage::{salt::new_salt, traits::SharedStorage},
    write::{
        queue::{Item, Place, Queue},
        tail::Tail,
    },
};

/// In a record of our own: the newest revision covered, whichever that is when it is queued.
pub(crate) const COVERED: Revision = Revision(i64::MIN);

/// Where the members of a group wait until it is done.
#[derive(Debug, Default)]
pub(crate) struct Group(pub(crate) OnceLock<()>);

/// Records on their way, and who is at work on them.
#[derive(Debug)]
pub(crate) struct Pending {
    storage: SharedStorage,
    /// Records that no one has begun to write.
    pub(crate) queue: Queue,
    /// The buffer that is not in use.
    other: Queue,
    /// The first sequence of the group that is queueing up.
    group_first: Sequence,
    /// Where its members wait, if any does, and where those of the group that is being written do.
    queueing: Option<Arc<Group>>,
    writing: Option<Arc<Group>>,
    /// The one of those who wait for the queueing group that is woken to lead it.
    next_leader: Option<Thread>,
    /// The end of the journal, unless a leader has it.
    tail: Option<Box<Tail>>,
    pub(crate) next: Sequence,
    place: Place,
    pub(crate) tracker: Tracker,
    poisoned: Option<Arc<Error>>,
    /// How many records are likely to meet in the next group, and how long the last one took.
    pub(crate) expected: usize,
    pub(crate) took: Duration,
    /// Whether the newest record is a watermark, or nothing was written yet.
    pub(crate) quiet: bool,
}

/// What a leader has taken in hand.
pub(crate) struct Taken {
    pub(crate) tail: Box<Tail>,
    pub(crate) group: Queue,
    records: usize,
    since: Instant,
    /// A thread that was waiting to lead this group and became an ordinary member.
    joined: Option<Thread>,
}

/// Who is to be woken when a group is done.
pub(crate) struct Done {
    pub(crate) next_leader: Option<Thread>,
    pub(crate) joined: Option<Thread>,
    pub(crate) group: Option<Arc<Group>>,
    /// Those of the group behind it, where it will never be written.
    pub(crate) abandoned: Option<Arc<Group>>,
}

/// What somebody whose record is not durable yet has to do.
pub(crate) enum Wait {
    /// Nobody is at work.
    Lead,
    /// Until woken to lead.
    AsNextLeader,
    /// Until the group is done.
    For(Arc<Group>),
}

impl Pending {
    pub(crate) fn new(
        storage: SharedStorage,
        place: Place,
        next: Sequence,
        tracker: Tracker,
        tail: Box<Tail>,
    ) -> Self {
        Self {
            storage,
            queue: Queue::default(),
            other: Queue::default(),
            group_first: next,
            queueing: None,
            writing: None,
            next_leader: None,
            tail: Some(tail),
            next,
            place,
            tracker,
            poisoned: None,
            expected: 0,
            took: Duration::ZERO,
            quiet: true,
        }
    }

    /// The failure that has stopped the journal, if one has.
    pub(crate) fn check(&self, durable: Sequence) -> Result<()> {
        match &self.poisoned {
            None => Ok(()),
            Some(cause) => Err(Error::Poisoned {
                durable,
                cause: cause.clone(),
            }),
        }
    }

    /// Whether nobody is at work.
    pub(crate) fn is_free(&self) -> bool {
        self.tail.is_some()
    }

    /// How the caller is to wait for this sequence, which is not durable.
    pub(crate) fn wait_for(&mut self, sequence: Sequence) -> Wait {
        if self.is_free() {
            return Wait::Lead;
        }
        let group = if sequence < self.group_first {
            &mut self.writing
        } else {
            let caller = std::thread::current();
            // It may be woken by somebody who has nothing to do with this, and come again.
            if self
                .next_leader
                .as_ref()
                .is_none_or(|h| h.id() == caller.id())
            {
                self.next_leader = Some(caller);
                return Wait::AsNextLeader;
            }
            &mut self.queueing
        };
        Wait::For(group.get_or_insert_default().clone())
    }

    /// Makes the caller the leader. The group goes on queueing up until it is
    /// [closed](Self::close_group).
    pub(crate) fn take_tail(&mut self) -> Box<Tail> {
        self.tail.take().expect("the caller looked")
    }

    /// Takes everything that is queued: what comes now is the next group.
    pub(crate) fn close_group(&mut self, tail: Box<Tail>) -> Taken {
        let empty = std::mem::take(&mut self.other);
        let group = std::mem::replace(&mut self.queue, empty);
        self.group_first = self.next;
        self.writing = self.queueing.take();
        Taken {
            tail,
            records: group.items.len(),
            group,
            since: Instant::now(),
            // Whoever came to wait while the leader let the group become larger.
            joined: self.next_leader.take(),
        }
    }

    /// The group is done, whatever came of it.
    pub(crate) fn finish(&mut self, mut taken: Taken, result: Result<()>) -> Done {
        taken.group.clear();
        self.other = taken.group;
        self.tail = Some(taken.tail);
        self.took = taken.since.elapsed();
        self.expected = taken.records + self.queue.items.len();
        let mut abandoned = None;
        if let Err(error) = result {
            self.poisoned = Some(Arc::new(error));
            self.queue.clear();
            abandoned = self.queueing.take();
        }
        Done {
            next_leader: self.next_leader.take(),
            joined: taken.joined,
            group: self.writing.take(),
            abandoned,
        }
    }

    /// Refuses what would take the revision covered back.
    pub(crate) fn check_revision(&self, record: &NewRecord) -> Result<()> {
        let covered = self.tracker.covered;
        let tells = matches!(
            record.entry,
            Entry::Changes { .. } | Entry::Lease { .. } | Entry::Watermark { .. }
        );
        if tells && record.revision != COVERED && record.revision < covered {
            return Err(Error::RevisionFalls {
                revision: record.revision,
                covered,
            });
        }
        Ok(())
    }

    pub(crate) fn push(
        &mut self,
        record: &NewRecord,
        payload: &Payload<'_>,
        bytes: u32,
    ) -> Sequence {
        if !self.place.fits(bytes) {
            self.push_seal();
        }
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
            payload_bytes: bytes,
            kind: payload.kind,
            sequence,
            synced: Sequence::NONE,
            revision,
            position: self.tracker.position(&record.entry),
        };
        self.queue.push(payload, header, &self.place);
        self.place.pass(bytes);
        self.tracker.apply(revision, &record.entry);
        self.quiet = payload.kind == Kind::Watermark;
        if !self.place.fits(bytes) {
            // Another one like this has no room: sealed now, the seal shares this record's sync.
            self.push_seal();
        }
        sequence
    }

    fn push_seal(&mut self) {
        let next_salt = new_salt(&*self.storage);
        self.queue.items.push(Item::Seal {
            sequence: self.next,
            tracker: Box::new(self.tracker.clone()),
            next_salt,
        });
        self.next = self.next.next();
        self.place.enter_segment(next_salt);
    }
}
