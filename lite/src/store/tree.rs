//! The state at one revision: an immutable tree of directories that shares structure with the
//! trees before and after it.
//!
//! Cloning a [`Dir`] is O(1). A change copies only what is shared on its way down (about one
//! B-tree leaf of 16 entries per directory level) and works in place where nothing is shared, so
//! a run of writes between two snapshots costs no copying.
//!
//! Paths are taken as already validated; this module never sees the wire.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use smol_str::SmolStr;

use crate::store::event::Event;

/// An entry of a directory.
#[derive(Clone, Debug)]
pub enum Node {
    /// A file: the event that set it, which carries its revision and its body.
    File(Arc<Event>),
    /// A directory. Never empty, except for the root.
    Dir(Arc<Dir>),
}

/// A directory, and thereby everything below it.
#[derive(Clone, Debug, Default)]
pub struct Dir {
    /// By name. Short names lie in the tree itself: copying a leaf then touches no other memory for
    /// them, and among a million keys that is what a write's time goes into.
    entries: OrdMap<SmolStr, Node>,
    /// Files at any depth below, so that a listing can step over a whole directory.
    files: usize,
}

/// The content of a path, as a write sees it.
pub(super) enum Spot<'a> {
    /// Nothing.
    Free,
    /// The path is `/`.
    Root,
    /// A file or a directory.
    Taken(&'a Node),
    /// Nothing, and a file where a directory would have to be.
    BelowFile,
}

/// The names on the way to a path, from the root; none for `/`.
pub(super) fn components(path: &str) -> impl Iterator<Item = &str> {
    let relative = path.strip_prefix('/').unwrap_or(path);
    relative.split('/').filter(|name| !name.is_empty())
}

fn refused<E>(made: Result<Arc<Event>, E>) -> Result<Arc<Event>, E> {
    assert!(made.is_err(), "no file can be there");
    made
}

impl Dir {
    /// The number of names in this directory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing in this directory: only ever true of a root.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of files below this directory, at any depth.
    #[must_use]
    pub fn files(&self) -> usize {
        self.files
    }

    /// The names in this directory, or those that sort after one of them.
    pub fn names(&self, after: Option<&str>) -> impl Iterator<Item = &SmolStr> {
        let all = after.is_none().then(|| self.entries.keys());
        let some = after.map(|name| self.entries_after(name).map(|(name, _)| name));
        all.into_iter().flatten().chain(some.into_iter().flatten())
    }

    pub(super) fn entries(&self) -> &OrdMap<SmolStr, Node> {
        &self.entries
    }

    pub(super) fn entries_after<'a>(
        &'a self,
        name: &str,
    ) -> impl Iterator<Item = (&'a SmolStr, &'a Node)> + use<'a> {
        self.entries
            .range::<_, str>((Bound::Excluded(name), Bound::Unbounded))
    }

    /// The entry at `path`; `None` for `/`, which is `self`.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&Node> {
        match self.look(path) {
            Spot::Taken(node) => Some(node),
            Spot::Free | Spot::BelowFile | Spot::Root => None,
        }
    }

    /// Looks up `path` for a write.
    pub(super) fn look(&self, path: &str) -> Spot<'_> {
        let mut dir = self;
        let mut names = components(path).peekable();
        while let Some(name) = names.next() {
            match (dir.entries.get(name), names.peek()) {
                (None, _) => return Spot::Free,
                (Some(node), None) => return Spot::Taken(node),
                (Some(Node::Dir(below)), Some(_)) => dir = below,
                (Some(Node::File(_)), Some(_)) => return Spot::BelowFile,
            }
        }
        Spot::Root
    }

    /// Puts the file at `path` that `make` makes of what is there, unless it refuses. It must
    /// refuse the root, directories, and what is below a file.
    pub(super) fn put<E>(
        &mut self,
        path: &str,
        make: impl FnOnce(Spot<'_>) -> Result<Arc<Event>, E>,
    ) -> Result<Arc<Event>, E> {
        let mut names = components(path);
        let Some(first) = names.next() else {
            return refused(make(Spot::Root));
        };
        let (event, _) = self.put_at(first, names, make)?;
        Ok(event)
    }

    /// Returns also whether there is one file more now.
    fn put_at<'a, E>(
        &mut self,
        name: &'a str,
        mut rest: impl Iterator<Item = &'a str>,
        make: impl FnOnce(Spot<'_>) -> Result<Arc<Event>, E>,
    ) -> Result<(Arc<Event>, bool), E> {
        let (event, added) = match (self.entries.get_mut(name), rest.next()) {
            (Some(node), None) => {
                let event = make(Spot::Taken(node))?;
                debug_assert!(matches!(node, Node::File(_)), "a directory at {name}");
                *node = Node::File(Arc::clone(&event));
                (event, false)
            }
            (None, None) => {
                let event = make(Spot::Free)?;
                let file = Node::File(Arc::clone(&event));
                self.entries.insert(name.into(), file);
                (event, true)
            }
            (Some(Node::Dir(below)), Some(next)) => {
                Arc::make_mut(below).put_at(next, rest, make)?
            }
            (Some(Node::File(_)), Some(_)) => (refused(make(Spot::BelowFile))?, false),
            (None, Some(next)) => {
                let mut below = Self::default();
                let put = below.put_at(next, rest, make)?;
                self.entries.insert(name.into(), Node::Dir(Arc::new(below)));
                put
            }
        };
        self.files += usize::from(added);
        Ok((event, added))
    }

    /// Removes the file at `path`, and every directory that this leaves empty. Without such a
    /// file nothing happens.
    pub(super) fn remove(&mut self, path: &str) {
        // Looked up first, because the descent below copies what is shared.
        if !matches!(self.find(path), Some(Node::File(_))) {
            return;
        }
        let mut names = components(path);
        let first = names.next().expect("the root is never a file");
        self.remove_at(first, names);
    }

    fn remove_at<'a>(&mut self, name: &'a str, mut rest: impl Iterator<Item = &'a str>) {
        self.files -= 1;
        if let Some(next) = rest.next()
            && let Some(Node::Dir(below)) = self.entries.get_mut(name)
        {
            let below = Arc::make_mut(below);
            below.remove_at(next, rest);
            if !below.is_empty() {
                return;
            }
        }
        self.entries.remove(name);
    }
}
