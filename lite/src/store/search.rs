//! The first event that a glob matches, in steps of which each is short.
//!
//! A look at the past is made under the node's lock, so it has a bound: where a glob would have to
//! be tried on many names, it hands out a few events instead. They are tried without the lock, and
//! then the next look goes on behind them. So one client's glob delays nobody, however much it can
//! match.

use std::collections::VecDeque;
use std::sync::Arc;

use cairn_client::Revision;

use crate::store::event::Event;
use crate::store::history::History;
use crate::store::index::ROOT;
use crate::store::pattern::{Part, Pattern, Tail};

/// Events that are tried in order before names are searched: a client that follows a frequent glob
/// finds its next event among them.
const TRIED_FIRST: i64 = 32;

/// Names that one look at the past looks at before it hands out events instead.
const SEARCH_STEPS: usize = 256;

/// Events that one look at the past hands out at most.
const CANDIDATES: usize = 256;

/// The result of a bounded look at the past.
#[derive(Debug)]
pub enum Look {
    /// There is nothing more to look at.
    Known(Found),
    /// These have to be tried, then the past from their end on.
    Among(Candidates),
}

/// Events that a glob may match.
#[derive(Debug)]
pub struct Candidates {
    events: Vec<Arc<Event>>,
    to: Revision,
}

impl Candidates {
    /// Where to look next: at the first of them that matches, or else behind all of them.
    #[must_use]
    pub fn first_match(&self, pattern: &Pattern) -> Revision {
        let matching = self
            .events
            .iter()
            .find(|event| pattern.matches(&event.path));
        matching.map_or(self.to, |event| event.revision)
    }
}

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

impl History {
    /// Looks for the first event at or after `from` whose path matches, with a bounded number of
    /// steps; see [`Look`].
    ///
    /// Costs O(log n) for one path, for `/**` and for everything below a directory. For another
    /// glob it tries the next few events, then looks through the names in history that the glob
    /// can match if those are few, and else hands out events to be tried without the store.
    /// `resumed`: the names were too many when it was last asked. Adds the names and events that it
    /// looked at to `steps`.
    pub(super) fn look(
        &self,
        pattern: &Pattern,
        from: Revision,
        resumed: bool,
        steps: &mut usize,
    ) -> Look {
        let from = from.0.max(1);
        if from < self.oldest {
            return Look::Known(Found::TooLate);
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
            let near = (from..soon)
                .filter_map(|revision| self.held(revision))
                .inspect(|_| *steps += 1)
                .find(|event| pattern.matches(&event.path));
            match near {
                Some(near) => Some(near),
                None if soon > self.newest() => None,
                None => match self.search(pattern, soon, resumed, steps) {
                    Some(found) => found,
                    None => return self.candidates(pattern, soon, steps),
                },
            }
        };
        Look::Known(found.map_or(Found::NotYet, |event| Found::Event(Arc::clone(event))))
    }

    /// The first event from `from` on that matches; `None` if that takes too many steps.
    fn search(
        &self,
        pattern: &Pattern,
        from: i64,
        resumed: bool,
        steps: &mut usize,
    ) -> Option<Option<&Arc<Event>>> {
        if resumed {
            return None;
        }
        let mut search = Search {
            history: self,
            pattern,
            from,
            first: None,
            steps: SEARCH_STEPS,
        };
        let complete = search.visit(ROOT, 0);
        *steps += SEARCH_STEPS - search.steps;
        complete?;
        Some(search.first.and_then(|revision| self.held(revision)))
    }

    /// The next events from `from` on that may match: those below the directory of the glob.
    fn candidates(&self, pattern: &Pattern, from: i64, steps: &mut usize) -> Look {
        let directory = pattern.directory();
        let mut events = Vec::with_capacity(CANDIDATES);
        let mut to = self.newest() + 1;
        if directory.is_empty() {
            let all = self.events_from(Revision(from));
            events.extend(all.take(CANDIDATES).cloned());
            to = to.min(from + i64::try_from(events.len()).expect("a few"));
        } else if let Some(list) = self.index.below(directory) {
            let begin = list.partition_point(|&revision| revision < from);
            for &revision in list.range(begin..) {
                if events.len() == CANDIDATES {
                    to = revision;
                    break;
                }
                events.extend(self.held(revision).cloned());
            }
        }
        *steps += events.len();
        Look::Among(Candidates {
            events,
            to: Revision(to),
        })
    }
}

fn first_from(list: &VecDeque<i64>, from: i64) -> Option<i64> {
    let at = list.partition_point(|&revision| revision < from);
    list.get(at).copied()
}

/// Looks for the first event that a glob matches, name by name. Its steps return `None` once there
/// were too many of them.
struct Search<'a> {
    history: &'a History,
    pattern: &'a Pattern,
    from: i64,
    first: Option<i64>,
    steps: usize,
}

impl Search<'_> {
    /// Looks at a place whose path so far is what the first `depth` parts ask for.
    fn visit(&mut self, place: usize, depth: usize) -> Option<()> {
        let node = &self.history.index.nodes[place];
        match (self.pattern.parts().get(depth), self.pattern.tail()) {
            (Some(Part::Literal(name)), _) => {
                if let Some(&child) = node.children.get(&**name) {
                    self.visit(child, depth + 1)?;
                }
            }
            (Some(part), _) => {
                for (name, &child) in &node.children {
                    self.step()?;
                    if self.may_lead_on(child) && part.matches(name) {
                        self.visit(child, depth + 1)?;
                    }
                }
            }
            (None, Tail::End) => self.offer(first_from(&node.at, self.from)),
            (None, Tail::All) => self.offer(first_from(&node.below, self.from)),
            (None, Tail::Deep) => self.visit_all(place)?,
        }
        Some(())
    }

    /// Tries every path below a place.
    fn visit_all(&mut self, place: usize) -> Option<()> {
        for &child in self.history.index.nodes[place].children.values() {
            self.step()?;
            if !self.may_lead_on(child) {
                continue;
            }
            let at = first_from(&self.history.index.nodes[child].at, self.from);
            let event = at.and_then(|at| self.history.held(at));
            if event.is_some_and(|event| self.pattern.matches(&event.path)) {
                self.offer(at);
            }
            self.visit_all(child)?;
        }
        Some(())
    }

    fn step(&mut self) -> Option<()> {
        self.steps = self.steps.checked_sub(1)?;
        Some(())
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
