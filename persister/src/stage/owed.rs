//! What the per-path mirror still has to be told, read back from the journal.
//!
//! Promise: only what is durable is handed on; everything that is, in order. A part of the journal
//! may be handed on again after a restart, but nothing is left out.

use std::collections::BTreeSet;

use bytes::Bytes;
use cairn_journal::{Change, Entry, Journal, Revision, Sequence};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use crate::cluster::{self, Control, ControlKey, Expect, Id, Session};
use crate::mirror::{Kind, Op};

/// How many operations are handed on at a time.
const BATCH_OPS: usize = 4096;

/// Mirror operations that have become true, in order.
#[derive(Debug)]
pub struct Batch {
    /// Once they are written, the mirror is complete up to this revision.
    pub complete_to: Revision,
    /// The operations.
    pub ops: Vec<Op>,
}

/// Where the per-path mirror has to be taken up.
///
/// Its progress stands in the cluster: a revision, or `REVISION incomplete` while the state at that
/// revision is being mirrored for the first time. Only so can an interrupted first time be told
/// from none: entries that it wrote may have been deleted since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owed {
    /// The state at this revision, then what came after it.
    State(Revision),
    /// What came after this revision.
    After(Revision),
}

/// See [`Owed`].
const INCOMPLETE: &str = " incomplete";

impl Owed {
    /// Reads the progress; where there is none, begins with the state at `end` and says so.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn read<S: Session>(session: &S, id: Id, end: Revision) -> cluster::Result<Self> {
        let key = ControlKey::Mirrored(id);
        let control = session.read(&key).await?;
        if let Some(known) = control.as_ref().and_then(Self::parse) {
            return Ok(known);
        }
        if end > Revision::NONE {
            let value = format!("{end}{INCOMPLETE}");
            session.write(&key, Expect::Any, value.into()).await?;
        }
        Ok(Self::State(end))
    }

    fn parse(control: &Control) -> Option<Self> {
        let text = std::str::from_utf8(&control.value).ok()?;
        match text.strip_suffix(INCOMPLETE) {
            Some(number) => Some(Self::State(Revision(number.parse().ok()?))),
            None => Some(Self::After(Revision(text.parse().ok()?))),
        }
    }

    /// The revision up to which the mirror is complete as it is.
    #[must_use]
    pub fn complete_to(self) -> Revision {
        match self {
            Self::State(_) => Revision::NONE,
            Self::After(revision) => revision,
        }
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
            ops: Vec::new(),
            to,
        };
        let done = match self {
            Self::After(done) => done,
            Self::State(at) => {
                for (revision, path) in paths_by_revision(&reader, at)? {
                    let kind = Kind::Set;
                    pending.push([Op {
                        path,
                        revision,
                        kind,
                    }]);
                    if !pending.send_full(Revision::NONE) {
                        return Ok(());
                    }
                }
                at
            }
        };
        let mut records = reader.records_from_revision(done.next());
        let mut read = Sequence::NONE;
        let mut complete_to = done;
        loop {
            let limit = *durable.borrow_and_update();
            // Never looks beyond what is durable: it would find records that are being written.
            while read < limit {
                let Some(record) = records.next().transpose()? else {
                    break;
                };
                read = record.sequence;
                if let Entry::Changes { changes, .. } = &record.entry {
                    // Further records may belong to the same revision.
                    if !pending.send_full(record.revision.previous()) {
                        return Ok(());
                    }
                    pending.push(ops(record.revision, changes));
                }
                complete_to = complete_to.max(record.revision);
            }
            if !pending.send(complete_to) {
                return Ok(());
            }
            if Handle::current().block_on(durable.changed()).is_err() {
                return Ok(());
            }
        }
    }
}

fn paths_by_revision(
    reader: &cairn_journal::Reader,
    at: Revision,
) -> Result<BTreeSet<(Revision, Bytes)>, cairn_journal::Error> {
    let files = cairn_journal::state(reader, Some(at))?.files;
    Ok(files
        .into_iter()
        .map(|(path, (revision, _))| (revision, path))
        .collect())
}

/// The mirror operations that `changes` of `revision` ask for.
fn ops(revision: Revision, changes: &[Change]) -> impl Iterator<Item = Op> + '_ {
    changes.iter().map(move |change| Op {
        path: change.path.clone(),
        revision: change.revision.unwrap_or(revision),
        kind: match change.op {
            cairn_journal::Op::Set(_) => Kind::Set,
            cairn_journal::Op::Delete => Kind::Delete,
        },
    })
}

struct Pending<'a> {
    ops: Vec<Op>,
    to: &'a mpsc::Sender<Batch>,
}

impl Pending<'_> {
    fn push(&mut self, ops: impl IntoIterator<Item = Op>) {
        self.ops.extend(ops);
    }

    /// Sends if there is enough; `false` if nobody takes it any more.
    fn send_full(&mut self, complete_to: Revision) -> bool {
        self.ops.len() < BATCH_OPS || self.send(complete_to)
    }

    fn send(&mut self, complete_to: Revision) -> bool {
        if self.ops.is_empty() {
            return true;
        }
        let ops = std::mem::take(&mut self.ops);
        self.to.blocking_send(Batch { complete_to, ops }).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &'static str) -> Option<Owed> {
        Owed::parse(&Control {
            revision: Revision(1),
            value: Bytes::from_static(value.as_bytes()),
        })
    }

    #[test]
    fn progress_is_read_back() {
        assert_eq!(parsed("17"), Some(Owed::After(Revision(17))));
        assert_eq!(parsed("17 incomplete"), Some(Owed::State(Revision(17))));
        for garbage in ["", "x", " incomplete", "17 complete"] {
            assert_eq!(parsed(garbage), None, "{garbage:?}");
        }
    }
}
