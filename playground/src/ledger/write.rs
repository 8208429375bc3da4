//! Writes as the ledger keeps them.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher as _;
use std::time::Duration;

use bytes::Bytes;

use crate::ledger::outcome::Outcome;

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
}

/// What identifies a value. Writers write different values, so that an audit tells them apart.
pub(crate) fn print(value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(value);
    hasher.finish()
}
