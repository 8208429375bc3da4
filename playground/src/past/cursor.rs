//! A state that follows the records of a journal, change by change.

use cairn_journal::replay::{Effect, Replay};
use cairn_journal::{Reader, Record, Result, Sequence, State};

/// A state, and how to go on from it.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    pub(super) state: State,
    /// How many changes it has taken in.
    pub(super) taken: u64,
    /// The last record that it has taken in.
    last: Sequence,
    replay: Replay,
    /// Of a snapshot diff that is not complete.
    held: Vec<Record>,
}

impl Cursor {
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
        for record in reader.records_from(self.last.next()) {
            self.take(record?);
            on_the_way(&self);
            if self.taken >= change {
                break;
            }
        }
        Ok(self)
    }

    fn take(&mut self, record: Record) {
        let step = self.replay.record(&record);
        self.last = record.sequence;
        self.taken += record.entry.changes().len() as u64;
        self.state.revision = record.revision;
        match step.effect {
            Effect::Apply => self.state.apply_entry(record.revision, &record.entry),
            Effect::Hold => self.held.push(record),
            Effect::Discard => self.held.clear(),
            Effect::Resync => {
                for record in std::iter::once(record).chain(std::mem::take(&mut self.held)) {
                    self.state.apply_entry(record.revision, &record.entry);
                }
            }
        }
    }

    /// About how many bytes of memory it takes; nothing is said of a diff that is under way.
    pub(super) fn bytes(&self) -> usize {
        const KEY: usize = 200;
        let files = self.state.files.values();
        files
            .map(|key| KEY + key.path.len() + key.value.len())
            .sum()
    }

    /// Whether it may be kept: no snapshot diff is under way.
    pub(super) fn is_consistent(&self) -> bool {
        !self.replay.in_snapshot_diff()
    }
}
