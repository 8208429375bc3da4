//! What a cluster lost that went back: put back into it, while it lives.
//!
//! C is the newest revision that the cluster and the journal have in common. What the journal has
//! beyond it, the cluster lost; what the cluster has beyond it was written since.
//!
//! Promises:
//!
//! * C is proven, in the very session that then writes, and so is what both sides have beyond it.
//!   Where it is not, nothing is written.
//! * A key is written only if nobody has written it in the cluster since C. Each transaction
//!   compares the identity of the cluster and the revision that each of its keys had at C. Keys
//!   that one revision of the journal changed last come back in one revision. Not to be seen: a key
//!   that was absent at C, and is made and deleted again between the look and its transaction.
//! * Every other key stays as it is. Each one that then differs from the journal is named.
//! * First the cluster is taken past the journal's newest revision, so that a lost revision which a
//!   client still holds does not pass for one of this cluster.
//! * The cluster gets its new identity when all is done, and not before. One that was interrupted
//!   is run again: it finds its own writes as they should be, and what clients did to those keys
//!   meanwhile stays.

#[cfg(test)]
mod model;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cairn_journal::{Error as JournalError, Journal, KeyValue, Op, Revision, replay::Replay};
use tokio::task::block_in_place;

use crate::attach::continuity;
use crate::attach::sides::{identified, local_history};
use crate::cluster::capabilities::{Limits, Restores};
use crate::cluster::control::{ControlKey, Id};
use crate::cluster::error::{Conflict, Error as ClusterError, Result as ClusterResult};
use crate::cluster::session::Session;
use crate::cluster::write::{Expect, Key, Write};
use crate::error::Error;
use crate::identity::lineage::{Identity, Outcome};
use crate::restore::item::Item;
use crate::restore::leases::{Granted, Leases};
use crate::restore::living::{changes_since, go_past};
use crate::restore::target::Files;
use crate::restore::validate;

/// What came of it.
#[derive(Debug)]
pub enum PuttingBack {
    /// The cluster has what it lost, but for what was written over it.
    Done(Box<PutBack>),
    /// Nothing was written, and why.
    Refused(String),
    /// The cluster is not one that went back, or not any more: look again.
    Again,
}

/// What was put back.
#[derive(Clone, Debug, Default)]
pub struct PutBack {
    /// The newest revision that cluster and journal have in common.
    pub common: Revision,
    /// The journal's newest.
    pub newest: Revision,
    /// How many keys were put, and how many deleted.
    pub put: u64,
    /// How many keys were deleted.
    pub deleted: u64,
    /// How many were as the journal has them already.
    pub same: u64,
    /// The keys that were written in the cluster since, and differ.
    pub left: Vec<Bytes>,
    /// The leases that came back, and keys that lost theirs.
    pub leases: Leases,
    /// The cluster's identity from now on.
    pub identity: Identity,
}

/// Puts back into our cluster what the journal has beyond what both have in common, if that is
/// proven. `id`: whose watermark is ours.
///
/// # Errors
/// The cluster's, the journal's; [`Error::DoesNotFit`] before the first write.
pub async fn put_back<S: Session>(
    session: &S,
    journal: &Journal,
    id: Id,
) -> Result<PuttingBack, Error> {
    let (session, remote, _) = identified(session).await?;
    let local = block_in_place(|| local_history(journal))?;
    let ours = remote.identity.filter(|it| !it.is_unfinished());
    let Some(ours) = ours.filter(|it| local.bound_to.as_ref() == Some(&it.id)) else {
        return Ok(PuttingBack::Again);
    };
    let newest = local.newest;
    let last = newest.min(remote.newest);
    let Some(common) = continuity::common(&session, journal, id, last).await? else {
        return Ok(PuttingBack::Refused(
            "our own last watermark is not among the revisions that the cluster and the journal \
             still have, so nothing proves up to where they are the same"
                .to_owned(),
        ));
    };
    if common == newest {
        return Ok(PuttingBack::Again);
    }
    if let Some(gap) = journal.end().open_gap {
        let (first, last) = (gap.first, gap.last);
        return Ok(PuttingBack::Refused(format!(
            "this journal itself lacks changes of revisions {first} to {last}"
        )));
    }
    let has_leases = session.capabilities().leases;
    let lost = match block_in_place(|| Lost::read(journal, common, has_leases)) {
        Err(
            error @ (JournalError::NotInHistory { .. }
            | JournalError::NotSeen { .. }
            | JournalError::Retired { .. }),
        ) => return Ok(PuttingBack::Refused(error.to_string())),
        lost => lost?,
    };
    let way = newest.0.saturating_sub(remote.newest.0);
    if let Restores::Files(rates) = session.capabilities().restores
        && way > rates.most_fillers
    {
        return Ok(PuttingBack::Refused(format!(
            "the cluster is {way} revisions behind the journal, and would have to be taken past it"
        )));
    }
    let limits = session.limits().await?;
    validate::validate(&session.rules(), &lost.files, &limits, None)?;
    tracing::warn!(
        %common, %newest, keys = lost.keys.len(),
        "the cluster went back to revision {common}: putting back what this journal has beyond it"
    );
    go_past(&session, remote.newest, newest).await?;
    session.grant(&lost.leases.granted).await?;
    let mut put_back = Work {
        session: &session,
        limits,
        common,
        lost: &lost,
        written: BTreeSet::new(),
    };
    let since = loop {
        // Whatever is written after this look, the expectations of the writes find.
        let since = match put_back.written_since().await {
            Err(ClusterError::HistoryDiscarded) => {
                return Ok(PuttingBack::Refused(format!(
                    "the cluster was compacted past revision {common}: what was written since is \
                     not known"
                )));
            }
            since => since?,
        };
        if put_back.write(&since).await? {
            break since;
        }
    };
    let (written, lost) = (put_back.written, lost);
    let identity = Identity::generate().id;
    let identity = local.claim(identity, newest, Outcome::Shifted);
    rename(&session, &ours, &identity).await?;
    let is_put = |path: &&Bytes| lost.files.contains_key(*path);
    let put = written.iter().filter(is_put).count() as u64;
    let found = since.iter().filter(|(path, _)| !written.contains(*path));
    let (same, left): (Vec<_>, Vec<_>) = found.partition(|(_, is_same)| **is_same);
    Ok(PuttingBack::Done(Box::new(PutBack {
        common,
        newest,
        put,
        deleted: written.len() as u64 - put,
        same: same.len() as u64,
        left: left.into_iter().map(|(path, _)| path.clone()).collect(),
        leases: lost.leases,
        identity,
    })))
}

/// What the journal has beyond a revision.
struct Lost {
    /// Each key that was changed: when last, and its revision at that one; `None`: it was not
    /// there.
    keys: BTreeMap<Bytes, (Revision, Option<Revision>)>,
    /// Those of them that are there at the journal's end.
    files: Files,
    leases: Leases,
}

impl Lost {
    fn read(journal: &Journal, common: Revision, has_leases: bool) -> Result<Self, JournalError> {
        let reader = journal.reader()?.with_control();
        let mut changed: BTreeMap<Bytes, Revision> = BTreeMap::new();
        let mut replay = Replay::default();
        for record in reader.records_from_revision(common.next()) {
            let record = record?;
            if replay.record(&record).switch.is_some() {
                changed.clear(); // of an older life
            }
            let data = record.entry.changes().iter().filter(|it| !it.is_control);
            changed.extend(data.map(|change| (change.path.clone(), record.revision)));
        }
        let before = reader.state(Some(common))?;
        let mut newest = reader.state(None)?;
        let granted = Granted::of(&newest);
        let mut files = Files::new();
        let mut keys = BTreeMap::new();
        for (path, at) in changed {
            let had = before.files.get(&path).map(|key| key.revision);
            if let Some(key) = newest.files.remove(&path) {
                files.insert(path.clone(), key);
            } else if had.is_none() {
                continue; // it came and went
            }
            keys.insert(path, (at, had));
        }
        let leases = granted.leases_for(&mut files, has_leases, false);
        Ok(Self {
            keys,
            files,
            leases,
        })
    }

    fn is_as_lost(&self, path: &Bytes, op: &Op) -> bool {
        match (op, self.files.get(path)) {
            (Op::Set(value), Some(key)) => *value == key.value,
            (Op::Delete, None) => true,
            _ => false,
        }
    }

    /// What makes a key as it was.
    fn write(&self, path: &Bytes, had: Option<Revision>) -> Write {
        let expect = had.map_or(Expect::Absent, Expect::At);
        match self.files.get(path) {
            Some(key) => Item::of(KeyValue::clone(key)).write(expect),
            None => Write {
                key: Key::Data(path.clone()),
                expect,
                value: None,
                lease: 0,
            },
        }
    }
}

struct Work<'a, S> {
    session: &'a S,
    limits: Limits,
    common: Revision,
    lost: &'a Lost,
    written: BTreeSet<Bytes>,
}

impl<S: Session> Work<'_, S> {
    /// Which of the lost keys somebody has written in the cluster since, we ourselves among them,
    /// and whether they are as the journal has them now.
    async fn written_since(&self) -> ClusterResult<BTreeMap<Bytes, bool>> {
        let mut since = BTreeMap::new();
        changes_since(self.session, self.common.next(), |change| {
            if self.lost.keys.contains_key(&change.path) {
                let is_same = self.lost.is_as_lost(&change.path, &change.op);
                since.insert(change.path, is_same);
            }
        })
        .await?;
        Ok(since)
    }

    /// Writes everything that is not in `since`, in the order in which it was lost; `false`:
    /// somebody else has written one of these keys meanwhile.
    async fn write(&mut self, since: &BTreeMap<Bytes, bool>) -> Result<bool, Error> {
        let mut due: Vec<_> = (self.lost.keys.iter())
            .filter(|(path, _)| !since.contains_key(*path))
            .collect();
        due.sort_by_key(|(_, (at, _))| *at);
        for together in due.chunk_by(|(_, (a, _)), (_, (b, _))| a == b) {
            let mut rest = together;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(self.of_one_revision(rest));
                rest = later;
                let writes = now
                    .iter()
                    .map(|(path, (_, had))| self.lost.write(path, *had));
                match self.session.apply(&writes.collect::<Vec<_>>()).await {
                    Err(ClusterError::Conflict(Conflict::Key)) => return Ok(false),
                    answer => drop(answer?),
                }
                self.written
                    .extend(now.iter().map(|(path, _)| Bytes::clone(path)));
            }
        }
        Ok(true)
    }

    /// How many of the first keys one revision takes.
    fn of_one_revision(&self, keys: &[(&Bytes, &(Revision, Option<Revision>))]) -> usize {
        let most = self.session.capabilities().writes_per_revision;
        let mut bytes = 0;
        let fits = keys.iter().take(most).take_while(|(path, _)| {
            bytes += path.len() + self.lost.files.get(*path).map_or(0, |key| key.value.len());
            bytes <= self.limits.revision_bytes
        });
        fits.count().max(1)
    }
}

/// Gives the cluster its new identity, if it has its old one.
async fn rename<S: Session>(session: &S, before: &Identity, now: &Identity) -> Result<(), Error> {
    let key = ControlKey::Identity;
    let read = session.read(&key).await?;
    let read = read.filter(|read| read.value == before.to_string());
    let Some(read) = read else {
        return Err(ClusterError::Conflict(Conflict::Identity).into());
    };
    let value = now.to_string().into();
    session
        .write(&key, Expect::At(read.revision), value)
        .await?;
    Ok(())
}
