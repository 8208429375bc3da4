//! One change of the store. Never altered once made: the tree, the history and every answer
//! share the same one.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use cairn_client::Revision;
use cairn_client::wire::{FLAG_DELETE, FLAG_SET};

/// The change of one revision.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    /// The revision that the event consumed.
    pub revision: Revision,
    /// The path that changed; `/` for a NOP.
    pub path: Arc<str>,
    /// The body that was set; empty for a delete and a NOP.
    pub value: Bytes,
    /// Whether it was a set, a delete or a NOP.
    pub kind: EventKind,
}

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The path has the event's value now.
    Set,
    /// There is no file at the path now (there may have been none before).
    Delete,
    /// Nothing but the revision changed.
    Nop,
}

impl Event {
    /// Bytes of its path and value: what it takes of a history's bound.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.path.len() + self.value.len()) as u64
    }
}

impl EventKind {
    /// The `flags` of an answer that carries such an event.
    #[must_use]
    pub fn flags(self) -> i32 {
        match self {
            Self::Set => FLAG_SET,
            Self::Delete => FLAG_DELETE,
            Self::Nop => 0,
        }
    }
}

impl fmt::Debug for Event {
    /// Bodies may be large or private: only their length is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Event({} {:?} {} of {} bytes)",
            self.revision,
            self.kind,
            self.path,
            self.value.len()
        )
    }
}
