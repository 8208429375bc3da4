//! States that were built before, so that a slider that moves does not read everything each time.

use std::collections::BTreeMap;

use cairn_journal::{Reader, Result, State, StateFollower};

use crate::past::cursor::Cursor;
use crate::past::index::EVERY;

/// How many bytes of states are kept, about.
const ROOM: usize = 32 << 20;

/// States at every 256th change and at the last one that was asked for, the oldest use going first.
#[derive(Debug)]
pub(super) struct Cache {
    /// Before the first change.
    begin: Cursor,
    /// By the changes taken in: the state, its size, and when it was used.
    kept: BTreeMap<u64, (Cursor, usize, u64)>,
    uses: u64,
}

impl Cache {
    pub(super) fn new(begin: StateFollower) -> Self {
        Self {
            begin: Cursor::new(begin),
            kept: BTreeMap::new(),
            uses: 0,
        }
    }

    /// The state right after this change.
    pub(super) fn state(&mut self, change: u64, reader: &Reader) -> Result<State> {
        self.uses += 1;
        let near = self.kept.range_mut(..=change).next_back();
        let begin = match near {
            Some((_, (cursor, _, used))) => {
                *used = self.uses;
                cursor.clone()
            }
            None => self.begin.clone(),
        };
        let mut last = begin.taken;
        let mut passed = Vec::new();
        let mut bytes = 0;
        let cursor = begin.go_to(change, reader, |cursor| {
            if cursor.taken / EVERY > last / EVERY && cursor.is_consistent() && bytes < ROOM {
                last = cursor.taken;
                bytes += cursor.bytes();
                passed.push(cursor.clone());
            }
        })?;
        let state = cursor.state().clone();
        for cursor in passed.into_iter().chain(std::iter::once(cursor)) {
            self.keep(cursor);
        }
        Ok(state)
    }

    fn keep(&mut self, cursor: Cursor) {
        if !cursor.is_consistent() {
            return;
        }
        let bytes = cursor.bytes();
        self.kept.insert(cursor.taken, (cursor, bytes, self.uses));
        while self.kept.len() > 1 && self.bytes() > ROOM {
            let oldest = self.kept.iter().min_by_key(|(_, (_, _, used))| *used);
            let Some(oldest) = oldest.map(|(taken, _)| *taken) else {
                break;
            };
            self.kept.remove(&oldest);
        }
    }

    fn bytes(&self) -> usize {
        self.kept.values().map(|(_, bytes, _)| bytes).sum()
    }
}
