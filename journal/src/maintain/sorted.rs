//! A state as a sorted stream, and a way to sort another one like it, so that two states can be
//! compared entry by entry while neither is in memory.
//!
//! Promise: memory depends neither on the size of the states nor on the length of history. What
//! does not fit lies in temporary files in the journal's directory; they go with the value that
//! made them, or at the next opening.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use crate::{
    checkpoint::{buffers::Meter, file::Checkpoint, history::History, item::Live},
    directory::handle::Directory,
    error::{Error, Result},
    maintain::{
        collect::{Collected, collect},
        merge::{Input, Merge},
        runs::{BUFFER_BYTES, Runs, SortContext},
    },
    model::{
        entry::KeyValue,
        ids::{Revision, Sequence},
    },
    read::{reader::Reader, state::RETRIES},
    stop::Stop,
    storage::salt::new_salt,
    write::journal::Journal,
};

/// Entries in the order of their paths, as bytes. Holds a block of each part that they are merged
/// from. Leaves out what control writes have set.
pub struct SortedEntries {
    merge: Merge,
    /// What was read of it already.
    next: Option<Live>,
    ended: bool,
    with_control: bool,
    /// The files that are merged; removed after it.
    _runs: Runs,
}

impl std::fmt::Debug for SortedEntries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SortedEntries").finish_non_exhaustive()
    }
}

impl Iterator for SortedEntries {
    type Item = Result<KeyValue>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.advance() {
                Ok(Some(Live::Path(kv))) if self.with_control || !kv.is_control => {
                    return Some(Ok(kv));
                }
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The state at the last consistent point of a journal.
#[derive(Debug)]
#[non_exhaustive]
pub struct ConsistentState {
    /// The last record that it takes in.
    pub sequence: Sequence,
    /// The revision covered there.
    pub revision: Revision,
    /// The leases that are alive: the id of each, and the time to live that it was granted, in
    /// seconds.
    pub leases: BTreeMap<i64, i64>,
    /// Every path that exists.
    pub entries: SortedEntries,
}

/// Sorts entries by path; of several with the same path the last one counts.
#[derive(Debug)]
pub struct Sorter(Runs);

impl Sorter {
    /// A sorter whose files lie in this directory, which is there.
    #[must_use]
    pub fn within(dir: &Path) -> Self {
        Self(Runs::new(context(&Directory::at(dir), &Stop::new())))
    }

    /// Takes one in.
    ///
    /// # Errors
    /// A full disk: what does not fit into memory is sorted in files.
    pub fn push(&mut self, entry: KeyValue) -> Result<()> {
        self.0.push(entry.into())
    }

    /// All that were taken in.
    ///
    /// # Errors
    /// The disk's.
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
            next: None,
            ended: false,
            with_control: false,
            _runs: newer,
        })
    }

    /// Gives what control writes have set, too.
    #[must_use]
    pub fn with_control(mut self) -> Self {
        self.with_control = true;
        self
    }

    /// The leases, which come first.
    fn leases(&mut self) -> Result<BTreeMap<i64, i64>> {
        let mut leases = BTreeMap::new();
        loop {
            match self.advance()? {
                Some(Live::Lease(id, granted_ttl)) => leases.insert(id, granted_ttl),
                other => {
                    self.next = other;
                    return Ok(leases);
                }
            };
        }
    }

    fn advance(&mut self) -> Result<Option<Live>> {
        if self.next.is_some() {
            return Ok(self.next.take());
        }
        while !self.ended {
            self.ended = true;
            let Some(item) = self.merge.next()? else {
                break;
            };
            self.ended = false;
            // What is gone is gone: nothing older is left that it would have to hide.
            if !item.is_gone() {
                let live = item.live();
                return Ok(Some(
                    live.expect("what is merged was read back, or is a record's"),
                ));
            }
        }
        Ok(None)
    }
}

impl Journal {
    /// The state that [`Reader::state`](crate::Reader::state) tells, of durable records only, in
    /// bounded memory. A snapshot diff that is not complete is left out, unless a part of it was
    /// lost. Begins with the newest checkpoint that is sound, else with the first record.
    ///
    /// # Errors
    /// [`Error::CheckpointDamaged`] if history does not begin with the first record and no
    /// checkpoint is sound; [`Error::Stopped`]. Damage in records is met while the state is read.
    pub fn consistent_state(&self, stop: &Stop) -> Result<ConsistentState> {
        let reader = self.reader()?;
        let context = context(reader.directory(), stop);
        retrying(|| consistent(&reader, self.end().durable, &context))
    }

    /// A sorter whose files lie in the journal's directory.
    ///
    /// # Errors
    /// The disk's.
    pub fn sorter(&self) -> Result<Sorter> {
        let context = context(self.reader()?.directory(), &Stop::new());
        Ok(Sorter(Runs::new(context)))
    }
}

impl Reader {
    /// The state after the record `upto`, or at the last consistent point before it, in bounded
    /// memory. What does not fit into memory lies in `scratch`, a directory that is there.
    ///
    /// # Errors
    /// As [`Journal::consistent_state`]; [`Error::Retired`] if every checkpoint is newer.
    pub fn sorted_state(
        &self,
        upto: Sequence,
        scratch: &Path,
        stop: &Stop,
    ) -> Result<ConsistentState> {
        let context = context(&Directory::at(scratch), stop);
        retrying(|| consistent(self, upto, &context))
    }
}

/// What retention removed while it was about to be read is not asked for a second time.
fn retrying(attempt: impl Fn() -> Result<ConsistentState>) -> Result<ConsistentState> {
    for _ in 0..RETRIES {
        match attempt() {
            Err(Error::Retired { .. }) => {}
            Err(error) if error.is_gone() => {}
            other => return other,
        }
    }
    attempt()
}

/// From the newest sound checkpoint up to `upto` on, else from the first record.
fn consistent(reader: &Reader, upto: Sequence, context: &SortContext) -> Result<ConsistentState> {
    let history = History::read(reader.directory().storage(), reader.dir())?;
    let mut damaged = history.checkpoints.damaged.clone();
    let usable = history.checkpoints.usable.iter();
    for base in usable.filter(|base| base.sequence() <= upto) {
        match base.verify_unless(&context.stop) {
            Ok(()) => return from(reader, Some(base), upto, context),
            Err(error @ Error::CheckpointDamaged { .. }) => {
                tracing::warn!(%error, "a damaged checkpoint is passed over");
                damaged.push(error);
            }
            Err(other) => return Err(other),
        }
    }
    if history.is_complete() {
        return from(reader, None, upto, context);
    }
    Err(damaged.pop().unwrap_or(Error::Retired {
        sequence: upto,
        oldest: history.oldest.first,
    }))
}

fn context(directory: &Directory, stop: &Stop) -> SortContext {
    let storage = directory.shared().clone();
    // Numbers of its own: others may be at work in the same directory.
    let made = AtomicU64::new(new_salt(&*storage) | 1 << 63);
    SortContext {
        dir: directory.path().to_owned(),
        storage,
        buffer_bytes: BUFFER_BYTES,
        meter: Arc::new(Meter::default()),
        made: Arc::new(made),
        stop: stop.clone(),
    }
}

fn from(
    reader: &Reader,
    base: Option<&Checkpoint>,
    upto: Sequence,
    context: &SortContext,
) -> Result<ConsistentState> {
    let Collected { runs, point } = collect(reader, base, upto, context)?;
    let input = match base {
        Some(base) => Some(Input::File(Box::new(base.blocks(&context.meter)?))),
        None => None,
    };
    let mut entries = SortedEntries::of(input, runs)?;
    Ok(ConsistentState {
        sequence: point.sequence,
        revision: point.replay.covered(),
        leases: entries.leases()?,
        entries,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            entry::{Change, Entry, GapReason, NewRecord},
            time::Timestamp,
        },
        options::Options,
    };

    /// A repair that finds only bookkeeping lost within a snapshot diff lets the snapshot diff go
    /// on; it counts once it is complete, and not at all if it is begun anew.
    #[test]
    fn a_snapshot_diff_in_which_only_bookkeeping_was_lost_is_still_one() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(dir.path(), Options::default()).unwrap();
        let (first, last, t) = (Revision(2), Revision(9), Timestamp(0));
        let reason = GapReason::HistoryDiscarded;
        let set = |revision, path: &'static str| {
            NewRecord::changes(revision, vec![Change::set(path, "x")], t)
        };
        let lost = NewRecord {
            revision: Revision(1),
            entry: Entry::Lost {
                first: Revision(1),
                last: Revision(0),
                observed_at: t,
            },
        };
        for record in [
            set(Revision(1), "/before"),
            NewRecord::gap_opened(first, last, reason, t),
            set(last, "/abandoned"),
            lost,
            set(last, "/abandoned, too"),
        ] {
            journal.append_and_commit(record).unwrap();
        }
        let same = |paths: &[&str]| {
            let told = journal.reader().unwrap().state(None).unwrap();
            let told: Vec<_> = told.files.into_keys().collect();
            let sorted = journal.consistent_state(&Stop::new()).unwrap().entries;
            let sorted: Vec<_> = sorted.map(|entry| entry.unwrap().path).collect();
            assert_eq!(
                (told, sorted),
                (
                    paths.iter().map(|p| (*p).to_owned().into()).collect(),
                    paths.iter().map(|p| (*p).to_owned().into()).collect()
                )
            );
        };
        same(&["/before"]);
        for record in [
            NewRecord::gap_opened(first, last, reason, t),
            set(last, "/complete"),
            NewRecord::gap_closed(first, last, reason, t),
        ] {
            journal.append_and_commit(record).unwrap();
        }
        same(&["/before", "/complete"]);
        journal.checkpoint().unwrap();
        same(&["/before", "/complete"]);
    }
}
