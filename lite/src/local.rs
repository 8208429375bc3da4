//! The node as its own process uses it: calls and shared values in place of requests and bytes.
//!
//! Whatever is done here is seen by every connection as if a client had done it: the same events at
//! the same revisions, and refusals consume a revision as they do on the wire.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use cairn_client::Revision;
use tokio::sync::watch;

use crate::feeds::FeedId;
use crate::hub::{Hub, SharedHub};
use crate::mode::Mode;
use crate::options::Options;
use crate::store::event::Event;
use crate::store::tree::{Dir, Node};
use crate::store::{Refusal, Store, Written};

/// Events that a follower takes under one lock.
const TAKEN_AT_ONCE: usize = 512;

/// Bytes of paths and values after which a follower takes no more under one lock.
const TAKEN_BYTES: u64 = 1 << 20;

/// A session of the node's own process. It ends when the node's connections are closed, like any
/// other session; clones are handles of the same one.
#[derive(Clone, Debug)]
pub struct Local {
    hub: Arc<SharedHub>,
    options: Arc<Options>,
    mode: watch::Receiver<Mode>,
    /// The mode's when the session was opened.
    generation: u64,
}

/// Why a call was of no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// The session is over, for ever.
    #[error("the session with the node of this process has ended")]
    Ended,
    /// The node takes no writes.
    #[error("the node of this process takes no writes")]
    ReadOnly,
    /// The history that was asked for has been discarded.
    #[error("the node of this process no longer keeps that history")]
    TooLate,
    /// The file that guards the write has another value, or is not there. No revision was consumed.
    #[error("the write is meant for another state of the node")]
    Guarded,
    /// The value is longer than the node takes. No revision was consumed.
    #[error("value of {length} bytes is over the limit of {limit} bytes")]
    ValueTooLong {
        /// Its bytes.
        length: usize,
        /// The most that the node takes.
        limit: usize,
    },
    /// The store refused the write.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A file that must have a certain value for a write to be applied.
pub type GuardedBy<'a> = Option<(&'a str, &'a [u8])>;

impl Local {
    pub(crate) fn new(
        hub: Arc<SharedHub>,
        options: Arc<Options>,
        mode: watch::Receiver<Mode>,
    ) -> Self {
        let generation = mode.borrow().generation;
        Self {
            hub,
            options,
            mode,
            generation,
        }
    }

    fn check(&self) -> Result<(), LocalError> {
        match self.mode.borrow().generation == self.generation {
            true => Ok(()),
            false => Err(LocalError::Ended),
        }
    }

    fn may_write(&self) -> Result<(), LocalError> {
        self.check()?;
        match self.mode.borrow().readonly {
            true => Err(LocalError::ReadOnly),
            false => Ok(()),
        }
    }

    /// The longest value that the node takes, in bytes.
    #[must_use]
    pub fn max_value(&self) -> usize {
        self.options.max_value
    }

    /// The newest revision.
    ///
    /// # Errors
    /// [`LocalError::Ended`].
    pub fn revision(&self) -> Result<Revision, LocalError> {
        self.check()?;
        Ok(self.hub.with(|hub| hub.store.revision()))
    }

    /// The file at a path.
    ///
    /// # Errors
    /// [`LocalError::Ended`].
    pub fn get(&self, path: &str) -> Result<Option<Arc<Event>>, LocalError> {
        self.check()?;
        Ok(self.hub.with(|hub| file(&hub.store, path)))
    }

    /// The state now. O(1), and never changes afterwards.
    ///
    /// # Errors
    /// [`LocalError::Ended`].
    pub fn state(&self) -> Result<Dir, LocalError> {
        self.check()?;
        Ok(self.hub.with(|hub| hub.store.state()))
    }

    /// Sets a file, if it is not newer than `expected` and the guard holds; its revision.
    ///
    /// # Errors
    /// Why it was not set.
    pub fn set(
        &self,
        path: &str,
        expected: Revision,
        value: Bytes,
        guard: GuardedBy<'_>,
    ) -> Result<Revision, LocalError> {
        let (length, limit) = (value.len(), self.options.max_value);
        if length > limit {
            return Err(LocalError::ValueTooLong { length, limit });
        }
        self.write(guard, |store| store.set(path, expected, value))
    }

    /// Deletes a file, if it is not newer than `expected` and the guard holds; the revision of the
    /// delete, if there was a file. Where there was none a revision is consumed all the same.
    ///
    /// # Errors
    /// Why it was not deleted.
    pub fn del(
        &self,
        path: &str,
        expected: Revision,
        guard: GuardedBy<'_>,
    ) -> Result<Option<Revision>, LocalError> {
        let mut existed = false;
        let revision = self.write(guard, |store| {
            existed = file(store, path).is_some();
            store.del(path, expected)
        })?;
        Ok(existed.then_some(revision))
    }

    /// Consumes a revision.
    ///
    /// # Errors
    /// Why it was not consumed.
    pub fn nop(&self) -> Result<Revision, LocalError> {
        self.write(None, |store| {
            let event = store.nop()?;
            Ok(Written {
                event,
                refused: None,
            })
        })
    }

    fn write(
        &self,
        guard: GuardedBy<'_>,
        write: impl FnOnce(&mut Store) -> Result<Written, Refusal>,
    ) -> Result<Revision, LocalError> {
        self.may_write()?;
        let may_send = self.mode.borrow().is_plain();
        self.hub.with_letters(may_send, |hub| {
            if let Some((path, value)) = guard
                && file(&hub.store, path).is_none_or(|file| file.value != value)
            {
                return Err(LocalError::Guarded);
            }
            let written = write(&mut hub.store)?;
            hub.announce(&written.event);
            match written.refused {
                None => Ok(written.event.revision),
                Some(refusal) => Err(refusal.into()),
            }
        })
    }

    /// Follows the node from a revision on, which may be yet to come. From now on writes of others
    /// wait where the follower has too much before it, so it must be polled, or dropped.
    ///
    /// # Errors
    /// [`LocalError::Ended`].
    pub fn follow(&self, from: Revision) -> Result<Feed, LocalError> {
        self.check()?;
        let next = from.max(Revision(1));
        let id = self.hub.with(|hub| hub.feeds.add(Revision(next.0 - 1)));
        Ok(Feed {
            node: self.clone(),
            id,
            next,
            taken: Vec::new().into_iter(),
        })
    }
}

fn file(store: &Store, path: &str) -> Option<Arc<Event>> {
    match store.tree().find(path) {
        Some(Node::File(event)) => Some(Arc::clone(event)),
        Some(Node::Dir(_)) | None => None,
    }
}

/// Every event of the node from a revision on, in order. It holds back the writes of others while
/// it is behind.
#[derive(Debug)]
pub struct Feed {
    node: Local,
    id: FeedId,
    /// The first event that was not taken.
    next: Revision,
    taken: std::vec::IntoIter<Arc<Event>>,
}

impl Feed {
    /// The next event. All that have happened are taken at once, so a burst wakes the follower
    /// once.
    ///
    /// # Errors
    /// [`LocalError::TooLate`] and [`LocalError::Ended`], also when it is polled again.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Arc<Event>, LocalError>> {
        loop {
            if let Some(event) = self.taken.next() {
                return Poll::Ready(Ok(event));
            }
            self.node.check()?;
            let (id, next) = (self.id, self.next);
            let taken = self.node.hub.with(|hub| take(hub, id, next, context))?;
            let Some(last) = taken.last() else {
                return Poll::Pending;
            };
            self.next = last.revision.next();
            self.taken = taken.into_iter();
        }
    }
}

/// What has happened; if nothing, the follower is woken once something does.
fn take(
    hub: &mut Hub,
    id: FeedId,
    next: Revision,
    context: &Context<'_>,
) -> Result<Vec<Arc<Event>>, LocalError> {
    if next < hub.store.oldest() {
        return Err(LocalError::TooLate);
    }
    if next > hub.store.revision() {
        hub.feeds.park(id, context.waker());
        return Ok(Vec::new());
    }
    let mut bytes = 0;
    let some = hub.store.events_from(next).take_while(|event| {
        let more = bytes < TAKEN_BYTES;
        bytes += event.bytes();
        more
    });
    let taken: Vec<Arc<Event>> = some.take(TAKEN_AT_ONCE).cloned().collect();
    hub.steps += taken.len();
    if let Some(last) = taken.last() {
        hub.feeds.took(id, last.revision);
        hub.let_go();
    }
    Ok(taken)
}

impl Drop for Feed {
    fn drop(&mut self) {
        let id = self.id;
        self.node.hub.with(|hub| {
            hub.feeds.remove(id);
            hub.let_go();
        });
    }
}
