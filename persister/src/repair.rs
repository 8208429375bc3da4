//! Repairing the journal before it is opened: what it lost is fetched from other persisters'
//! journals, and from the cluster as far as that remembers.
//!
//! Promises: a journal that is given as a donor is only read; the cluster is asked only if it is
//! the one that the journal followed, and only for revisions that the journal knows to have lost; a
//! cluster that is away costs a few seconds, and nothing else. What stays lost is the journal's to
//! name, and the next attach's to make good.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use cairn_journal::{
    Directory, Donor, JournalDonor, NewRecord, Repair, RepairPhase, RepairProgress, Revision, Span,
    Stop, Timestamp, Turn,
};
use futures::StreamExt;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::attach::sides::remote_cluster;
use crate::cluster::budget::bytes_of;
use crate::cluster::error::Error as ClusterError;
use crate::cluster::session::{Cluster, Session};
use crate::config::{Config, Endpoint};
use crate::error::Error;

/// How long the cluster has for each answer. A repair does not depend on it.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much of the cluster's history is held at once. A history is some thousand revisions; what is
/// beyond is left to the difference that the next attach takes.
const HELD_BYTES: usize = 64 << 20;

/// How often a long repair says how far it is.
const PROGRESS: Duration = Duration::from_secs(10);

/// Whether to go on with the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repaired {
    /// It is whole now.
    Here,
    /// The repaired journal, if one was needed, is elsewhere.
    Elsewhere,
}

/// Repairs the journal, if it is damaged, with all the help that there is. `stop` ends it early.
///
/// # Errors
/// The journal's, or a donor's that cannot be read; then nothing was changed, or the repair is run
/// again.
pub fn repair<C: Cluster>(config: &Config, cluster: &C, stop: Stop) -> Result<Repaired, Error> {
    if !config.journal.exists() {
        return Ok(Repaired::Here);
    }
    let mut donors: Vec<Box<dyn Donor>> = Vec::new();
    let mut acquaintances: Vec<Rc<RefCell<Acquaintance>>> = Vec::new();
    for dir in &config.repair_from {
        let acquaintance = Rc::default();
        donors.push(Box::new(NamedDonor {
            journal: JournalDonor::new(dir),
            acquaintance: Rc::clone(&acquaintance),
        }));
        acquaintances.push(acquaintance);
    }
    // An embedded cluster has just begun: it remembers nothing.
    if matches!(config.endpoint, Endpoint::Remote(_)) {
        donors.push(Box::new(ClusterDonor::new(cluster.clone())));
    }
    let mut said = Instant::now();
    let mut tell = |progress: RepairProgress| {
        if said.elapsed() >= PROGRESS {
            said = Instant::now();
            say(progress);
        }
    };
    let repair = Repair::of(Directory::at(&config.journal))
        .with(&mut donors)
        .telling(&mut tell)
        .unless(stop);
    let repair = match &config.repair_into {
        Some(into) => repair.into_dir(into),
        None => repair,
    };
    let report = repair.run()?;
    for (dir, acquaintance) in config.repair_from.iter().zip(&acquaintances) {
        acquaintance.borrow().tell_if_strange(dir);
    }
    match &config.repair_into {
        _ if !report.is_changed() => tracing::info!("the journal is whole: nothing to repair"),
        None => tracing::warn!("the journal was damaged and has been repaired:\n{report}"),
        Some(into) => tracing::warn!(
            "the journal is damaged. The repaired one is {}: go on with that (--journal). {report}",
            into.display()
        ),
    }
    Ok(match config.repair_into {
        Some(_) => Repaired::Elsewhere,
        None => Repaired::Here,
    })
}

fn say(progress: RepairProgress) {
    let RepairProgress { done, total, .. } = progress;
    let percent = (done.min(total) * 100).checked_div(total).unwrap_or(0);
    let what = match progress.phase {
        RepairPhase::Reading => "reading what is left of the journal",
        RepairPhase::Writing => "writing the repaired journal",
        _ => "reading the repaired journal back",
    };
    tracing::info!("repair: {what}, {percent} %");
}

/// Which timelines a donor was asked for, and which it has.
#[derive(Debug, Default)]
struct Acquaintance {
    asked: BTreeSet<String>,
    has: BTreeSet<String>,
}

impl Acquaintance {
    fn tell_if_strange(&self, dir: &Path) {
        let list = |ids: &BTreeSet<String>| ids.iter().cloned().collect::<Vec<_>>().join(", ");
        if !self.asked.is_empty() && self.asked.is_disjoint(&self.has) {
            tracing::warn!(
                "--from {}: nothing of it is of use. It has the history of {}, and lost was some \
                 of {}: is it a journal of another cluster?",
                dir.display(),
                if self.has.is_empty() {
                    "no cluster".to_owned()
                } else {
                    list(&self.has)
                },
                list(&self.asked)
            );
        }
    }
}

/// Another persister's journal as a donor that is known by its timelines.
struct NamedDonor {
    journal: JournalDonor,
    acquaintance: Rc<RefCell<Acquaintance>>,
}

impl Donor for NamedDonor {
    fn name(&self) -> String {
        self.journal.name()
    }

    fn knows(&mut self, timeline: &str, span: Span) -> cairn_journal::Result<Vec<Span>> {
        let known = self.journal.knows(timeline, span)?;
        let mut acquaintance = self.acquaintance.borrow_mut();
        acquaintance.asked.insert(timeline.to_owned());
        if !known.is_empty() {
            acquaintance.has.insert(timeline.to_owned());
        }
        Ok(known)
    }

    fn recall(
        &mut self,
        timeline: &str,
        span: Span,
        visit: &mut dyn FnMut(NewRecord) -> cairn_journal::Result<()>,
    ) -> cairn_journal::Result<()> {
        self.journal.recall(timeline, span, visit)
    }

    fn turns(&mut self) -> cairn_journal::Result<Vec<Turn>> {
        let turns = self.journal.turns()?;
        let ids = turns.iter().map(|turn| turn.to.id.clone());
        self.acquaintance.borrow_mut().has.extend(ids);
        Ok(turns)
    }
}

/// The cluster's own history as a donor.
struct ClusterDonor<C: Cluster> {
    cluster: C,
    reached: Reached<C::Session>,
    /// What was fetched: whole from `from` to the end of `history`.
    fetched: Vec<(Span, BTreeMap<Revision, NewRecord>)>,
}

enum Reached<S> {
    NotYet,
    /// The cluster, its identity, and its newest revision.
    Open(S, String, Revision),
    Away,
}

impl<C: Cluster> ClusterDonor<C> {
    fn new(cluster: C) -> Self {
        Self {
            cluster,
            reached: Reached::NotYet,
            fetched: Vec::new(),
        }
    }

    async fn reach(&mut self) -> Option<(C::Session, String, Revision)> {
        if let Reached::NotYet = self.reached {
            self.reached = match timeout(PATIENCE, self.look()).await {
                Ok(Ok(open)) => open,
                Ok(Err(error)) => {
                    tracing::info!(%error, "the cluster does not help to repair the journal");
                    Reached::Away
                }
                Err(_) => {
                    tracing::info!(
                        "the cluster does not help to repair the journal: \
                         no answer within {PATIENCE:?}"
                    );
                    Reached::Away
                }
            };
        }
        match &self.reached {
            Reached::Open(session, id, newest) => Some((session.clone(), id.clone(), *newest)),
            Reached::NotYet | Reached::Away => None,
        }
    }

    async fn look(&self) -> Result<Reached<C::Session>, Error> {
        let session = self.cluster.open().await?;
        let (remote, newest) = remote_cluster(&session).await?;
        Ok(match remote.identity {
            // While a restore is under way its revisions do not say yet what they are going to say.
            Some(identity) if !identity.is_unfinished() => {
                Reached::Open(session, identity.id, newest)
            }
            _ => Reached::Away,
        })
    }

    /// Fetches what the cluster still remembers of a span.
    async fn fetch(&mut self, timeline: &str, span: Span) -> Option<Span> {
        let known = |(have, _): &&(Span, _)| have.overlap(span) == Some(span);
        if self.fetched.iter().any(|f| known(&f)) {
            return Some(span);
        }
        let (session, id, newest) = self.reach().await?;
        // What is beyond the journal's end is followed later, in the usual way.
        if id != timeline || span.last > newest {
            return None;
        }
        let first = oldest(&session, span).await?;
        let mut stream = session.follow(first);
        let (mut next, mut held, mut history) = (first, 0, BTreeMap::new());
        while next <= span.last && held < HELD_BYTES {
            let Ok(Some(Ok(followed))) = timeout(PATIENCE, stream.next()).await else {
                break;
            };
            if followed.revision != next {
                break;
            }
            next = next.next();
            if !followed.changes.is_empty() {
                held += followed.changes.iter().map(bytes_of).sum::<usize>();
                let recalled =
                    NewRecord::changes(followed.revision, followed.changes, Timestamp::now());
                history.insert(followed.revision, recalled);
            }
        }
        let have = Span::new(first, next.previous())?;
        self.fetched.push((have, history));
        Some(have)
    }
}

/// The oldest revision of a span that is still remembered, and with it all that come after.
async fn oldest<S: Session>(session: &S, span: Span) -> Option<Revision> {
    let (mut low, mut high) = (span.first, span.last.next());
    while low < high {
        let middle = Revision(low.0 + (high.0 - low.0) / 2);
        match timeout(PATIENCE, session.follow(middle).next()).await {
            Ok(Some(Ok(_))) => high = middle,
            Ok(Some(Err(ClusterError::HistoryDiscarded))) => low = middle.next(),
            _ => return None,
        }
    }
    (low <= span.last).then_some(low)
}

impl<C: Cluster> Donor for ClusterDonor<C> {
    fn name(&self) -> String {
        "the cluster".to_owned()
    }

    fn knows(&mut self, timeline: &str, span: Span) -> cairn_journal::Result<Vec<Span>> {
        let known = Handle::current().block_on(self.fetch(timeline, span));
        Ok(known.into_iter().collect())
    }

    fn recall(
        &mut self,
        _timeline: &str,
        span: Span,
        visit: &mut dyn FnMut(NewRecord) -> cairn_journal::Result<()>,
    ) -> cairn_journal::Result<()> {
        let mut all = self.fetched.iter();
        if let Some((_, history)) = all.find(|(have, _)| have.overlap(span) == Some(span)) {
            for recalled in history.range(span.first..=span.last) {
                visit(recalled.1.clone())?;
            }
        }
        Ok(())
    }
}
