//! A state as a sorted stream, and a way to sort another one like it, so that two states can be
//! compared entry by entry while neither is in memory.
//!
//! Promise: memory depends neither on the size of the states nor on the length of history. What does
//! not fit lies in temporary files in the journal's directory; they go with the value that made them, or at
//! the next opening.

use std::sync::{Arc, atomic::AtomicU64};

use super::{
    BUFFER_BYTES,
    blocks::Item,
    buffers::Meter,
    collect::{Collected, collect},
    file::{Checkpoint, CheckpointEntry},
    history::History,
    merge::{Input, Merge},
    runs::{Runs, Workshop},
};
use crate::{Error, Journal, Reader, Result, Revision, Sequence, Stop, recovery};

/// Entries in the order of their paths, as bytes. Holds a block of each part that they are merged from.
pub struct SortedEntries {
    merge: Merge,
    ended: bool,
    /// The files that are merged; removed after it.
    _runs: Runs,
}

impl std::fmt::Debug for SortedEntries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SortedEntries").finish_non_exhaustive()
    }
}

impl Iterator for SortedEntries {
    type Item = Result<CheckpointEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.merge.next() {
                Ok(Some(item)) => {
                    // What is gone is gone: nothing older is left that it would have to hide.
                    let Some(value) = item.value else { continue };
                    return Some(Ok(CheckpointEntry {
                        path: item.path,
                        revision: item.revision,
                        value,
                    }));
                }
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// The state at the last settled point of a journal.
#[derive(Debug)]
#[non_exhaustive]
pub struct SettledState {
    /// The last record that it takes in.
    pub sequence: Sequence,
    /// The revision covered there.
    pub revision: Revision,
    /// Every path that exists.
    pub entries: SortedEntries,
}

/// Sorts entries by path; of several with the same path the last one counts.
#[derive(Debug)]
pub struct Sorter(Runs);

impl Sorter {
    /// Takes one in.
    pub fn push(&mut self, entry: CheckpointEntry) -> Result<()> {
        self.0.push(Item {
            path: entry.path,
            revision: entry.revision,
            value: Some(entry.value),
        })
    }

    /// All that were taken in.
    pub fn sorted(self) -> Result<SortedEntries> {
        SortedEntries::of(None, self.0)
    }
}

impl SortedEntries {
    /// `base`, and what is newer.
    fn of(base: Option<Input>, mut newer: Runs) -> Result<Self> {
        let mut inputs: Vec<Input> = base.into_iter().collect();
        inputs.extend(newer.inputs()?);
        Ok(Self {
            merge: Merge::new(inputs)?,
            ended: false,
            _runs: newer,
        })
    }
}

impl Journal {
    /// The state that [`crate::state`] tells, of durable records only, in bounded memory. A difference that
    /// is not complete is left out, unless a part of it was lost. Begins with the newest checkpoint that is
    /// sound, else with the first record.
    pub fn settled_state(&self, stop: &Stop) -> Result<SettledState> {
        let reader = self.reader()?;
        let upto = self.end().durable;
        let history = History::read(&**reader.storage(), reader.dir())?;
        let mut damaged = history.checkpoints.damaged.clone();
        for base in &history.checkpoints.usable {
            match base.verify() {
                Ok(()) => return settled(&reader, Some(base), upto, stop),
                Err(error @ Error::CheckpointDamaged { .. }) => {
                    tracing::warn!(%error, "a damaged checkpoint is passed over");
                    damaged.push(error);
                }
                Err(other) => return Err(other),
            }
        }
        if history.is_complete() {
            return settled(&reader, None, upto, stop);
        }
        let last = damaged.pop();
        Err(last.expect("what is not complete has a checkpoint, sound or not"))
    }

    /// A sorter whose files lie in the journal's directory.
    pub fn sorter(&self) -> Result<Sorter> {
        Ok(Sorter(Runs::new(workshop(&self.reader()?, &Stop::new()))))
    }
}

fn workshop(reader: &Reader, stop: &Stop) -> Workshop {
    let storage = reader.storage().clone();
    // Numbers of its own: others may be at work in the same directory.
    let made = AtomicU64::new(recovery::salt(&*storage) | 1 << 63);
    Workshop {
        dir: reader.dir().to_owned(),
        storage,
        buffer_bytes: BUFFER_BYTES,
        meter: Arc::new(Meter::default()),
        made: Arc::new(made),
        stop: stop.clone(),
    }
}

fn settled(
    reader: &Reader,
    base: Option<&Checkpoint>,
    upto: Sequence,
    stop: &Stop,
) -> Result<SettledState> {
    let workshop = workshop(reader, stop);
    let Collected {
        mut runs,
        partial,
        point,
    } = collect(reader, base, upto, &workshop)?;
    runs.absorb(partial)?;
    let input = match base {
        Some(base) => Some(Input::File(Box::new(base.blocks(&workshop.meter)?))),
        None => None,
    };
    Ok(SettledState {
        sequence: point.sequence,
        revision: point.tracker.covered,
        entries: SortedEntries::of(input, runs)?,
    })
}
