//! What a server's answers mean, as types.

use bytes::Bytes;

use crate::Revision;

/// A file as GET answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The revision of its last write: what a compare-and-set has to name.
    pub revision: Revision,
    /// Its body.
    pub value: Bytes,
}

/// What STAT knows about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stat {
    /// There is nothing at this path.
    Missing,
    /// A file.
    File {
        /// The revision of its last write.
        revision: Revision,
        /// Bytes in its body.
        len: i32,
    },
    /// A directory.
    Directory {
        /// How many names it holds.
        entries: i32,
    },
}

/// One change of the cluster, or one file of a listing (then always a [`EventKind::Set`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The revision of the change; of a listed file, of its last write.
    pub revision: Revision,
    /// The path that changed; `/` for a NOP.
    pub path: String,
    /// The body that was set; empty for the other kinds.
    pub value: Bytes,
    /// What happened.
    pub kind: EventKind,
}

/// What an [`Event`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The path was set.
    Set,
    /// The path was deleted; it may not have existed.
    Delete,
    /// A revision was consumed and nothing changed.
    Nop,
}
