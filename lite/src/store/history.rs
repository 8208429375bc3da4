//! The newest events, in order, and three ways into them: by revision, by path or directory, and
//! as the whole state at one revision.
//!
//! Cost: an event adds one pointer, and eight bytes per component of its path. A state is kept
//! once every [`CHECKPOINT_INTERVAL`] events; the states between are made on demand by putting at
//! most that many events on top of a shared tree, and the last few are remembered. Keeping every
//! state would cost up to a B-tree leaf per directory level and event: gigabytes for the 360,000
//! revisions that a node keeps by default.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use cairn_client::Revision;

use crate::store::event::{Event, EventKind};
use crate::store::index::{Index, Place};
use crate::store::tree::{Dir, Node};

/// Events between two kept states. Smaller costs memory, and time for each write: the first write
/// to a place after a state was kept copies what it changes. Where there are many more keys than
/// this, that is nearly every write, and half of its time. Larger costs time for each read of the
/// past: 512 is at most about 0.2 ms (2 ms among a million keys), and 0 for a state that is
/// remembered.
const CHECKPOINT_INTERVAL: i64 = 512;

/// Remembered states between checkpoints: listings are pinned to one revision, and this many can
/// be under way at once without making a state twice.
const REMEMBERED_STATES: usize = 16;

/// A state is also kept once the events since the last one hold this part of the bytes that a
/// history may hold: whole intervals are discarded, and large values must not wait for a long one.
const BYTES_INTERVAL_PART: u64 = 16;

/// How much of the past is kept. The newest event always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Revisions that can be asked for, the newest included.
    pub revisions: u64,
    /// Bytes of paths and values of the events that can be asked for.
    pub bytes: u64,
}

#[derive(Debug)]
struct Held {
    event: Arc<Event>,
    place: Place,
    /// Bytes of this event and all before it, since the history began.
    bytes_to: u64,
}

#[derive(Debug)]
pub(super) struct History {
    keep: Keep,
    /// The oldest revision that may be asked for. Events from the checkpoint before it are still
    /// held, because states are made from there.
    pub(super) oldest: i64,
    /// Revision of the first held event.
    first: i64,
    events: VecDeque<Held>,
    /// Bytes of all events before `first`.
    bytes_before: u64,
    pub(super) index: Index,
    /// States and the revisions at which they held, the first one from just before `first`.
    checkpoints: VecDeque<(i64, Dir)>,
    /// Bytes of all events up to the newest checkpoint.
    checkpoint_bytes: u64,
    /// Most recently used last.
    remembered: VecDeque<(i64, Dir)>,
}

impl History {
    /// An empty history on top of `state` at revision `at`.
    pub(super) fn new(keep: Keep, at: Revision, state: Dir) -> Self {
        Self {
            keep,
            oldest: at.0 + 1,
            first: at.0 + 1,
            events: VecDeque::new(),
            bytes_before: 0,
            index: Index::new(),
            checkpoints: VecDeque::from([(at.0, state)]),
            checkpoint_bytes: 0,
            remembered: VecDeque::new(),
        }
    }

    pub(super) fn newest(&self) -> i64 {
        self.first - 1 + i64::try_from(self.events.len()).expect("a length fits")
    }

    /// The oldest revision that may be asked for.
    pub(super) fn oldest(&self) -> Revision {
        Revision(self.oldest)
    }

    /// Adds the next event; `state` is the tree after it.
    pub(super) fn push(&mut self, event: Arc<Event>, state: &Dir) {
        let revision = event.revision.0;
        assert_eq!(revision, self.newest() + 1, "revisions have no holes");
        let place = self.index.insert(&event.path, revision);
        let bytes_to = self.bytes_to(revision - 1) + event.bytes();
        self.events.push_back(Held {
            event,
            place,
            bytes_to,
        });
        let checkpoint = self.checkpoints.back().map_or(0, |(at, _)| *at);
        let large = self.keep.bytes / BYTES_INTERVAL_PART;
        if revision - checkpoint >= CHECKPOINT_INTERVAL
            || bytes_to - self.checkpoint_bytes > large.max(1)
        {
            self.checkpoints.push_back((revision, state.clone()));
            self.checkpoint_bytes = bytes_to;
        }
        let revisions = i64::try_from(self.keep.revisions).unwrap_or(i64::MAX);
        let mut oldest = self.oldest.max(revision.saturating_sub(revisions) + 1);
        while oldest < revision && bytes_to - self.bytes_to(oldest - 1) > self.keep.bytes {
            oldest += 1;
        }
        self.discard_before(oldest);
    }

    /// Bytes of all events up to `revision`, which is none that was discarded long ago.
    fn bytes_to(&self, revision: i64) -> u64 {
        let at = usize::try_from(revision - self.first).ok();
        let held = at.and_then(|at| self.events.get(at));
        held.map_or(self.bytes_before, |held| held.bytes_to)
    }

    /// Bytes of paths and values of all events after `revision`, as far as they are held.
    pub(super) fn bytes_after(&self, revision: Revision) -> u64 {
        if revision.0 >= self.newest() {
            return 0;
        }
        self.bytes_to(self.newest()) - self.bytes_to(revision.0)
    }

    /// The events from `from` on, which must be held, in order.
    pub(super) fn events_from(&self, from: Revision) -> impl Iterator<Item = &Arc<Event>> {
        let at = usize::try_from(from.0 - self.first).unwrap_or(0);
        self.events
            .range(at.min(self.events.len())..)
            .map(|held| &held.event)
    }

    /// How much is kept.
    pub(super) fn keep(&self) -> Keep {
        self.keep
    }

    /// Forgets everything before `revision`; the newest event always stays.
    pub(super) fn discard_before(&mut self, revision: i64) {
        self.oldest = self.oldest.max(revision.min(self.newest()));
        // A whole interval at a time: the state to start from must be the one before `first`.
        while let Some((at, _)) = self.checkpoints.get(1)
            && *at < self.oldest
        {
            let next = *at + 1;
            self.checkpoints.pop_front();
            while self.first < next {
                let held = self.events.pop_front().expect("held up to the checkpoint");
                self.index.remove(held.place);
                self.bytes_before = held.bytes_to;
                self.first += 1;
            }
        }
        self.remembered.retain(|(at, _)| *at >= self.oldest);
    }

    /// The event at a revision that is neither discarded nor in the future.
    pub(super) fn event(&self, revision: Revision) -> Option<&Arc<Event>> {
        if revision.0 < self.oldest {
            return None;
        }
        self.held(revision.0)
    }

    pub(super) fn held(&self, revision: i64) -> Option<&Arc<Event>> {
        let at = usize::try_from(revision - self.first).ok()?;
        self.events.get(at).map(|held| &held.event)
    }

    /// The file at `path` right after `revision`, which must be held, without making that state;
    /// `None` if this way does not tell whether there is one.
    pub(super) fn file(&self, path: &str, revision: Revision) -> Option<Arc<Event>> {
        if revision.0 < self.oldest || revision.0 > self.newest() {
            return None;
        }
        let list = self.index.at(path);
        let newest = list.and_then(|list| {
            let after = list.partition_point(|&at| at <= revision.0);
            after.checked_sub(1).map(|index| list[index])
        });
        match newest {
            // Only an event of its own changes a file.
            Some(at) => self
                .held(at)
                .filter(|event| event.kind == EventKind::Set)
                .cloned(),
            None => match self.checkpoints.front()?.1.find(path)? {
                Node::File(event) => Some(Arc::clone(event)),
                Node::Dir(_) => None,
            },
        }
    }

    /// What the state right after `revision`, which must be held, is made of.
    pub(super) fn past(&mut self, revision: Revision) -> Option<Past> {
        let revision = revision.0;
        if revision < self.oldest || revision > self.newest() {
            return None;
        }
        if let Some(at) = self.remembered.iter().position(|(at, _)| *at == revision) {
            let entry = self.remembered.remove(at)?;
            let state = entry.1.clone();
            self.remembered.push_back(entry);
            return Some(Past {
                state,
                events: Vec::new(),
            });
        }
        let newer = self.checkpoints.partition_point(|(at, _)| *at <= revision);
        let (from, state) = &self.checkpoints[newer - 1];
        let events = self.events_from(Revision(from + 1));
        let count = usize::try_from(revision - from).expect("an interval");
        Some(Past {
            state: state.clone(),
            events: events.take(count).cloned().collect(),
        })
    }

    /// Remembers a state that was made of its [`Past`].
    pub(super) fn remember(&mut self, revision: Revision, state: Dir) {
        let known = |(at, _): &(i64, Dir)| *at == revision.0;
        if revision.0 < self.oldest || self.remembered.iter().any(known) {
            return;
        }
        if self.remembered.len() == REMEMBERED_STATES {
            self.remembered.pop_front();
        }
        self.remembered.push_back((revision.0, state));
    }
}

/// What a state of the past is made of: another state, and the events since. To be
/// [made](Past::make) without the store: it takes up to `CHECKPOINT_INTERVAL` steps.
#[derive(Debug)]
pub struct Past {
    state: Dir,
    events: Vec<Arc<Event>>,
}

impl From<Dir> for Past {
    /// A state that is there already.
    fn from(state: Dir) -> Self {
        Self {
            state,
            events: Vec::new(),
        }
    }
}

impl Past {
    /// The events that are still to be applied.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.events.len()
    }

    /// The state.
    #[must_use]
    pub fn make(mut self) -> Dir {
        for event in &self.events {
            apply(&mut self.state, event);
        }
        self.state
    }
}

/// Repeats on a state what an event did.
fn apply(state: &mut Dir, event: &Arc<Event>) {
    match event.kind {
        EventKind::Set => {
            let put = state.put(&event.path, |_| Ok::<_, Infallible>(Arc::clone(event)));
            let Ok(_) = put;
        }
        EventKind::Delete => state.remove(&event.path),
        EventKind::Nop => {}
    }
}
