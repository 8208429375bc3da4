//! From "there is a journal" to "this session is our cluster, and here is what follows".
//!
//! Promise: the session that comes out belongs to the cluster that the journal is bound to, and
//! its stream begins with the revision after the newest one that the journal covers. Nothing has
//! been published by then.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use cairn_journal::{
    Entry, GapReason, Journal, NewRecord, Reader, Revision, Stop, Timeline, Timestamp, Uuid,
};
use futures::Stream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cluster::{self, Cluster, ControlKey, Expect, Followed, Session};
use crate::difference;
use crate::error::Error;
use crate::identity::{self, Ancestor, Attach, Identity, Ours, Outcome, Refusal, Theirs};
use crate::patience::Patience;

/// A stream of everything that happens in a cluster.
pub type Changes = Box<dyn Stream<Item = cluster::Result<Followed>> + Send + Unpin>;

/// A session that may be followed and published to.
pub struct Attached<S> {
    /// The session.
    pub session: S,
    /// The cluster's identity.
    pub cluster: String,
    /// A revision that was current before the identity was read.
    pub identified_at: Revision,
    /// The revision that the stream begins with.
    pub next: Revision,
    /// Everything from `next` on.
    pub stream: Changes,
    /// Whether the cluster's state was taken, as its history could not be followed.
    pub state_taken: bool,
}

/// What the journal knows of the cluster that it follows.
///
/// # Errors
/// The journal's.
pub fn ours(journal: &Journal) -> Result<Ours, cairn_journal::Error> {
    let end = journal.end();
    let reader = journal.reader()?;
    known(&reader, journal.uuid(), end.timeline, end.revision)
}

/// The same of a journal that nobody need have open: its identity, timeline, and newest revision.
///
/// # Errors
/// The journal's.
pub fn known(
    reader: &Reader,
    journal: Uuid,
    timeline: Option<Timeline>,
    newest: Revision,
) -> Result<Ours, cairn_journal::Error> {
    if !has_content(reader)? {
        // Whatever it was bound to, it has nothing of it: it may follow any cluster.
        return Ok(Ours::default());
    }
    let lineage = timeline
        .as_ref()
        .and_then(|timeline| timeline.parent.as_deref());
    Ok(Ours {
        ancestors: Ancestor::parse_all(lineage.unwrap_or_default()),
        bound_to: Some(match timeline {
            Some(timeline) => timeline.id,
            // Written by a tool: it has a history, and that history needs a name of its own.
            None => format!("journal.{journal}"),
        }),
        newest,
    })
}

/// Whether the journal holds anything that is not bookkeeping. The first change is found soon; a
/// checkpoint, which may stand for records that are gone, is made only after there were changes.
fn has_content(reader: &Reader) -> Result<bool, cairn_journal::Error> {
    if !reader.checkpoints()?.usable.is_empty() {
        return Ok(true);
    }
    for record in reader.records() {
        match record?.entry {
            Entry::Timeline(_) | Entry::Watermark { .. } | Entry::Seal { .. } => {}
            _ => return Ok(true),
        }
    }
    Ok(false)
}

/// The changes that the journal holds and a restored cluster does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Beyond {
    changes: u64,
    /// Whether there may be more, in records that were retired.
    or_more: bool,
}

impl fmt::Display for Beyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.or_more {
            write!(
                f,
                "{} changes, and perhaps others in records that were retired",
                self.changes
            )
        } else {
            write!(f, "{} changes", self.changes)
        }
    }
}

/// How many changes the journal holds beyond `common`, which are not in the restored cluster. Reads
/// no more than the records after it.
fn changes_beyond(journal: &Journal, common: Revision) -> Result<Beyond, cairn_journal::Error> {
    let reader = journal.reader()?;
    let mut beyond = Beyond {
        changes: 0,
        or_more: false,
    };
    let mut newest = Revision::NONE;
    let mut records = reader.records_from_revision(common.next());
    while let Some(record) = records.next() {
        let record = match record {
            Err(
                cairn_journal::Error::NotInHistory { .. } | cairn_journal::Error::Retired { .. },
            ) if !beyond.or_more => {
                beyond.or_more = true;
                records = reader.records();
                continue;
            }
            other => other?,
        };
        let before = std::mem::replace(&mut newest, record.revision);
        match record.entry {
            // What was counted belongs to an older life; only the newest is compared.
            Entry::Timeline(timeline) if !timeline.kept || record.revision < before => {
                beyond.changes = 0;
            }
            Entry::Changes { changes, .. } if record.revision > common => {
                beyond.changes += changes.len() as u64;
            }
            _ => {}
        }
    }
    Ok(beyond)
}

/// What the cluster says of itself, and a revision that was current before it said it.
///
/// # Errors
/// The cluster's; an identity that cannot be read.
pub async fn theirs<S: Session>(session: &S) -> Result<(Theirs, Revision), Error> {
    // In this order: an identity written after `newest` will be followed as an event.
    let newest = session.revision().await?;
    let identity = match session.read(&ControlKey::Identity).await? {
        Some(control) => Some(Identity::parse(&control.value)?),
        None => None,
    };
    Ok((Theirs { identity, newest }, newest))
}

/// Attaches, waiting as long as the cluster is away, behind, or being restored.
///
/// `take_state` says why following from the journal's end is not enough. The cluster's state is then
/// taken, as it is when the journal itself says that it lacks something. `accept_loss` lets go of
/// changes that the journal holds and a restored cluster does not.
///
/// `None` if cancelled.
///
/// # Errors
/// [`Error::Refused`] if this is not our cluster; the journal's.
pub async fn attach<C: Cluster>(
    cluster: &C,
    journal: &Journal,
    take_state: Option<GapReason>,
    accept_loss: bool,
    cancel: &CancellationToken,
) -> Result<Option<Attached<C::Session>>, Error> {
    let mut patience = Patience::new();
    let mut nameless = Nameless::default();
    let stop = StopWith::new(cancel);
    loop {
        let tried = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(None),
            tried = try_attach(cluster, journal, take_state, accept_loss, &stop.stop) => tried,
        };
        if !matches!(tried, Ok(Tried::Nameless(_))) {
            nameless = Nameless::default();
        }
        let why = match tried {
            Ok(Tried::Attached(attached)) => return Ok(Some(attached)),
            Ok(Tried::Again) => continue,
            Ok(Tried::Wait(why)) => why,
            // Every node of our cluster has its name, except one that is so far behind that it has
            // not heard it yet. A fresh cluster looks just the same, so this is not waited for long.
            Ok(Tried::Nameless(refused)) if nameless.seen(Instant::now()) < NAMELESS_FOR => {
                format!("{refused}, or this node lags far behind")
            }
            Ok(Tried::Nameless(refused)) => return Err(refused),
            Err(Error::Journal(cairn_journal::Error::Stopped)) => return Ok(None),
            Err(error) if error.is_unavailable() => error.to_string(),
            // The state was being taken, and the cluster forgot faster than we read.
            Err(error @ Error::Cluster(cluster::Error::HistoryDiscarded)) => error.to_string(),
            Err(error) => return Err(error),
        };
        let pause = patience.pause();
        tracing::warn!(reason = why, "not attached; trying again in {pause:?}");
        tokio::select! {
            () = cancel.cancelled() => return Ok(None),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

enum Tried<S> {
    Attached(Attached<S>),
    /// Something changed under us: look again at once.
    Again,
    /// Not yet, and why.
    Wait(String),
    /// The node is behind the journal, and its cluster has no name: the refusal, if that stays so.
    Nameless(Error),
}

/// How long a node without a name, and behind the journal, is given to catch up.
const NAMELESS_FOR: Duration = Duration::from_secs(10);

/// Since when one look after the other has found a node without a name.
#[derive(Clone, Copy, Debug, Default)]
struct Nameless(Option<Instant>);

impl Nameless {
    /// Found again: for how long by now. Whatever else a look finds begins this anew, a cluster that is away among
    /// it: in that time no node catches up.
    fn seen(&mut self, now: Instant) -> Duration {
        now.duration_since(*self.0.get_or_insert(now))
    }
}

/// Asks work in a thread to end when somebody cancels; not any more once this is dropped.
struct StopWith {
    stop: Stop,
    asking: JoinHandle<()>,
}

impl StopWith {
    fn new(cancel: &CancellationToken) -> Self {
        let (stop, cancel) = (Stop::new(), cancel.clone());
        let asked = stop.clone();
        let asking = tokio::spawn(async move {
            cancel.cancelled().await;
            asked.ask();
        });
        Self { stop, asking }
    }
}

impl Drop for StopWith {
    fn drop(&mut self) {
        self.asking.abort();
    }
}

async fn try_attach<C: Cluster>(
    cluster: &C,
    journal: &Journal,
    take_state: Option<GapReason>,
    accept_loss: bool,
    stop: &Stop,
) -> Result<Tried<C::Session>, Error> {
    let session = cluster.open().await?;
    let (theirs, identified_at) = theirs(&session).await?;
    let ours = tokio::task::block_in_place(|| ours(journal))?;
    let bind = |identity: &Identity, revision: Revision| {
        NewRecord::timeline(revision, identity.timeline(Timestamp::now()))
    };
    let identity = match identity::decide(&ours, &theirs) {
        Attach::Refuse(refusal) => {
            let nameless = matches!(refusal, Refusal::Reset { .. });
            let refused = Error::Refused {
                refusal: Box::new(refusal),
                journal: Path::to_owned(journal.dir()),
            };
            if nameless && theirs.newest < ours.newest {
                return Ok(Tried::Nameless(refused));
            }
            return Err(refused);
        }
        Attach::Behind => {
            return Ok(Tried::Wait(format!(
                "this node is at revision {}, the journal at {}: the node lags",
                theirs.newest, ours.newest
            )));
        }
        Attach::Unfinished(identity) => {
            return Ok(Tried::Wait(format!(
                "the cluster is being restored ({identity}); if that restore was interrupted: {}",
                identity.completed_by()
            )));
        }
        Attach::Name => {
            let identity = Identity::generate();
            let named = session
                .write(
                    &ControlKey::Identity,
                    Expect::Absent,
                    identity.to_string().into(),
                )
                .await;
            match named {
                // Looked at again, so that one path leads from a name to a binding.
                Ok(_) => return Ok(Tried::Again),
                // Not at once: a node that lags does not know the name yet that is in our way.
                Err(cluster::Error::Conflict) => {
                    return Ok(Tried::Wait(
                        "somebody else has just named the cluster".to_owned(),
                    ));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Attach::Bind(identity) => {
            let bound = journal.end().timeline;
            if bound.is_none_or(|bound| bound.id != identity.id) {
                tracing::info!(cluster = %identity.id, "following this cluster from now on");
                commit(journal, bind(&identity, Revision::NONE))?;
            }
            identity
        }
        Attach::Continue(identity) => {
            tracing::info!(cluster = %identity, "the cluster was restored with its revisions: going on");
            commit(journal, bind(&identity, ours.newest))?;
            identity
        }
        Attach::Rebase { identity, common } => {
            let beyond = tokio::task::block_in_place(|| changes_beyond(journal, common))?;
            if (beyond.changes > 0 || beyond.or_more) && !accept_loss {
                return Err(Error::WouldLose(format!(
                    "this journal holds {beyond}, up to revision {}, that the cluster was not restored \
                     with ({identity}): it has older values, or nothing, in their place. Following it would \
                     record those older values as the newest",
                    ours.newest
                )));
            }
            let first = first_unknown(&identity, ours.newest, common);
            let marker = |revision| Some(bind(&identity, revision));
            let reason = GapReason::HistoryDiscarded;
            let taken = difference::take(&session, journal, first, reason, marker, stop).await?;
            return after(session, identity, taken).await;
        }
        Attach::Resume => theirs
            .identity
            .ok_or_else(|| cluster::Error::Refused("the cluster lost its identity".to_owned()))?,
    };
    let end = journal.end();
    let next = end.revision.next();
    let lacking = match end.open_gap {
        // Damage, or a difference that was not completed. Damage is made good by a difference like
        // any other, so the new gap is not called damage again.
        Some(gap) if gap.reason == GapReason::Damage => {
            Some((gap.first, GapReason::HistoryDiscarded))
        }
        Some(gap) => Some((gap.first, gap.reason)),
        None => take_state.map(|reason| (next, reason)),
    };
    if let Some((first, reason)) = lacking {
        let taken = difference::take(&session, journal, first, reason, |_| None, stop).await?;
        return after(session, identity, taken).await;
    }
    let stream: Changes = Box::new(session.follow(next));
    Ok(Tried::Attached(Attached {
        session,
        cluster: identity.id,
        identified_at,
        next,
        stream,
        state_taken: false,
    }))
}

/// The first revision of a restored cluster that the journal knows nothing of. `common`: the
/// newest revision of ours that it was restored with.
fn first_unknown(identity: &Identity, newest: Revision, common: Revision) -> Revision {
    match &identity.origin {
        Some(origin) if origin.outcome == Outcome::Kept && origin.at == common => {
            newest.min(common).next()
        }
        // The numbers mean something else there: nothing is known.
        _ => Revision(1),
    }
}

/// Looks once more whether the cluster is still the one whose state was taken: what was written to
/// its identity meanwhile is not among the events that follow.
async fn after<S: Session>(
    session: S,
    identity: Identity,
    taken: difference::Taken,
) -> Result<Tried<S>, Error> {
    let (now, identified_at) = theirs(&session).await?;
    if now.identity.is_none_or(|now| now.id != identity.id) {
        return Ok(Tried::Again);
    }
    Ok(Tried::Attached(Attached {
        session,
        cluster: identity.id,
        identified_at,
        next: taken.at.next(),
        stream: taken.stream,
        state_taken: true,
    }))
}

fn commit(journal: &Journal, record: NewRecord) -> Result<(), cairn_journal::Error> {
    tokio::task::block_in_place(|| journal.append_and_commit(record)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_journal::{Change, Options, Retention};

    fn append(journal: &Journal, revisions: std::ops::RangeInclusive<i64>) {
        for revision in revisions {
            let change = vec![Change::set(format!("/{}", revision % 7), "x")];
            let record = NewRecord::changes(Revision(revision), change, Timestamp(0));
            journal.append_and_commit(record).expect("appended");
        }
    }

    fn open(dir: &Path) -> Journal {
        Journal::open(dir, Options::default()).expect("opened").0
    }

    /// A node without a name was seen, the cluster was away for long, and the first look after that was refused as
    /// if the node had been given all that time.
    #[test]
    fn time_without_a_name_counts_only_while_every_look_finds_none() {
        let begun = Instant::now();
        let mut nameless = Nameless::default();
        assert_eq!(nameless.seen(begun), Duration::ZERO);
        let later = begun + NAMELESS_FOR;
        assert_eq!(nameless.seen(later), NAMELESS_FOR);
        // As `attach` does for whatever else it finds.
        nameless = Nameless::default();
        assert_eq!(nameless.seen(later), Duration::ZERO);
    }

    #[test]
    fn what_lies_beyond_a_restore_is_counted_and_what_was_retired_is_not_forgotten() {
        let dir = tempfile::tempdir().expect("a directory");
        let journal = open(dir.path());
        assert!(
            !has_content(&journal.reader().expect("a reader")).expect("read"),
            "it is new"
        );
        let identity = Identity::generate().timeline(Timestamp(0));
        let bound = NewRecord::timeline(Revision::NONE, identity);
        journal.append_and_commit(bound).expect("appended");
        assert!(
            !has_content(&journal.reader().expect("a reader")).expect("read"),
            "only a name"
        );
        append(&journal, 1..=100);
        assert!(has_content(&journal.reader().expect("a reader")).expect("read"));
        // Each opening begins a segment. The first may go: a checkpoint in the second covers it.
        journal.close().expect("closed");
        let journal = open(dir.path());
        append(&journal, 101..=105);
        journal.checkpoint().expect("a checkpoint");
        journal.close().expect("closed");
        let journal = open(dir.path());
        append(&journal, 106..=110);

        let beyond = |common| changes_beyond(&journal, Revision(common)).expect("read");
        let counted = |changes, or_more| Beyond { changes, or_more };
        assert_eq!(beyond(110), counted(0, false));
        assert_eq!(beyond(105), counted(5, false));
        assert_eq!(beyond(50), counted(60, false));

        let nothing = Retention {
            age: None,
            bytes: Some(0),
        };
        let report = journal.retire(&nothing).expect("retired");
        assert_eq!(report.segments.len(), 1, "{report:?}");
        assert!(has_content(&journal.reader().expect("a reader")).expect("read"));
        assert_eq!(beyond(110), counted(0, false));
        assert_eq!(beyond(105), counted(5, false));
        assert_eq!(beyond(100), counted(10, false));
        assert_eq!(beyond(50), counted(10, true), "40 of them are gone");
        let said = beyond(50).to_string();
        assert!(said.contains("perhaps others"), "{said}");
    }
}
