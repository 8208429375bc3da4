//! Requests that wait for an event, found by the path of the event.
//!
//! A trie of glob components: the path of an event is followed name by name, into the branch of
//! that very name and into each wildcard branch that matches it. So an event costs what its path
//! can match, plus one try for each *distinct* wildcard at the places it passes; waiters on other
//! paths, and any number of waiters on the same glob, add nothing until they match.
//!
//! Within one glob waiters are ordered by the revision that they wait from, so those that wait
//! for a later revision are not looked at either.

use std::collections::{BTreeMap, HashMap};

use cairn_client::Revision;
use slab::Slab;

use crate::store::event::Event;
use crate::store::pattern::{Part, Pattern, Tail, component_matches, names};

/// The number of the place that everything else is below.
const ROOT: usize = 0;

/// The most different wildcards that requests may wait for at one place: each is tried with every
/// event that passes there.
pub(crate) const MAX_WILDS: usize = 1_024;

/// Names one waiter among all that ever were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WaiterId(u64);

/// Where a waiter is, so that it can be removed without a search.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    node: usize,
    queue: QueueKind,
    key: (i64, WaiterId),
}

/// All waiters of a node; each carries a ticket `T`.
#[derive(Debug)]
pub(crate) struct Waiters<T> {
    nodes: Slab<TrieNode<T>>,
    next_id: u64,
    count: usize,
}

#[derive(Debug)]
struct TrieNode<T> {
    parent: usize,
    /// The branch of the parent that leads here.
    branch: Branch,
    literals: HashMap<Box<str>, usize>,
    wilds: HashMap<Box<str>, usize>,
    /// Waiters on exactly this place.
    exact: Queue<T>,
    /// Waiters on everything below this place.
    all: Queue<T>,
    /// Waiters whose glob goes on with a `**` among other things: tried one glob at a time.
    deep: HashMap<Box<str>, Deep<T>>,
}

#[derive(Debug)]
struct Deep<T> {
    pattern: Pattern,
    queue: Queue<T>,
}

/// Waiters on the same glob, by the revision they wait from.
pub(crate) type Queue<T> = BTreeMap<(i64, WaiterId), T>;

#[derive(Clone, Debug)]
enum QueueKind {
    Exact,
    All,
    Deep(Box<str>),
}

#[derive(Clone, Debug)]
enum Branch {
    Root,
    Literal(Box<str>),
    Wild(Box<str>),
}

impl<T> TrieNode<T> {
    fn new(parent: usize, branch: Branch) -> Self {
        Self {
            parent,
            branch,
            literals: HashMap::new(),
            wilds: HashMap::new(),
            exact: Queue::new(),
            all: Queue::new(),
            deep: HashMap::new(),
        }
    }

    fn is_unused(&self) -> bool {
        self.exact.is_empty()
            && self.all.is_empty()
            && self.deep.is_empty()
            && self.literals.is_empty()
            && self.wilds.is_empty()
    }
}

impl<T> Default for Waiters<T> {
    fn default() -> Self {
        let mut nodes = Slab::new();
        let root = nodes.insert(TrieNode::new(ROOT, Branch::Root));
        debug_assert_eq!(root, ROOT);
        Self {
            nodes,
            next_id: 0,
            count: 0,
        }
    }
}

impl<T> Waiters<T> {
    /// The number of waiters.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Adds a waiter for the first event at or after `from` that matches.
    pub(crate) fn add(&mut self, pattern: &Pattern, from: Revision, ticket: T) -> Handle {
        let mut here = ROOT;
        for part in pattern.parts() {
            here = self.child(here, part);
        }
        let key = (from.0, WaiterId(self.next_id));
        self.next_id += 1;
        self.count += 1;
        let node = &mut self.nodes[here];
        let queue = match pattern.tail() {
            Tail::End => {
                node.exact.insert(key, ticket);
                QueueKind::Exact
            }
            Tail::All => {
                node.all.insert(key, ticket);
                QueueKind::All
            }
            Tail::Deep => {
                let glob: Box<str> = pattern.as_str().into();
                let deep = node.deep.entry(glob.clone()).or_insert_with(|| Deep {
                    pattern: pattern.clone(),
                    queue: Queue::new(),
                });
                deep.queue.insert(key, ticket);
                QueueKind::Deep(glob)
            }
        };
        Handle {
            node: here,
            queue,
            key,
        }
    }

    /// Removes a waiter; nothing happens if it is gone already.
    pub(crate) fn remove(&mut self, handle: &Handle) -> Option<T> {
        let node = self.nodes.get_mut(handle.node)?;
        let ticket = match &handle.queue {
            QueueKind::Exact => node.exact.remove(&handle.key),
            QueueKind::All => node.all.remove(&handle.key),
            QueueKind::Deep(glob) => {
                let deep = node.deep.get_mut(glob)?;
                let ticket = deep.queue.remove(&handle.key);
                if deep.queue.is_empty() {
                    node.deep.remove(glob);
                }
                ticket
            }
        }?;
        self.count -= 1;
        self.prune(handle.node);
        Some(ticket)
    }

    /// Removes every waiter that the event is for, and hands over their queues, however long, in
    /// O(log n) each. Returns how many places and globs it tried.
    pub(crate) fn fire(&mut self, event: &Event, mut take: impl FnMut(Queue<T>)) -> usize {
        if self.count == 0 {
            return 0;
        }
        let path: Vec<&str> = names(&event.path).collect();
        let mut visited = Vec::new();
        let before = self.count;
        let mut tried = 0;
        self.fire_at(ROOT, &path, event, &mut take, &mut visited, &mut tried);
        tried += visited.len();
        if self.count < before {
            for node in visited {
                self.prune(node);
            }
        }
        tried
    }

    /// Whether a place that the pattern passes has as many different wildcards as it may have, and
    /// the pattern would add one: each costs every event that passes there.
    pub(crate) fn is_crowded(&self, pattern: &Pattern) -> bool {
        let mut here = ROOT;
        for part in pattern.parts() {
            let node = &self.nodes[here];
            let next = match part {
                Part::Literal(name) => node.literals.get(name),
                Part::Wild(name) => node.wilds.get(name),
            };
            match (next, part) {
                (Some(&next), _) => here = next,
                (None, Part::Wild(_)) => return node.wilds.len() >= MAX_WILDS,
                (None, Part::Literal(_)) => return false,
            }
        }
        let deep = &self.nodes[here].deep;
        pattern.tail() == Tail::Deep
            && deep.len() >= MAX_WILDS
            && !deep.contains_key(pattern.as_str())
    }

    fn fire_at(
        &mut self,
        here: usize,
        rest: &[&str],
        event: &Event,
        take: &mut impl FnMut(Queue<T>),
        visited: &mut Vec<usize>,
        tried: &mut usize,
    ) {
        let node = &mut self.nodes[here];
        let revision = event.revision.0;
        let Some((name, below)) = rest.split_first() else {
            self.count -= drain(&mut node.exact, revision, take);
            visited.push(here);
            return;
        };
        self.count -= drain(&mut node.all, revision, take);
        if !node.deep.is_empty() {
            let mut fired = 0;
            *tried += node.deep.len();
            node.deep.retain(|_, deep| {
                if deep.pattern.matches(&event.path) {
                    fired += drain(&mut deep.queue, revision, take);
                }
                !deep.queue.is_empty()
            });
            self.count -= fired;
        }
        let literal = node.literals.get(*name).copied();
        *tried += node.wilds.len();
        let wild: Vec<usize> = node
            .wilds
            .iter()
            .filter(|(wild, _)| component_matches(wild, name))
            .map(|(_, &child)| child)
            .collect();
        for child in literal.into_iter().chain(wild) {
            self.fire_at(child, below, event, take, visited, tried);
        }
        visited.push(here);
    }

    fn child(&mut self, parent: usize, part: &Part) -> usize {
        let (branches, name) = match part {
            Part::Literal(name) => (&self.nodes[parent].literals, name),
            Part::Wild(name) => (&self.nodes[parent].wilds, name),
        };
        if let Some(&child) = branches.get(name) {
            return child;
        }
        let branch = match part {
            Part::Literal(name) => Branch::Literal(name.clone()),
            Part::Wild(name) => Branch::Wild(name.clone()),
        };
        let node = TrieNode::new(parent, branch);
        let child = self.nodes.insert(node);
        match part {
            Part::Literal(name) => self.nodes[parent].literals.insert(name.clone(), child),
            Part::Wild(name) => self.nodes[parent].wilds.insert(name.clone(), child),
        };
        child
    }

    /// Frees a place that nobody waits at, and what led only there.
    fn prune(&mut self, mut here: usize) {
        // One that was freed before is no longer there.
        while here != ROOT && self.nodes.get(here).is_some_and(TrieNode::is_unused) {
            let node = self.nodes.remove(here);
            let parent = &mut self.nodes[node.parent];
            match node.branch {
                Branch::Literal(name) => parent.literals.remove(&name),
                Branch::Wild(name) => parent.wilds.remove(&name),
                Branch::Root => None,
            };
            here = node.parent;
        }
    }
}

/// Takes those that wait from `revision` or earlier.
fn drain<T>(queue: &mut Queue<T>, revision: i64, take: &mut impl FnMut(Queue<T>)) -> usize {
    let is_due = |key: &(i64, WaiterId)| key.0 <= revision;
    if !queue.first_key_value().is_some_and(|(key, _)| is_due(key)) {
        return 0;
    }
    let due = if queue.last_key_value().is_some_and(|(key, _)| is_due(key)) {
        std::mem::take(queue)
    } else {
        let later = queue.split_off(&(revision + 1, WaiterId(0)));
        std::mem::replace(queue, later)
    };
    let taken = due.len();
    take(due);
    taken
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::store::event::EventKind;

    fn event(path: &str, revision: i64) -> Event {
        Event {
            revision: Revision(revision),
            path: Arc::from(path),
            value: Bytes::new(),
            kind: EventKind::Set,
        }
    }

    fn fired(waiters: &mut Waiters<usize>, path: &str, revision: i64) -> Vec<usize> {
        let mut tickets = Vec::new();
        waiters.fire(&event(path, revision), |queue| {
            tickets.extend(queue.into_values());
        });
        tickets.sort_unstable();
        tickets
    }

    /// Against the obvious way: keep a list, try every waiter.
    #[test]
    fn exactly_the_waiters_that_match_fire() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let globs: Vec<Pattern> = [
            "/", "/**", "/*", "/a", "/a/b", "/a/*", "/*/b", "/a/**", "/**/b", "/a**", "/?", "/*/*",
            "/a/*/c", "/*/**", "/a/b/**", "/***", "/a*/b*",
        ]
        .iter()
        .map(|glob| Pattern::parse(glob).unwrap())
        .collect();
        let paths = [
            "/", "/a", "/b", "/a/b", "/a/c", "/a/b/c", "/b/b", "/ab", "/ab/bc",
        ];
        let mut waiters = Waiters::default();
        let mut list: Vec<(usize, i64, usize, Handle)> = Vec::new();
        for revision in 1..5_000 {
            for _ in 0..random.usize(..4) {
                let glob = random.usize(..globs.len());
                let from = revision + random.i64(-3..4);
                let ticket = random.usize(..);
                let handle = waiters.add(&globs[glob], Revision(from), ticket);
                list.push((glob, from, ticket, handle));
            }
            if random.u8(..) < 60 && !list.is_empty() {
                let (_, _, ticket, handle) = list.swap_remove(random.usize(..list.len()));
                assert_eq!(waiters.remove(&handle), Some(ticket));
                assert_eq!(waiters.remove(&handle), None);
            }
            let path = paths[random.usize(..paths.len())];
            let (due, rest): (Vec<_>, Vec<_>) = list
                .into_iter()
                .partition(|(glob, from, _, _)| *from <= revision && globs[*glob].matches(path));
            list = rest;
            let mut want: Vec<usize> = due.iter().map(|(_, _, ticket, _)| *ticket).collect();
            want.sort_unstable();
            assert_eq!(
                fired(&mut waiters, path, revision),
                want,
                "{path} at {revision}"
            );
            assert_eq!(waiters.len(), list.len());
        }
    }

    #[test]
    fn nothing_is_left_behind_when_all_are_gone() {
        let mut waiters = Waiters::default();
        let handles: Vec<Handle> = (0..1_000)
            .map(|n| {
                let glob =
                    ["/a/N/*/b", "/a/N", "/N/**", "/N**"][n % 4].replace('N', &n.to_string());
                waiters.add(&Pattern::parse(&glob).unwrap(), Revision(1), n)
            })
            .collect();
        for (n, handle) in handles.iter().enumerate() {
            match n % 4 {
                1 => assert_eq!(fired(&mut waiters, &format!("/a/{n}"), 1), [n]),
                2 => assert_eq!(fired(&mut waiters, &format!("/{n}/x/y"), 1), [n]),
                _ => assert_eq!(waiters.remove(handle), Some(n)),
            }
        }
        assert_eq!(waiters.len(), 0);
        assert!(waiters.nodes[ROOT].is_unused());
        assert_eq!(waiters.nodes.len(), 1, "only the root is left");
    }
}
