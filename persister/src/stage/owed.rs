//! What the per-path mirror still has to be told, read back from the journal.
//!
//! Promise: only what is durable is handed on; everything that is, in order. A part of the journal
//! may be handed on again after a restart, but nothing is left out.
//!
//! Places in the journal are named by sequences, never by revisions: after a restore a journal may
//! hold the same revision twice, of two lives of its cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use cairn_journal::{
    Change, Entry, GapPhase, GapReason, Journal, Record, Records, Revision, Sequence, Uuid,
};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use crate::cluster::{self, ControlKey, Expect, Id, Session};
use crate::mirror::{Kind, Op};

/// How many operations are handed on at a time.
const BATCH_OPS: usize = 4096;

/// Mirror operations that have become true, in order.
#[derive(Debug)]
pub struct Batch {
    /// The operations.
    pub ops: Vec<Op>,
    /// How far the mirror is complete once they are written; `None`: no further than before.
    pub complete: Option<Progress>,
}

/// How far the mirror has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The newest revision that it shows.
    pub revision: Revision,
    /// The journal it was told from.
    pub journal: Uuid,
    /// The record of that journal up to which it was told.
    pub sequence: Sequence,
    /// It was never complete: this is where its making began.
    pub incomplete: bool,
}

/// `REVISION JOURNAL SEQUENCE`, and ` incomplete` while the mirror is being made for the first time.
/// Only so can an interrupted first time be told from none: entries that it wrote may have been
/// deleted since.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.revision, self.journal, self.sequence)?;
        f.write_str(if self.incomplete { " incomplete" } else { "" })
    }
}

impl Progress {
    fn parse(value: &[u8]) -> Option<Self> {
        let words: Vec<&str> = std::str::from_utf8(value).ok()?.split(' ').collect();
        let (revision, journal, sequence, incomplete) = match words[..] {
            [revision, journal, sequence] => (revision, journal, sequence, false),
            [revision, journal, sequence, "incomplete"] => (revision, journal, sequence, true),
            _ => return None,
        };
        Some(Self {
            revision: Revision(revision.parse().ok()?),
            journal: journal.parse().ok()?,
            sequence: Sequence(sequence.parse().ok()?),
            incomplete,
        })
    }
}

/// Where the per-path mirror has to be taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// With the state, and the deletes of all records after this one.
    State(Sequence),
    /// After this record.
    Record(Sequence),
}

/// What the mirror is owed.
#[derive(Debug)]
pub struct Owed {
    from: From,
    /// How far the mirror is complete as it is.
    pub progress: Progress,
}

impl Owed {
    /// Reads the progress from the cluster; where there is none that helps, begins with the state
    /// and says so.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn read<S: Session>(session: &S, id: Id, journal: &Journal) -> cluster::Result<Self> {
        let key = ControlKey::Mirrored(id);
        let known = session.read(&key).await?;
        let known = known.and_then(|control| Progress::parse(&control.value));
        let end = journal.end().durable;
        // Of another journal, or of one that had more than this one: of no use.
        let usable = known.filter(|known| known.journal == journal.uuid() && known.sequence <= end);
        if let Some(progress) = usable {
            let from = if progress.incomplete {
                From::State(progress.sequence)
            } else {
                From::Record(progress.sequence)
            };
            return Ok(Self { from, progress });
        }
        let progress = Progress {
            revision: Revision::NONE,
            journal: journal.uuid(),
            sequence: if known.is_some() { Sequence::NONE } else { end },
            incomplete: true,
        };
        session
            .write(&key, Expect::Any, progress.to_string().into())
            .await?;
        Ok(Self {
            from: From::State(progress.sequence),
            progress,
        })
    }

    /// Hands on what is owed and what comes to be, until `durable` or `to` is gone. Blocks.
    ///
    /// # Errors
    /// The journal's.
    pub fn hand_on(
        self,
        journal: &Journal,
        mut durable: watch::Receiver<Sequence>,
        to: &mpsc::Sender<Batch>,
    ) -> Result<(), cairn_journal::Error> {
        let reader = journal.reader()?;
        let mut pending = Pending {
            progress: self.progress,
            ops: Vec::new(),
            to,
        };
        let mut source = match self.from {
            From::Record(sequence) => Source::after(reader.records_from(sequence.next()), sequence),
            From::State(since) => {
                let mut source = Source::after(reader.records(), Sequence::NONE);
                let limit = *durable.borrow();
                for op in state(&mut source, since, limit)? {
                    pending.ops.push(op);
                    if pending.is_full() && !pending.send(None) {
                        return Ok(());
                    }
                }
                if !pending.send(Some(source.place)) {
                    return Ok(());
                }
                source
            }
        };
        loop {
            let limit = *durable.borrow_and_update();
            while let Some(ops) = source.next(limit)? {
                pending.ops.extend(ops);
                if pending.is_full() && !pending.send(source.settled()) {
                    return Ok(());
                }
            }
            if !pending.ops.is_empty() && !pending.send(source.settled()) {
                return Ok(());
            }
            if Handle::current().block_on(durable.changed()).is_err() {
                return Ok(());
            }
        }
    }
}

/// The mirror operations that lead from anything written after `since` to the state at `limit`:
/// deletes first, then every live key in the order of revisions.
fn state(
    source: &mut Source,
    since: Sequence,
    limit: Sequence,
) -> Result<Vec<Op>, cairn_journal::Error> {
    let mut live: BTreeMap<Bytes, Revision> = BTreeMap::new();
    let mut deleted: BTreeMap<Bytes, Revision> = BTreeMap::new();
    while let Some(ops) = source.next(limit)? {
        for Op {
            path,
            revision,
            kind,
        } in ops
        {
            match kind {
                Kind::Set => {
                    deleted.remove(&path);
                    live.insert(path, revision);
                }
                Kind::Delete => {
                    live.remove(&path);
                    if source.place.0 > since {
                        deleted.insert(path, revision);
                    }
                }
            }
        }
    }
    let deletes = deleted.into_iter().map(|(path, revision)| Op {
        path,
        revision,
        kind: Kind::Delete,
    });
    let in_order: BTreeSet<(Revision, Bytes)> =
        live.into_iter().map(|(path, at)| (at, path)).collect();
    let sets = in_order.into_iter().map(|(revision, path)| Op {
        path,
        revision,
        kind: Kind::Set,
    });
    Ok(deletes.chain(sets).collect())
}

/// A record's sequence, and the revision covered with it.
type Place = (Sequence, Revision);

/// The journal's records as mirror operations.
struct Source {
    records: Records,
    /// The last record that was read.
    place: Place,
    /// The difference of a gap that is not closed yet. It is told as a whole or, if it was begun
    /// anew, not at all.
    difference: Option<Vec<Op>>,
}

impl Source {
    fn after(records: Records, sequence: Sequence) -> Self {
        Self {
            records,
            place: (sequence, Revision::NONE),
            difference: None,
        }
    }

    /// The operations of the next record up to `limit`; `None`: there is none.
    ///
    /// Never looks beyond what is durable: it would find records that are being written.
    fn next(&mut self, limit: Sequence) -> Result<Option<Vec<Op>>, cairn_journal::Error> {
        if self.place.0 >= limit {
            return Ok(None);
        }
        let Some(record) = self.records.next().transpose()? else {
            return Ok(None);
        };
        self.place = (record.sequence, record.revision);
        Ok(Some(self.settle(record)))
    }

    /// What has become true with `record`.
    fn settle(&mut self, record: Record) -> Vec<Op> {
        match record.entry {
            Entry::Changes { changes, .. } => {
                let ops = ops(record.revision, changes);
                match &mut self.difference {
                    Some(difference) => difference.extend(ops),
                    None => return ops.collect(),
                }
                Vec::new()
            }
            Entry::Gap {
                phase: GapPhase::Opened,
                reason,
                ..
            } => {
                self.difference = (reason != GapReason::Damage).then(Vec::new);
                Vec::new()
            }
            // If a part of the difference was lost, what there is of it is better than nothing.
            Entry::Gap { .. } | Entry::Lost { .. } => self.difference.take().unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// The place up to which all is told; `None` within a difference.
    fn settled(&self) -> Option<Place> {
        self.difference.is_none().then_some(self.place)
    }
}

/// The mirror operations that the changes of `revision` ask for.
fn ops(revision: Revision, changes: Vec<Change>) -> impl Iterator<Item = Op> {
    changes.into_iter().map(move |change| Op {
        path: change.path,
        revision: change.revision.unwrap_or(revision),
        kind: match change.op {
            cairn_journal::Op::Set(_) => Kind::Set,
            cairn_journal::Op::Delete => Kind::Delete,
        },
    })
}

struct Pending<'a> {
    progress: Progress,
    ops: Vec<Op>,
    to: &'a mpsc::Sender<Batch>,
}

impl Pending<'_> {
    fn is_full(&self) -> bool {
        self.ops.len() >= BATCH_OPS
    }

    /// Hands on; `false` if nobody takes it any more.
    fn send(&mut self, place: Option<Place>) -> bool {
        let complete = place.map(|(sequence, revision)| Progress {
            revision,
            sequence,
            incomplete: false,
            ..self.progress
        });
        let ops = std::mem::take(&mut self.ops);
        self.to.blocking_send(Batch { ops, complete }).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_back() {
        for incomplete in [false, true] {
            let progress = Progress {
                revision: Revision(17),
                journal: Uuid::from_u128(5),
                sequence: Sequence(9),
                incomplete,
            };
            let said = progress.to_string();
            assert_eq!(Progress::parse(said.as_bytes()), Some(progress), "{said}");
        }
        for garbage in ["", "17", "x y z", "17 incomplete"] {
            assert_eq!(Progress::parse(garbage.as_bytes()), None, "{garbage:?}");
        }
    }
}
