//! What the per-path mirror still has to be told, read back from the journal.
//!
//! Promise: only what is durable is handed on; everything that is, in order. A part of the journal
//! may be handed on again after a restart, but nothing is left out that the journal still has.
//! Where it has been retired, or is the difference of a gap, the mirror is led to the state as a
//! whole instead (`resync`).
//!
//! Places in the journal are named by sequences, never by revisions: after a restore a journal may
//! hold the same revision twice, of two lives of its cluster. But a journal that has lost its end,
//! to damage or to a disk that forgot what it had synced, gives the sequences of what is gone to
//! other records. So a place is believed only if its record still is the one that was told
//! (`records::behind`).

use std::fmt;

use cairn_journal::{Journal, KeyValue, Revision, Sequence, Stop, Uuid};
use cairn_protocol::progress::MirrorProgress;
use futures::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::cluster::control::{ControlKey, Id};
use crate::cluster::session::Session;
use crate::cluster::write::Expect;
use crate::error::Error;
use crate::mirror::ops::Op;
use crate::mirror::records::{self, Place, Source, Told};
use crate::mirror::resync;

/// How many operations are handed on at a time, and how many bytes of paths they have.
const BATCH_OPS: usize = 4096;
const BATCH_BYTES: usize = 1 << 20;

/// Mirror operations that have become true, in order.
#[derive(Debug)]
pub struct Batch {
    /// The operations.
    pub ops: Vec<Op>,
    /// How far the mirror is complete once they are written; `None`: no further than before.
    pub complete: Option<Progress>,
    /// Told when they are written, and all before them.
    pub landed: Option<oneshot::Sender<()>>,
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

/// As it stands in the cluster. Only by `incomplete` can an interrupted first time be told from
/// none: entries that it wrote may have been deleted since.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        MirrorProgress {
            revision: self.revision.0,
            journal: self.journal.to_string(),
            sequence: self.sequence.0,
            incomplete: self.incomplete,
        }
        .fmt(f)
    }
}

impl Progress {
    fn place(&self) -> Place {
        (self.sequence, self.revision)
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let progress = MirrorProgress::parse(value).ok()?;
        Some(Self {
            revision: Revision(progress.revision),
            journal: progress.journal.parse().ok()?,
            sequence: Sequence(progress.sequence),
            incomplete: progress.incomplete,
        })
    }
}

/// What the mirror still has to be told.
#[derive(Debug)]
pub struct Backlog {
    /// What is behind the place where the mirror has to be taken up.
    source: Source,
    /// First with the state, and then with what is behind the place once more: somebody may wait
    /// for a delete of which the state shows nothing.
    begins_with_resync: bool,
    /// How far the mirror is complete as it is.
    pub progress: Progress,
}

impl Backlog {
    /// Reads the progress from the cluster; where there is none that helps, begins with the state
    /// and says so.
    ///
    /// # Errors
    /// The cluster's, or the journal's.
    pub async fn read<S: Session>(session: &S, id: Id, journal: &Journal) -> Result<Self, Error> {
        let key = ControlKey::Mirrored(id);
        let known = session.read(&key).await?;
        let known = known.and_then(|control| Progress::parse(&control.value));
        // Of another journal: of no use.
        let known = known.filter(|known| known.journal == journal.uuid());
        let source = tokio::task::block_in_place(|| source(journal, known))?;
        let (sequence, revision) = source.place;
        if let Some(progress) = known.filter(|known| known.place() == source.place) {
            return Ok(Self {
                begins_with_resync: progress.incomplete,
                source,
                progress,
            });
        }
        if let Some(known) = known {
            tracing::warn!(
                told = %known.revision, sequence = %known.sequence,
                "the journal does not hold any more what the mirror of paths was told last: \
                 comparing the mirror with the state"
            );
        }
        let progress = Progress {
            revision,
            journal: journal.uuid(),
            sequence,
            incomplete: true,
        };
        session
            .write(&key, Expect::Any, progress.to_string().into())
            .await?;
        Ok(Self {
            begins_with_resync: true,
            source,
            progress,
        })
    }
}

/// All that the mirror has to be told of behind a place: the one that is known, if the journal
/// still holds what was told there, else one before anything newer that it has, else its end.
fn source(journal: &Journal, known: Option<Progress>) -> Result<Source, cairn_journal::Error> {
    let (end, reader) = (journal.end(), journal.reader()?);
    let mut place = (end.durable, end.revision);
    if let Some(known) = known {
        if known.sequence <= end.durable
            && let Some(records) = records::behind(&reader, known.place())?
        {
            return Ok(Source::after(records, known.place()));
        }
        let newer = records::before(&reader, known.revision)?;
        place = newer
            .filter(|newer| newer.0 <= end.durable)
            .unwrap_or(place);
    }
    Ok(Source::after(reader.records_from(place.0.next()), place))
}

/// Reads the backlog, and what becomes durable, for as long as a session lasts. Blocks.
#[derive(Debug)]
pub struct BacklogReader<S> {
    /// The session that the mirror is written to.
    pub session: S,
    /// Whose mirror.
    pub id: Id,
    /// Told the newest durable sequence.
    pub durable: watch::Receiver<Sequence>,
    /// Takes the operations.
    pub to: mpsc::Sender<Batch>,
    /// Ends reading early, wherever it is.
    pub ending: Ending,
}

/// Ends work in a thread early, whether it waits for something or is busy.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    waiting: CancellationToken,
    busy: Stop,
}

impl Ending {
    /// Ends it.
    pub fn now(&self) {
        self.busy.ask();
        self.waiting.cancel();
    }
}

/// Whether there is anybody left to hand on to.
type Go = std::ops::ControlFlow<()>;

impl<S: Session> BacklogReader<S> {
    /// Hands on the backlog and what becomes durable, until nobody is there to tell of more or to
    /// take it.
    ///
    /// # Errors
    /// The journal's, or the cluster's.
    pub fn run(mut self, journal: &Journal, backlog: Backlog) -> Result<(), Error> {
        match self.hand_on(journal, backlog) {
            Err(Error::Journal(cairn_journal::Error::Stopped)) => Ok(()),
            other => other,
        }
    }

    fn hand_on(&mut self, journal: &Journal, backlog: Backlog) -> Result<(), Error> {
        let reader = journal.reader()?;
        let mut pending = Pending {
            progress: backlog.progress,
            ops: Vec::new(),
            bytes: 0,
            dirty: false,
            to: self.to.clone(),
        };
        let mut source = backlog.source;
        if backlog.begins_with_resync
            && (self.whole(journal, &mut pending)?.is_none()
                || pending.send(Some(source.place)).is_break())
        {
            return Ok(());
        }
        loop {
            let limit = *self.durable.borrow_and_update();
            loop {
                self.ending.busy.check()?;
                match source.next(limit) {
                    Ok(None) => break,
                    Ok(Some(Told::Ops(ops))) => ops.into_iter().for_each(|op| pending.push(op)),
                    Ok(Some(Told::State)) => {
                        if self.whole(journal, &mut pending)?.is_none() {
                            return Ok(());
                        }
                    }
                    Err(cairn_journal::Error::Retired { sequence, oldest }) => {
                        tracing::warn!(
                            %sequence, %oldest,
                            "history was retired before the mirror of paths was told of it: \
                             comparing the mirror with the state"
                        );
                        let Some(place) = self.whole(journal, &mut pending)? else {
                            return Ok(());
                        };
                        source = Source::after(reader.records_from(place.0.next()), place);
                    }
                    Err(other) => return Err(other.into()),
                }
                if pending.is_full() && pending.send(source.settled()).is_break() {
                    return Ok(());
                }
            }
            if pending.settles(source.settled()) && pending.send(source.settled()).is_break() {
                return Ok(());
            }
            let more = Handle::current().block_on(async {
                tokio::select! {
                    changed = self.durable.changed() => changed.is_ok(),
                    () = self.ending.waiting.cancelled() => false,
                }
            });
            if !more {
                return Ok(());
            }
        }
    }

    /// Leads the mirror from what it shows to the state, which is all handed on then. The state's
    /// place; `None` if nobody takes it any more.
    fn whole(&self, journal: &Journal, pending: &mut Pending) -> Result<Option<Place>, Error> {
        // What it shows can be looked at once nothing is on its way to it.
        if pending.land().is_break() {
            return Ok(None);
        }
        let mut shown = journal.sorter()?;
        let mut entries = self.session.mirrored(self.id);
        let next = || {
            Handle::current().block_on(async {
                tokio::select! {
                    next = entries.next() => next,
                    () = self.ending.waiting.cancelled() => None,
                }
            })
        };
        for entry in std::iter::from_fn(next) {
            let (path, revision) = entry?;
            // Whatever else it says is not what it should say.
            let revision = revision.unwrap_or(Revision(-1));
            shown.push(KeyValue::new(path, revision, ""))?;
        }
        let stop = &self.ending.busy;
        stop.check()?;
        let place = resync::resync(journal, shown, stop, |op| {
            pending.push(op);
            !pending.is_full() || pending.send(None).is_continue()
        })?;
        pending.dirty = true;
        Ok(place)
    }
}

/// What was read and not yet handed on.
struct Pending {
    progress: Progress,
    ops: Vec<Op>,
    /// The bytes of their paths.
    bytes: usize,
    /// Whether anything was handed on since the last time that progress was told.
    dirty: bool,
    to: mpsc::Sender<Batch>,
}

impl Pending {
    fn push(&mut self, op: Op) {
        self.bytes += op.path.len();
        self.ops.push(op);
    }

    fn is_full(&self) -> bool {
        self.ops.len() >= BATCH_OPS || self.bytes >= BATCH_BYTES
    }

    /// Whether there is anything to be told at `place`.
    fn settles(&self, place: Option<Place>) -> bool {
        !self.ops.is_empty() || self.dirty && place.is_some()
    }

    /// Hands on.
    fn send(&mut self, place: Option<Place>) -> Go {
        self.dirty = place.is_none();
        let complete = place.map(|(sequence, revision)| Progress {
            revision,
            sequence,
            incomplete: false,
            ..self.progress
        });
        self.hand(complete, None)
    }

    /// Hands on, and waits until all of it is written.
    fn land(&mut self) -> Go {
        self.dirty = true;
        let (landed, landing) = oneshot::channel();
        self.hand(None, Some(landed))?;
        match landing.blocking_recv() {
            Ok(()) => Go::Continue(()),
            Err(_) => Go::Break(()),
        }
    }

    fn hand(&mut self, complete: Option<Progress>, landed: Option<oneshot::Sender<()>>) -> Go {
        self.bytes = 0;
        let batch = Batch {
            ops: std::mem::take(&mut self.ops),
            complete,
            landed,
        };
        match self.to.blocking_send(batch) {
            Ok(()) => Go::Continue(()),
            Err(_) => Go::Break(()),
        }
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
