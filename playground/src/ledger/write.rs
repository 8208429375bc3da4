//! Writes as the ledger keeps them.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher as _;
use std::time::Duration;

use bytes::Bytes;

use crate::ledger::outcome::{Class, Outcome};

/// What a cluster or a journal holds: by key, its revision and its value.
pub type Found = BTreeMap<String, (i64, Bytes)>;

/// A write, as the ledger keeps it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write {
    /// Its number in the ledger, from 1; 0 for a state that was found rather than written.
    pub(crate) number: u64,
    /// What identifies its value; `None` for a delete.
    pub(crate) print: Option<u64>,
    pub(crate) outcome: Outcome,
    pub(crate) ended: Duration,
}

impl Write {
    pub(crate) fn is_found(&self) -> bool {
        self.number == 0
    }
}

/// The writes to one key.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) writer: u32,
    pub(crate) writes: Vec<Write>,
    /// Whether the last of them is under way.
    pub(crate) open: bool,
    /// How many of them an audit has judged already.
    pub(crate) judged: usize,
    /// Writes that are not kept one by one any more: all of them before the last acknowledged one.
    pub(crate) folded: Folded,
}

/// How many writes of each class.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Folded {
    pub(crate) durable: u64,
    pub(crate) applied: u64,
    pub(crate) not_applied: u64,
    pub(crate) unknown: u64,
}

impl Key {
    /// Keeps of the writes before the last acknowledged one the newest `kept`; of the others, only
    /// how many of those there were that no audit has judged.
    pub(crate) fn fold(&mut self, kept: usize) {
        let acknowledged = |write: &Write| write.outcome.class() == Class::Durable;
        let last = self.writes.iter().rposition(acknowledged).unwrap_or(0);
        if last < 2 * kept {
            return;
        }
        for (n, write) in self.writes.drain(..last - kept).enumerate() {
            if n < self.judged {
                continue;
            }
            match write.outcome.class() {
                Class::Durable => self.folded.durable += 1,
                Class::Applied => self.folded.applied += 1,
                Class::NotApplied => self.folded.not_applied += 1,
                Class::Unknown => self.folded.unknown += 1,
            }
        }
        self.judged = self.judged.saturating_sub(last - kept);
    }
}

/// What identifies a value. Writers write different values, so that an audit tells them apart.
pub(crate) fn print(value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(value);
    hasher.finish()
}
