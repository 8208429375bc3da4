//! The files that match a glob, in a server's order: directory by directory, names in byte order.
//!
//! A walk goes only where the glob can match, can start after any path, and steps over whole
//! directories when it only has to count. So the n-th entry costs O(depth * log n) after the
//! entry before it is known, and at most one step per name passed otherwise.

use std::sync::Arc;

use smol_str::SmolStr;

use crate::store::event::Event;
use crate::store::pattern::{Part, Pattern, Tail};
use crate::store::tree::{Dir, Node, components};

/// An iterator over the files of one state that match one glob.
pub struct Walk<'a> {
    pattern: &'a Pattern,
    /// The directories on the way, from the root; what is left of each.
    open: Vec<Entries<'a>>,
}

type Entries<'a> = Box<dyn Iterator<Item = (&'a SmolStr, &'a Node)> + Send + 'a>;

/// The end of a bounded step of a walk.
#[derive(Debug)]
pub enum Step<'a> {
    /// The file was reached.
    At(&'a Arc<Event>),
    /// There are not that many.
    End,
    /// The budget was used up; so many matches are still to be skipped.
    Unfinished(usize),
}

impl<'a> Walk<'a> {
    /// Starts at the first match, or at the first one that sorts after `after`.
    #[must_use]
    pub fn new(state: &'a Dir, pattern: &'a Pattern, after: Option<&str>) -> Self {
        let mut walk = Self {
            pattern,
            open: Vec::new(),
        };
        let Some(after) = after else {
            walk.enter(state, None);
            return walk;
        };
        let mut dir = state;
        for name in components(after) {
            let part = pattern.parts().get(walk.open.len());
            walk.enter(dir, Some(name));
            match dir.entries().get(name) {
                Some(Node::Dir(below))
                    if part.is_none_or(|part| part.matches(name)) && walk.may_go_below() =>
                {
                    dir = below;
                }
                _ => break,
            }
        }
        walk
    }

    fn enter(&mut self, dir: &'a Dir, after: Option<&str>) {
        let entries = dir.entries();
        let left: Entries<'a> = match self.pattern.parts().get(self.open.len()) {
            Some(Part::Literal(name)) if after.is_none_or(|after| after < &**name) => {
                Box::new(entries.get_key_value(&**name).into_iter())
            }
            Some(Part::Literal(_)) => Box::new(std::iter::empty()),
            Some(Part::Wild(_)) | None => match after {
                None => Box::new(entries.iter()),
                Some(name) => Box::new(dir.entries_after(name)),
            },
        };
        self.open.push(left);
    }

    /// Whether what is below an entry of the innermost open directory can match at all.
    fn may_go_below(&self) -> bool {
        self.pattern.tail() != Tail::End || self.open.len() < self.pattern.parts().len()
    }

    /// The `skip`-th match from here, after looking at no more than about `budget` names.
    pub fn step(&mut self, mut skip: usize, budget: usize) -> Step<'a> {
        let mut looked_at = 0;
        while let Some(entries) = self.open.last_mut() {
            let Some((name, node)) = entries.next() else {
                self.open.pop();
                continue;
            };
            let depth = self.open.len();
            let parts = self.pattern.parts();
            looked_at += 1;
            if parts.get(depth - 1).is_some_and(|part| !part.matches(name)) {
                if looked_at >= budget {
                    return Step::Unfinished(skip);
                }
                continue;
            }
            match node {
                Node::Dir(below) if self.may_go_below() => {
                    let all_match = self.pattern.tail() == Tail::All && depth >= parts.len();
                    if all_match && below.files() <= skip {
                        skip -= below.files();
                    } else {
                        self.enter(below, None);
                    }
                }
                Node::File(event) if self.is_match(depth, event) => {
                    if skip == 0 {
                        return Step::At(event);
                    }
                    skip -= 1;
                }
                _ => {}
            }
            if looked_at >= budget {
                return Step::Unfinished(skip);
            }
        }
        Step::End
    }

    fn is_match(&self, depth: usize, event: &Event) -> bool {
        match self.pattern.tail() {
            Tail::End => depth == self.pattern.parts().len(),
            Tail::All => depth > self.pattern.parts().len(),
            Tail::Deep => depth > self.pattern.parts().len() && self.pattern.matches(&event.path),
        }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = &'a Arc<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step(0, usize::MAX) {
                Step::At(event) => return Some(event),
                Step::End => return None,
                Step::Unfinished(_) => {}
            }
        }
    }
}
