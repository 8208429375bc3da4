//! What to write into the per-path mirror, and in which order.
//!
//! Pure: decisions only. Two promises:
//!
//! * [`coalesce`] keeps the meaning of a batch for somebody who watches one path: consecutive sets
//!   of a path collapse into the last, a delete never collapses away.
//! * [`PathConflicts`] never lets two operations fly at once whose order matters: the same path, or
//!   a path and one above it (a directory cannot become a file before its last entry is gone). A
//!   cluster may serve pipelined writes of one connection in any order.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use cairn_journal::Revision;

use crate::cluster::rules::KeyRules;

/// One write to the mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// The path that is mirrored.
    pub path: Bytes,
    /// The revision that is now durable: the set's, or the delete's.
    pub revision: Revision,
    /// Whether the mirror entry is set or deleted.
    pub kind: Kind,
}

/// What happens to a mirror entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It says the revision.
    Set,
    /// It goes away.
    Delete,
}

/// Drops every set that is followed by another set of the same path with no delete of it between.
///
/// The survivors keep their order. A path whose family changes shape in between (`/a/b` deleted,
/// then `/a` set) has a delete there, so dropping earlier sets never makes a later one impossible.
#[must_use]
pub fn coalesce(ops: Vec<Op>) -> Vec<Op> {
    let mut set_later: HashSet<Bytes> = HashSet::new();
    let mut kept: Vec<Op> = ops
        .into_iter()
        .rev()
        .filter(|op| match op.kind {
            Kind::Set => set_later.insert(op.path.clone()),
            Kind::Delete => {
                set_later.remove(&op.path);
                true
            }
        })
        .collect();
    kept.reverse();
    kept
}

/// The paths that have a write in flight.
#[derive(Debug)]
pub struct PathConflicts {
    rules: KeyRules,
    in_flight: HashSet<Bytes>,
    /// For every directory above a path in flight: how many there are.
    above: HashMap<Bytes, usize>,
}

impl PathConflicts {
    /// None in flight.
    #[must_use]
    pub fn new(rules: KeyRules) -> Self {
        Self {
            rules,
            in_flight: HashSet::new(),
            above: HashMap::new(),
        }
    }

    /// Takes `path` into flight; `false`, and nothing changes, if one that excludes it is there.
    pub fn start(&mut self, path: &Bytes) -> bool {
        let busy = self.in_flight.contains(path)
            || self.above.contains_key(path)
            || (self.rules.above(path)).any(|directory| self.in_flight.contains(directory));
        if busy {
            return false;
        }
        for directory in self.rules.above(path) {
            *self.above.entry(path.slice_ref(directory)).or_default() += 1;
        }
        self.in_flight.insert(path.clone());
        true
    }

    /// The write of `path` is over.
    pub fn finish(&mut self, path: &Bytes) {
        assert!(
            self.in_flight.remove(path),
            "finished a path that was not in flight"
        );
        for directory in self.rules.above(path) {
            if let Some(count) = self.above.get_mut(directory) {
                *count -= 1;
                if *count == 0 {
                    self.above.remove(directory);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::address::Address;

    fn op(kind: Kind, path: &str, revision: i64) -> Op {
        Op {
            path: Bytes::copy_from_slice(path.as_bytes()),
            revision: Revision(revision),
            kind,
        }
    }

    fn path(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn sets_collapse_into_the_last_and_deletes_stay() {
        use Kind::{Delete, Set};
        let kept = coalesce(vec![
            op(Set, "/a", 1),
            op(Set, "/b", 2),
            op(Set, "/a", 3),
            op(Delete, "/a", 4),
            op(Set, "/a", 5),
            op(Set, "/a", 6),
            op(Delete, "/b", 7),
            op(Delete, "/b", 8),
        ]);
        assert_eq!(
            kept,
            [
                op(Set, "/b", 2),
                op(Set, "/a", 3),
                op(Delete, "/a", 4),
                op(Set, "/a", 6),
                op(Delete, "/b", 7),
                op(Delete, "/b", 8),
            ]
        );
    }

    #[test]
    fn a_directory_that_becomes_a_file_keeps_its_order() {
        use Kind::{Delete, Set};
        let ops = vec![
            op(Set, "/a/b", 1),
            op(Delete, "/a/b", 2),
            op(Set, "/a", 3),
            op(Set, "/a", 4),
        ];
        assert_eq!(
            coalesce(ops),
            [op(Set, "/a/b", 1), op(Delete, "/a/b", 2), op(Set, "/a", 4)]
        );
    }

    #[test]
    fn one_of_a_family_flies_at_a_time() {
        let mut conflicts = PathConflicts::new(Address::default().rules());
        assert!(conflicts.start(&path("/a/b")));
        assert!(!conflicts.start(&path("/a/b")), "the same path");
        assert!(!conflicts.start(&path("/a")), "the directory above");
        assert!(!conflicts.start(&path("/a/b/c")), "a path below");
        assert!(conflicts.start(&path("/a/c")), "a sibling");
        assert!(
            conflicts.start(&path("/ab")),
            "a name that only starts alike"
        );
        conflicts.finish(&path("/a/b"));
        assert!(!conflicts.start(&path("/a")), "the sibling still flies");
        conflicts.finish(&path("/a/c"));
        assert!(conflicts.start(&path("/a")));
        conflicts.finish(&path("/a"));
        conflicts.finish(&path("/ab"));
        assert!(conflicts.in_flight.is_empty());
        assert!(conflicts.above.is_empty());
    }
}
