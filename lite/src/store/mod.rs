//! The state of a node: the tree, its history, and the rules by which a write becomes an event.
//!
//! Pure: no I/O, no clock, no waiting. Every write consumes exactly one revision, whether it
//! succeeds or not; a write that is refused becomes a set of [`ERROR_PATH`] to the reason, so that
//! followers see no hole in the revisions. After [`LAST_REVISION`] there are no more writes.

pub(crate) mod event;
pub(crate) mod history;
mod index;
pub(crate) mod pattern;
pub(crate) mod search;
pub(crate) mod tree;
pub(crate) mod walk;

use std::sync::Arc;

use bytes::Bytes;
use cairn_client::{Revision, path};

pub use event::{Event, EventKind};
pub use history::{Keep, Past};
pub use pattern::{Part, Pattern, Tail, component_matches, names};
pub use search::{Candidates, Found, Look};
pub use tree::{Dir, Node};
pub use walk::{Step, Walk};

use crate::store::history::History;
use crate::store::tree::Spot;

/// Where the reason of a refused write is left.
pub const ERROR_PATH: &str = "/ctl/err";

/// The longest path that can be written. A real node has no such limit; it is here so that
/// [`MAX_DEPTH`] bounds recursion and a listing's entries stay small.
pub const MAX_PATH: usize = 4096;

/// The deepest path that can be written: the tree is walked, and freed, by recursion.
pub const MAX_DEPTH: usize = 256;

/// The last revision. The number after it is kept free, so that one can wait for what follows any
/// revision.
pub const LAST_REVISION: Revision = Revision(i64::MAX - 1);

/// Why a write was refused. All but the first three also consumed a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The path is not one.
    #[error("bad path")]
    BadPath,
    /// The path is longer than [`MAX_PATH`] or deeper than [`MAX_DEPTH`].
    #[error("path too long (limit: {MAX_PATH} bytes, {MAX_DEPTH} names)")]
    PathTooLong,
    /// The store is at [`LAST_REVISION`].
    #[error("no revision is left: {LAST_REVISION} is the last, so nothing can be written")]
    NoRevisionLeft,
    /// The file is newer than the writer thought.
    #[error("rev mismatch")]
    RevMismatch,
    /// A directory stands at the path.
    #[error("is a directory")]
    IsDir,
    /// A file stands above the path.
    #[error("not a directory")]
    NotDir,
}

/// A write: the event it became, and the reason if that is not the event the writer asked for.
#[derive(Debug)]
pub struct Written {
    /// The event that followers see.
    pub event: Arc<Event>,
    /// Why the write itself did not happen.
    pub refused: Option<Refusal>,
}

/// Why the past or the future cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoState {
    /// The revision has been discarded.
    TooLate,
    /// The revision has not happened yet.
    NotYet,
}

/// The tree with its history.
#[derive(Debug)]
pub struct Store {
    revision: i64,
    tree: Dir,
    history: History,
}

impl Store {
    /// An empty store at revision 0 that keeps the newest `limit` revisions, at least one.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self::keeping(Keep {
            revisions: limit,
            bytes: u64::MAX,
        })
    }

    /// An empty store at revision 0 that keeps so much of the past, and at least the newest
    /// revision.
    #[must_use]
    pub fn keeping(keep: Keep) -> Self {
        Self {
            revision: 0,
            tree: Dir::default(),
            history: History::new(keep, Revision(0), Dir::default()),
        }
    }

    /// How much of the past is kept.
    #[must_use]
    pub fn keep(&self) -> Keep {
        self.history.keep()
    }

    /// Bytes of paths and values of all events after `revision`, as far as they are held.
    #[must_use]
    pub fn bytes_after(&self, revision: Revision) -> u64 {
        self.history.bytes_after(revision)
    }

    /// The events from `from` on, in order; `from` must not be discarded.
    pub fn events_from(&self, from: Revision) -> impl Iterator<Item = &Arc<Event>> {
        self.history.events_from(from)
    }

    /// The newest revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(self.revision)
    }

    /// The oldest revision that can still be asked for.
    #[must_use]
    pub fn oldest(&self) -> Revision {
        self.history.oldest()
    }

    /// Sets a file, if `expected` is [`Revision::ANY`] or not less than the file's revision.
    ///
    /// # Errors
    /// If the path cannot be one, or no revision is left: then none is consumed.
    pub fn set(
        &mut self,
        path: &str,
        expected: Revision,
        value: Bytes,
    ) -> Result<Written, Refusal> {
        check_path(path)?;
        self.check_room()?;
        let put = self.put(path, expected, value);
        Ok(self.written(put))
    }

    /// Deletes a file, if `expected` is [`Revision::ANY`] or not less than the file's revision.
    /// A file that is not there can be deleted.
    ///
    /// # Errors
    /// If the path cannot be one, or no revision is left: then none is consumed.
    pub fn del(&mut self, path: &str, expected: Revision) -> Result<Written, Refusal> {
        check_path(path)?;
        self.check_room()?;
        let may = may_replace(&self.tree.look(path), expected);
        let deleted = may.map(|()| {
            self.tree.remove(path);
            self.happened(path, EventKind::Delete)
        });
        Ok(self.written(deleted))
    }

    /// Consumes a revision.
    ///
    /// # Errors
    /// If none is left.
    pub fn nop(&mut self) -> Result<Arc<Event>, Refusal> {
        self.check_room()?;
        Ok(self.nothing())
    }

    /// The current state. O(1), and never changes afterwards.
    #[must_use]
    pub fn state(&self) -> Dir {
        self.tree.clone()
    }

    /// The current state, to look at only.
    #[must_use]
    pub fn tree(&self) -> &Dir {
        &self.tree
    }

    /// The state right after a revision. Revisions below 1 stand for 1, as on a real node.
    ///
    /// # Errors
    /// If that revision is no longer, or not yet, there.
    pub fn state_at(&mut self, revision: Revision) -> Result<Dir, NoState> {
        let state = self.past(revision)?.make();
        self.remember(revision, state.clone());
        Ok(state)
    }

    /// What the [state](Self::state_at) right after a revision is made of: a bounded number of
    /// steps, to be taken elsewhere.
    ///
    /// # Errors
    /// As [`Store::state_at`].
    pub fn past(&mut self, revision: Revision) -> Result<Past, NoState> {
        let revision = revision.max(Revision(1));
        if revision < self.oldest() {
            return Err(NoState::TooLate);
        }
        if revision.0 == self.revision {
            return Ok(Past::from(self.tree.clone()));
        }
        self.history.past(revision).ok_or(NoState::NotYet)
    }

    /// Remembers a state that was made of its [`past`](Self::past), for others who ask for it.
    pub fn remember(&mut self, revision: Revision, state: Dir) {
        let revision = revision.max(Revision(1));
        if revision.0 < self.revision {
            self.history.remember(revision, state);
        }
    }

    /// The file that was at `path` right after a revision, if that can be told without making the
    /// whole state: in O(log n), where there was a file at all. Otherwise look at
    /// [`state_at`](Self::state_at).
    #[must_use]
    pub fn file_at(&self, path: &str, revision: Revision) -> Option<Arc<Event>> {
        if !path::is_valid(path) || path == "/" {
            return None;
        }
        self.history.file(path, revision.max(Revision(1)))
    }

    /// The event at a revision, unless it is discarded or in the future.
    #[must_use]
    pub fn event(&self, revision: Revision) -> Option<&Arc<Event>> {
        self.history.event(revision)
    }

    /// The first event at or after `from` whose path matches.
    #[must_use]
    pub fn first_match(&self, pattern: &Pattern, from: Revision) -> Found {
        let (mut from, mut resumed, mut steps) = (from, false, 0);
        loop {
            match self.look(pattern, from, resumed, &mut steps) {
                Look::Known(found) => return found,
                Look::Among(candidates) => from = candidates.first_match(pattern),
            }
            resumed = true;
        }
    }

    /// A bounded number of steps towards the [first match](Self::first_match). `resumed`: the
    /// last look handed out candidates. Adds the names and events that were looked at to `steps`.
    pub fn look(
        &self,
        pattern: &Pattern,
        from: Revision,
        resumed: bool,
        steps: &mut usize,
    ) -> Look {
        self.history.look(pattern, from, resumed, steps)
    }

    /// Forgets the past: only the newest revision can be asked for afterwards.
    pub fn forget_history(&mut self) {
        self.history.discard_before(self.revision);
    }

    /// Jumps to a later revision, as if everything before it had been discarded.
    ///
    /// # Panics
    /// If the store is at that revision already, or beyond, or it is beyond [`LAST_REVISION`].
    pub fn jump_to(&mut self, revision: Revision) {
        assert!(revision.0 > self.revision, "revisions only grow");
        assert!(revision <= LAST_REVISION, "there is no revision {revision}");
        self.revision = revision.0 - 1;
        self.history = History::new(self.keep(), self.revision(), self.tree.clone());
        self.nothing();
    }

    /// Puts files in their places, each as if set at its own revision, and jumps to revision `at`,
    /// or the next one if that has passed; everything before it is discarded.
    ///
    /// # Errors
    /// The first path that cannot be one, is taken, or lies below or above a file; or the root, if
    /// `at` is beyond [`LAST_REVISION`]. The store is of no use then.
    pub fn load(
        &mut self,
        files: impl IntoIterator<Item = (String, Revision, Bytes)>,
        at: Revision,
    ) -> Result<(), (String, Refusal)> {
        let at = at.0.max(self.revision.saturating_add(1));
        if at > LAST_REVISION.0 {
            return Err(("/".to_owned(), Refusal::NoRevisionLeft));
        }
        let mut last = None;
        for (path, revision, value) in files {
            let put = check_path(&path).and_then(|()| {
                self.tree.put(&path, |spot| {
                    may_set(&spot, Revision::MISSING)?;
                    Ok(set(Revision(revision.0.min(at)), &path, &spot, value))
                })
            });
            let event = put.map_err(|refusal| (path, refusal))?;
            if event.revision.0 == at {
                last = Some(event);
            }
        }
        self.revision = at - 1;
        self.history = History::new(self.keep(), self.revision(), self.tree.clone());
        match last {
            // The newest event must still be told.
            Some(event) => {
                self.revision = at;
                self.history.push(event, &self.tree);
            }
            None => drop(self.nothing()),
        }
        Ok(())
    }

    fn put(&mut self, path: &str, expected: Revision, value: Bytes) -> Result<Arc<Event>, Refusal> {
        let revision = Revision(self.revision + 1);
        let event = self.tree.put(path, |spot| {
            may_set(&spot, expected)?;
            Ok(set(revision, path, &spot, value))
        })?;
        self.enter(Arc::clone(&event));
        Ok(event)
    }

    fn written(&mut self, done: Result<Arc<Event>, Refusal>) -> Written {
        match done {
            Ok(event) => Written {
                event,
                refused: None,
            },
            Err(refusal) => {
                let reason = Bytes::from(refusal.to_string());
                let told = self.put(ERROR_PATH, Revision::ANY, reason);
                Written {
                    // Someone may have put a directory where the reason goes, or a file above it.
                    // Then it becomes a NOP: what followers see must stay what the tree holds.
                    event: told.unwrap_or_else(|_| self.nothing()),
                    refused: Some(refusal),
                }
            }
        }
    }

    /// Whether a write can have a revision. It is asked before every write but a
    /// [jump](Self::jump_to) and a [load](Self::load).
    fn check_room(&self) -> Result<(), Refusal> {
        match self.revision() < LAST_REVISION {
            true => Ok(()),
            false => Err(Refusal::NoRevisionLeft),
        }
    }

    /// Enters a NOP.
    fn nothing(&mut self) -> Arc<Event> {
        self.happened("/", EventKind::Nop)
    }

    /// Enters an event that has no value.
    fn happened(&mut self, path: &str, kind: EventKind) -> Arc<Event> {
        let event = Arc::new(Event {
            revision: Revision(self.revision + 1),
            path: path.into(),
            value: Bytes::new(),
            kind,
        });
        self.enter(Arc::clone(&event));
        event
    }

    /// Enters the event that has made the tree what it is now.
    fn enter(&mut self, event: Arc<Event>) {
        self.revision += 1;
        self.history.push(event, &self.tree);
    }
}

/// The event of a set at a spot. It shares its path with the file that it replaces.
fn set(revision: Revision, path: &str, spot: &Spot<'_>, value: Bytes) -> Arc<Event> {
    let path = match spot {
        Spot::Taken(Node::File(before)) => Arc::clone(&before.path),
        _ => path.into(),
    };
    Arc::new(Event {
        revision,
        path,
        value,
        kind: EventKind::Set,
    })
}

fn may_set(spot: &Spot<'_>, expected: Revision) -> Result<(), Refusal> {
    match spot {
        Spot::BelowFile => Err(Refusal::NotDir),
        spot => may_replace(spot, expected),
    }
}

/// The order of the two checks is a real node's: it shows where `expected` is below -2.
fn may_replace(spot: &Spot<'_>, expected: Revision) -> Result<(), Refusal> {
    let found = match spot {
        Spot::Free | Spot::BelowFile => Revision::MISSING,
        Spot::Taken(Node::File(event)) => event.revision,
        Spot::Taken(Node::Dir(_)) | Spot::Root => Revision::DIRECTORY,
    };
    if expected != Revision::ANY && expected < found {
        Err(Refusal::RevMismatch)
    } else if found == Revision::DIRECTORY {
        Err(Refusal::IsDir)
    } else {
        Ok(())
    }
}

fn check_path(text: &str) -> Result<(), Refusal> {
    if !path::is_valid(text) {
        return Err(Refusal::BadPath);
    }
    if is_too_long(text) {
        return Err(Refusal::PathTooLong);
    }
    Ok(())
}

/// Whether a path or glob is beyond [`MAX_PATH`] or [`MAX_DEPTH`].
#[must_use]
pub fn is_too_long(text: &str) -> bool {
    text.len() > MAX_PATH || text.bytes().filter(|&byte| byte == b'/').count() > MAX_DEPTH
}
