//! The journal that is shown.

use std::path::PathBuf;

use cairn_journal::{Error, Reader, Sequence, State, Uuid};

use crate::past::cache::Cache;
use crate::past::index::Index;
use crate::told::refusal::Refusal;

/// The journal that is shown.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) journal: PathBuf,
    pub(super) uuid: Uuid,
    /// The first record that it has read.
    pub(super) begin: Sequence,
    pub(super) index: Index,
    cache: Cache,
}

impl Shown {
    pub(super) fn open(journal: PathBuf) -> Option<Self> {
        let reader = Reader::open(&journal).ok()?;
        let uuid = reader.uuid().ok()?;
        let begin = reader.state_follower().ok()?;
        Some(Self {
            index: Index::new(&reader, &begin),
            begin: begin.next(),
            journal,
            uuid,
            cache: Cache::new(begin),
        })
    }

    /// The state right after a change; `None`: the newest.
    pub(super) fn state(&mut self, at: Option<u64>) -> Result<State, Refusal> {
        let count = self.index.count();
        let at = at.unwrap_or(count);
        if at > count {
            let says = format!("there are {count} changes so far, and no change {at}");
            return Err(Refusal::Impossible(says));
        }
        let state = self.cache.state(at, self.index.reader());
        state.map_err(|error| unreadable(&error))
    }
}

pub(super) fn unreadable(error: &Error) -> Refusal {
    Refusal::Failed(format!("the journal cannot be read: {error}"))
}
