//! A state that follows the records of a journal, change by change.

use cairn_journal::{Reader, Result, State, StateFollower};

/// A state, and how many changes it has taken in.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    follower: StateFollower,
    pub(super) taken: u64,
}

impl Cursor {
    /// Before the first change.
    pub(super) fn new(follower: StateFollower) -> Self {
        Self { follower, taken: 0 }
    }

    /// Takes in all records up to the one that has this change, and tells of each.
    pub(super) fn go_to(
        mut self,
        change: u64,
        reader: &Reader,
        mut on_the_way: impl FnMut(&Self),
    ) -> Result<Self> {
        if self.taken >= change {
            return Ok(self);
        }
        for record in reader.records_from(self.follower.next()) {
            let record = record?;
            self.taken += record.entry.changes().len() as u64;
            self.follower.take(record);
            on_the_way(&self);
            if self.taken >= change {
                break;
            }
        }
        Ok(self)
    }

    pub(super) fn state(&self) -> &State {
        self.follower.state()
    }

    /// About how many bytes of memory it takes; nothing is said of a diff that is under way.
    pub(super) fn bytes(&self) -> usize {
        const KEY: usize = 200;
        let files = self.state().files.values();
        files
            .map(|key| KEY + key.path.len() + key.value.len())
            .sum()
    }

    /// Whether it may be kept: no snapshot diff is under way.
    pub(super) fn is_consistent(&self) -> bool {
        !self.follower.replay().in_snapshot_diff()
    }
}
