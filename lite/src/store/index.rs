//! The revisions that changed a path, or anything below a directory.
//!
//! Cost: an event adds eight bytes per component of its path, and is removed without a look-up by
//! name.

use std::collections::{HashMap, VecDeque};

use slab::Slab;
use smol_str::SmolStr;

use crate::store::pattern::names;

/// The number of the node that everything else is below.
pub(super) const ROOT: usize = 0;

/// Where an event is entered in the index, so that removing it needs no lookup by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(usize);

/// Revisions by path and by directory: a trie of path components.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) nodes: Slab<IndexNode>,
}

#[derive(Debug, Default)]
pub(super) struct IndexNode {
    parent: usize,
    name: SmolStr,
    pub(super) children: HashMap<SmolStr, usize>,
    /// Revisions of events at exactly this path, ascending.
    pub(super) at: VecDeque<i64>,
    /// Revisions of events below it, ascending. Not kept for the root, where it would be all.
    pub(super) below: VecDeque<i64>,
}

impl Index {
    pub(super) fn new() -> Self {
        let mut nodes = Slab::new();
        let root = nodes.insert(IndexNode::default());
        debug_assert_eq!(root, ROOT);
        Self { nodes }
    }

    pub(super) fn insert(&mut self, path: &str, revision: i64) -> Place {
        let mut here = ROOT;
        for name in names(path) {
            if here != ROOT {
                self.nodes[here].below.push_back(revision);
            }
            here = match self.nodes[here].children.get(name) {
                Some(&child) => child,
                None => self.add(here, name),
            };
        }
        self.nodes[here].at.push_back(revision);
        Place(here)
    }

    fn add(&mut self, parent: usize, name: &str) -> usize {
        let name = SmolStr::from(name);
        let node = IndexNode {
            parent,
            name: name.clone(),
            ..IndexNode::default()
        };
        let child = self.nodes.insert(node);
        self.nodes[parent].children.insert(name, child);
        child
    }

    /// Removes the oldest event, which was entered at `place`.
    pub(super) fn remove(&mut self, Place(place): Place) {
        self.nodes[place].at.pop_front();
        let mut here = place;
        while here != ROOT {
            let node = &self.nodes[here];
            let parent = node.parent;
            if node.at.is_empty() && node.below.is_empty() {
                debug_assert!(node.children.is_empty(), "what is below is counted");
                let node = self.nodes.remove(here);
                self.nodes[parent].children.remove(&node.name);
            }
            here = parent;
            if here != ROOT {
                self.nodes[here].below.pop_front();
            }
        }
    }

    fn find(&self, path: &str) -> Option<&IndexNode> {
        let mut here = ROOT;
        for name in names(path) {
            here = *self.nodes[here].children.get(name)?;
        }
        Some(&self.nodes[here])
    }

    pub(super) fn at(&self, path: &str) -> Option<&VecDeque<i64>> {
        self.find(path).map(|node| &node.at)
    }

    pub(super) fn below(&self, directory: &str) -> Option<&VecDeque<i64>> {
        self.find(directory).map(|node| &node.below)
    }
}
