//! The newest events, in order, and three ways into them: by revision, by path or directory, and
//! as the whole state at one revision.
//!
//! Cost: an event adds one pointer, and eight bytes per component of its path. A state is kept
//! once every [`CHECKPOINT_INTERVAL`] events; the states between are made on demand by putting at
//! most that many events on top of a shared tree, and the last few are remembered. Keeping every
//! state would cost up to a B-tree leaf per directory level and event: gigabytes for the 360,000
//! revisions that a node keeps by default.

use std::collections::VecDeque;
use std::sync::Arc;

use cairn_client::Revision;

use crate::store::event::{Event, EventKind};
use crate::store::index::{Index, Place, ROOT};
use crate::store::pattern::{Part, Pattern, Tail};
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

/// Events that are tried in order before names are searched: a client that follows a frequent glob
/// finds its next event among them.
const TRIED_FIRST: i64 = 32;

/// The result of a search of the past.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// This event is the first one.
    Event(Arc<Event>),
    /// Nothing up to now.
    NotYet,
    /// The revision to start from has been discarded.
    TooLate,
}

#[derive(Debug)]
pub(super) struct History {
    limit: u64,
    /// The oldest revision that may be asked for. Events from the checkpoint before it are still
    /// held, because states are made from there.
    oldest: i64,
    /// Revision of the first held event.
    first: i64,
    events: VecDeque<(Arc<Event>, Place)>,
    index: Index,
    /// States and the revisions at which they held, the first one from just before `first`.
    checkpoints: VecDeque<(i64, Dir)>,
    /// Most recently used last.
    remembered: VecDeque<(i64, Dir)>,
}

impl History {
    /// An empty history that keeps `limit` revisions, on top of `state` at revision `at`.
    pub(super) fn new(limit: u64, at: Revision, state: Dir) -> Self {
        assert!(limit >= 1, "the newest revision is always kept");
        Self {
            limit,
            oldest: at.0 + 1,
            first: at.0 + 1,
            events: VecDeque::new(),
            index: Index::new(),
            checkpoints: VecDeque::from([(at.0, state)]),
            remembered: VecDeque::new(),
        }
    }

    fn newest(&self) -> i64 {
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
        self.events.push_back((event, place));
        let checkpoint = self.checkpoints.back().map_or(0, |(at, _)| *at);
        if revision - checkpoint >= CHECKPOINT_INTERVAL {
            self.checkpoints.push_back((revision, state.clone()));
        }
        let limit = i64::try_from(self.limit).unwrap_or(i64::MAX);
        self.discard_before(revision.saturating_sub(limit) + 1);
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
                let (_, place) = self.events.pop_front().expect("held up to the checkpoint");
                self.index.remove(place);
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

    fn held(&self, revision: i64) -> Option<&Arc<Event>> {
        let at = usize::try_from(revision - self.first).ok()?;
        self.events.get(at).map(|(event, _)| event)
    }

    /// The state right after `revision`, which must be held.
    pub(super) fn state(&mut self, revision: Revision) -> Option<Dir> {
        let revision = revision.0;
        if revision < self.oldest || revision > self.newest() {
            return None;
        }
        if let Some(at) = self.remembered.iter().position(|(at, _)| *at == revision) {
            let entry = self.remembered.remove(at)?;
            let state = entry.1.clone();
            self.remembered.push_back(entry);
            return Some(state);
        }
        let newer = self.checkpoints.partition_point(|(at, _)| *at <= revision);
        let (from, state) = &self.checkpoints[newer - 1];
        let mut state = state.clone();
        for next in from + 1..=revision {
            let event = self
                .held(next)
                .expect("events follow the oldest checkpoint");
            apply(&mut state, event);
        }
        if self.remembered.len() == REMEMBERED_STATES {
            self.remembered.pop_front();
        }
        self.remembered.push_back((revision, state.clone()));
        Some(state)
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

    /// The first event at or after `from` whose path matches.
    ///
    /// Costs O(log n) for one path, for `/**` and for everything below a directory. For another
    /// glob it tries the next few events, then looks through the names in history that the glob
    /// can match: never more than there are different paths, however often they have changed.
    pub(super) fn first_match(&self, pattern: &Pattern, from: Revision) -> Found {
        let from = from.0.max(1);
        if from < self.oldest {
            return Found::TooLate;
        }
        let found = if pattern.is_subtree() && pattern.directory().is_empty() {
            self.held(from)
        } else if pattern.is_literal() {
            self.index
                .at(pattern.as_str())
                .and_then(|list| first_from(list, from))
                .and_then(|revision| self.held(revision))
        } else if pattern.is_subtree() {
            self.index
                .below(pattern.directory())
                .and_then(|list| first_from(list, from))
                .and_then(|revision| self.held(revision))
        } else {
            let soon = from.saturating_add(TRIED_FIRST).min(self.newest() + 1);
            (from..soon)
                .filter_map(|revision| self.held(revision))
                .find(|event| pattern.matches(&event.path))
                .or_else(|| {
                    let mut search = Search {
                        history: self,
                        pattern,
                        from: soon,
                        first: None,
                    };
                    search.visit(ROOT, 0);
                    search.first.and_then(|revision| self.held(revision))
                })
        };
        found.map_or(Found::NotYet, |event| Found::Event(Arc::clone(event)))
    }
}

/// Repeats on a state what an event did.
pub(super) fn apply(state: &mut Dir, event: &Arc<Event>) {
    match event.kind {
        EventKind::Set => state.put(event),
        EventKind::Delete => state.remove(&event.path),
        EventKind::Nop => {}
    }
}

fn first_from(list: &VecDeque<i64>, from: i64) -> Option<i64> {
    let at = list.partition_point(|&revision| revision < from);
    list.get(at).copied()
}

/// Looks for the first event that a glob matches, name by name.
struct Search<'a> {
    history: &'a History,
    pattern: &'a Pattern,
    from: i64,
    first: Option<i64>,
}

impl Search<'_> {
    /// Looks at a place whose path so far is what the first `depth` parts ask for.
    fn visit(&mut self, place: usize, depth: usize) {
        let node = &self.history.index.nodes[place];
        match (self.pattern.parts().get(depth), self.pattern.tail()) {
            (Some(Part::Literal(name)), _) => {
                if let Some(&child) = node.children.get(&**name) {
                    self.visit(child, depth + 1);
                }
            }
            (Some(part), _) => {
                for (name, &child) in &node.children {
                    if self.may_lead_on(child) && part.matches(name) {
                        self.visit(child, depth + 1);
                    }
                }
            }
            (None, Tail::End) => self.offer(first_from(&node.at, self.from)),
            (None, Tail::All) => self.offer(first_from(&node.below, self.from)),
            (None, Tail::Deep) => self.visit_all(place),
        }
    }

    /// Tries every path below a place.
    fn visit_all(&mut self, place: usize) {
        for &child in self.history.index.nodes[place].children.values() {
            if !self.may_lead_on(child) {
                continue;
            }
            let at = first_from(&self.history.index.nodes[child].at, self.from);
            let event = at.and_then(|at| self.history.held(at));
            if event.is_some_and(|event| self.pattern.matches(&event.path)) {
                self.offer(at);
            }
            self.visit_all(child);
        }
    }

    /// Whether there is anything at or below a place that would be the first.
    fn may_lead_on(&self, place: usize) -> bool {
        let node = &self.history.index.nodes[place];
        [&node.at, &node.below].into_iter().any(|list| {
            first_from(list, self.from).is_some_and(|at| self.first.is_none_or(|first| at < first))
        })
    }

    fn offer(&mut self, found: Option<i64>) {
        self.first = match (self.first, found) {
            (Some(first), Some(found)) => Some(first.min(found)),
            (first, found) => first.or(found),
        };
    }
}
