//! Losses, and the way back: what was there before, what is there after, and the proof.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_journal::{Reader, Revision};
use futures::future::join_all;

use crate::ledger::audit::Revisions;
use crate::ledger::book::Ledger;
use crate::ledger::outcome::Outcome;
use crate::ledger::write::Found;
use crate::play::actions::Whole;
use crate::play::agreement::together;
use crate::play::clients::{LOAD, Wait};
use crate::play::etcd::Etcd;
use crate::play::inner::{Play, lock};
use crate::play::loss::{Loss, Lost};
use crate::play::moment::Moment;
use crate::play::proof::{Compared, Evidence, figure, given_back, proof};
use crate::play::story::counted;
use crate::play::target::Target;
use crate::told::feed::{Kind, Tone};
use crate::told::refusal::Refusal;
use crate::told::state::{HashKv, Proof};

use crate::world::World;
use crate::world::decide::{Command, Condition};
use crate::world::error::Error;
use crate::world::machine::Machine;

/// How long the last look before a loss may take, and how long it is waited for that disks have
/// what it saw.
const LOOK: Duration = Duration::from_secs(1);

/// How long reading everything may take.
const READ: Duration = Duration::from_secs(5);

/// How long all processes may take to be ready.
const READY: Duration = Duration::from_secs(20);

/// How long the keys may take to be back.
const BACK: Duration = Duration::from_secs(30);

/// How often it is looked whether they are.
const EVERY: Duration = Duration::from_millis(25);

impl Play {
    /// Why this cannot be done to everything now.
    pub(super) fn refuses_whole(&self, whole: Whole) -> Option<String> {
        let all = |is: Condition| self.targets().all(|target| target.condition() == is);
        match whole {
            Whole::PowerCut if all(Condition::Down) => {
                Some("everything is down already".to_owned())
            }
            Whole::Lose if all(Condition::Down) && self.is_lost() => {
                Some("everything is lost already".to_owned())
            }
            Whole::Restore if !self.is_lost() && all(Condition::Up) => {
                Some("nothing is lost".to_owned())
            }
            _ => None,
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        lock(&self.0.loss).is_some()
    }

    /// Why no write may be sent now.
    pub(super) fn why_nothing_is_sent(&self) -> Option<String> {
        let loss = lock(&self.0.loss);
        let why = match loss.as_ref()?.kind {
            Lost::Power => "the power is off",
            Lost::Everything => "everything is lost",
        };
        Some(why.to_owned())
    }

    /// Something was lost. What was lost before is what the next proof compares with.
    pub(super) fn lost(&self, kind: Lost, before: Option<Moment>) {
        let mut loss = lock(&self.0.loss);
        let agreed = || self.0.etcd.as_ref().and_then(|etcd| *lock(&etcd.agreed));
        let (before, agreed) = match loss.take() {
            Some(loss) => (loss.before, loss.agreed),
            None => (before, agreed()),
        };
        *loss = Some(Loss {
            kind,
            before,
            agreed,
            made: None,
        });
        drop(loss);
        *lock(&self.0.proof) = None;
        let says = match kind {
            Lost::Power => "the power was cut",
            Lost::Everything => "everything was lost",
        };
        self.0.past.mark("lost", says.to_owned());
    }

    /// A cluster in memory has gone without a command of ours: somebody has typed it.
    pub(super) fn note_loss(&self) {
        if self.0.busy.is_idle() {
            self.note_loss_now();
        }
    }

    /// What was in memory goes with the last process; what members of etcd have, with the disks of
    /// a majority.
    pub(super) fn note_loss_now(&self) {
        let ended = |target: &Target| target.about().is_some_and(|about| about.ended.is_some());
        let began = |target: &Target| target.noted().started.is_some();
        let is_gone = match &self.0.etcd {
            None => self.0.nodes.iter().all(ended),
            Some(etcd) => self.0.nodes.iter().all(began) && etcd.is_lost(),
        };
        if is_gone && !self.is_lost() {
            self.lost(Lost::Everything, self.seen());
        }
    }

    /// What was there by the looks so far.
    fn seen(&self) -> Option<Moment> {
        let seen = self.0.nodes.iter();
        let seen = seen.filter_map(|node| node.noted().node.moment);
        seen.max_by_key(|seen| seen.revision)
    }

    /// What a node holds now, once a disk has it; if that does not come to be, as it is.
    pub(super) async fn last_look(&self) -> Option<Moment> {
        let Some((_, moment)) = self.read(LOOK).await else {
            return self.seen();
        };
        let _ = self.on_disk(moment.revision, LOOK).await;
        self.note_agreement().await;
        Some(moment)
    }

    /// Everything that the node holds that has come farthest.
    async fn read(&self, limit: Duration) -> Option<(Found, Moment)> {
        let up = self.0.nodes.iter().zip(&self.0.eyes);
        let up = up.filter(|(node, _)| node.condition() == Condition::Up);
        let reads = join_all(up.map(|(_, eye)| eye.read(limit))).await;
        let reads = reads.into_iter().flatten();
        reads.max_by_key(|(_, moment)| moment.revision)
    }

    /// Waits until a persister has everything up to this revision on disk.
    pub(super) async fn on_disk(&self, revision: i64, limit: Duration) -> Result<(), Refusal> {
        let begun = Instant::now();
        loop {
            self.look().await;
            let has = |target: &Target| {
                let status = target.noted().persister.status;
                status.is_some_and(|status| status.on_disk_up_to() >= revision)
                    && target.condition() == Condition::Up
            };
            if self.0.persisters.iter().any(has) {
                return Ok(());
            }
            if begun.elapsed() > limit {
                let says = format!("revision {revision} was on no disk within {limit:?}");
                return Err(Refusal::Failed(says));
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    pub(super) async fn power_cut(&self) -> Result<String, Refusal> {
        let before = self.last_look().await;
        self.cut(Lost::Power, before).await?;
        Ok("Every process was killed. The disks stay.".to_owned())
    }

    pub(super) async fn lose(&self) -> Result<String, Refusal> {
        let before = self.last_look().await;
        self.cut(Lost::Everything, before).await?;
        let nodes = machines(&self.0.nodes);
        let wiped = World::together(&nodes, Command::Wipe).await;
        wiped.map_err(failed)?;
        Ok(
            "Every process was killed, and what nodes had was deleted. The journals stay."
                .to_owned(),
        )
    }

    async fn cut(&self, kind: Lost, before: Option<Moment>) -> Result<(), Refusal> {
        let all: Vec<_> = self
            .targets()
            .map(|target| Arc::clone(&target.machine))
            .collect();
        let cut = World::cut_power(&all).await;
        // Only now are writers told that nothing is sent: those under way were cut off.
        self.lost(kind, before);
        cut.map_err(failed)
    }

    /// Starts everything for the first time.
    pub(super) async fn start_all(&self) -> Result<String, Refusal> {
        let began = Instant::now();
        self.up().await?;
        Ok(format!(
            "Everything runs after {:.1} s.",
            began.elapsed().as_secs_f64()
        ))
    }

    /// Where everything is lost, every write has ended that was begun before. A client that waits
    /// for its node to come back would be the first to write into the empty cluster, which is then
    /// none to restore into.
    pub(super) async fn nobody_waits(&self) -> Result<(), Refusal> {
        if self.is_lost() {
            drop(self.0.clients.quiet().await?);
        }
        Ok(())
    }

    /// Starts or wakes what does not run: nodes, then persisters.
    async fn up(&self) -> Result<(), Refusal> {
        for (kind, all) in [
            (Kind::Node, &self.0.nodes),
            (Kind::Persister, &self.0.persisters),
        ] {
            let which = |is| {
                let those = all.iter().filter(move |target| target.condition() == is);
                machines(those)
            };
            let wake = World::together(&which(Condition::Halted), Command::Resume).await;
            wake.map_err(failed)?;
            let down = which(Condition::Down);
            if let (Some(etcd), Kind::Node) = (&self.0.etcd, kind) {
                etcd.start(&down)?;
                continue;
            }
            let start = World::together(&down, Command::Start);
            let started = tokio::time::timeout(READY, start).await;
            let slow = |_| Refusal::Failed(format!("not everything was ready within {READY:?}"));
            let started = started.map_err(slow)?;
            started.map_err(failed)?;
        }
        Ok(())
    }

    /// Starts everything, waits for the keys, and compares.
    pub(super) async fn restore_all(&self) -> Result<String, Refusal> {
        let began = Instant::now();
        self.note_loss_now();
        self.nobody_waits().await?;
        if let Some(etcd) = self.0.etcd.as_ref().filter(|etcd| etcd.is_lost()) {
            self.members_from_a_journal(etcd).await?;
        }
        self.up().await?;
        let says = self.prove().await?;
        Ok(format!(
            "{says} It took {:.1} s.",
            began.elapsed().as_secs_f64()
        ))
    }

    /// Members of etcd come back from a file: persisters wait for that.
    async fn members_from_a_journal(&self, etcd: &Etcd) -> Result<(), Refusal> {
        let all: Vec<_> = machines(self.targets());
        World::cut_power(&all).await.map_err(failed)?;
        let wiped = World::together(&machines(&self.0.nodes), Command::Wipe).await;
        wiped.map_err(failed)?;
        let journals = self.0.persisters.iter().filter_map(Target::journal);
        let journals: Vec<_> = journals.collect();
        let agreed = lock(&self.0.loss).as_ref().and_then(|loss| loss.agreed);
        let (report, made) = etcd.restore(&journals, agreed)?;
        if let Some(loss) = lock(&self.0.loss).as_mut() {
            loss.made = Some(made);
        }
        let says = format!(
            "a snapshot file was made from a journal: {} keys, hash {}, up to revision {}; members \
             were made from it, and go on at {}",
            report.keys, report.hash, report.newest, report.revision
        );
        let command =
            "persister restore -j JOURNAL --to-snapshot lost.db; etcdctl snapshot restore";
        self.feed()
            .tell(Kind::Restore, Tone::Past, says, Some(command.to_owned()));
        Ok(())
    }

    /// Waits until the cluster is restored, and compares it with what was lost.
    pub(super) async fn prove(&self) -> Result<String, Refusal> {
        self.restored().await?;
        let quiet = self.0.clients.quiet().await?;
        let gone = || Refusal::Failed("the cluster is back and cannot be read".to_owned());
        let (mut found, now) = self.read(READ).await.ok_or_else(gone)?;
        let loss = lock(&self.0.loss).clone();
        let before = loss.as_ref().and_then(|loss| loss.before.clone());
        let journal = match &before {
            Some(before) if !before.same_state(&now) => self.journal_at(before).await,
            _ => None,
        };
        let hashes = match &loss {
            Some(loss) => self.histories(loss).await,
            None => Vec::new(),
        };
        let (audit, strangers) = {
            let mut ledger = self.0.clients.ledger.lock();
            // Other programs may write to this cluster, too; nobody knows what they were told.
            found.retain(|key, _| ledger.has(key));
            let strangers = {
                let then = match (&before, &journal) {
                    (Some(before), _) if before.same_state(&now) => Some(&found),
                    (Some(before), Some((then, state))) if before.same_state(then) => Some(state),
                    _ => None,
                };
                then.map_or_else(Vec::new, |then| strangers(&ledger, &found, then))
            };
            ledger.settle_those(&found, |key| strangers.iter().any(|it| it == key));
            let audit = ledger.audit(&found, Revisions::Any);
            // Everything that was sent before is dead, and what is there came from disks.
            ledger.settle(&found);
            (audit, strangers)
        };
        let shown = proof(&Evidence {
            before: before.as_ref(),
            now: &now,
            journal: journal.as_ref().map(|(then, _)| then),
            audit: &audit,
            strangers: &strangers,
            hashes: &hashes,
        });
        let says = shown.says.clone();
        let tone = if shown.equal { Tone::Ok } else { Tone::Bad };
        *lock(&self.0.proof) = Some(shown);
        *lock(&self.0.loss) = None;
        drop(quiet);
        let told = format!(
            "Restored: {}. {says}",
            counted(usize::try_from(now.keys).unwrap_or(usize::MAX), "key")
        );
        self.0.past.mark("restored", told.clone());
        self.feed().tell(Kind::Restore, tone, told, None);
        Ok(says)
    }

    /// Starts the scratch cluster.
    pub(crate) async fn start_scratch(&self) -> Result<(), Refusal> {
        let scratch = &self.0.scratch.machine;
        if let Some(etcd) = &self.0.etcd {
            return etcd.start_scratch(scratch);
        }
        let started = tokio::time::timeout(READY, scratch.run(Command::Start)).await;
        let slow = |_| Refusal::Failed(format!("no scratch cluster within {READY:?}"));
        started.map_err(slow)?.map_err(failed)
    }

    /// Lets somebody else write into the cluster, while no writer of the ledger does, and takes
    /// what is there afterwards for the truth, once it is on disk. Gives that, too.
    pub(crate) async fn while_nobody_writes<T>(
        &self,
        write: impl AsyncFnOnce() -> Result<T, Refusal>,
    ) -> Result<(T, Moment), Refusal> {
        let quiet = self.0.clients.quiet().await?;
        if let Some(why) = self.why_nothing_is_sent() {
            return Err(Refusal::NotNow(format!("{why}: restore first")));
        }
        let gone = || Refusal::Failed("the cluster cannot be read".to_owned());
        let read = async || self.read(READ).await.ok_or_else(gone);
        let (before, _) = read().await?;
        let written = write().await;
        // Also after a failure: it may have written a part.
        let (after, now) = read().await?;
        let is_durable = self.on_disk(now.revision, READY).await;
        let changed = |key: &str| before.get(key) != after.get(key);
        self.0.clients.ledger.lock().settle_those(&after, changed);
        drop(quiet);
        is_durable?;
        Ok((written?, now))
    }

    /// Shows what giving an older state back has come to.
    pub(crate) fn given_back(
        &self,
        change: u64,
        then: &Moment,
        now: &Moment,
        left: &[String],
    ) -> Proof {
        let proof = given_back(change, then, now, left);
        *lock(&self.0.proof) = Some(proof.clone());
        self.0.past.mark("restored", proof.says.clone());
        proof
    }

    /// Waits until a node serves, and its cluster has been named by those who restore it.
    async fn restored(&self) -> Result<(), Refusal> {
        let begun = Instant::now();
        loop {
            self.look().await;
            let is_back = self.0.nodes.iter().any(|node| node.noted().node.is_whole());
            let attached = |target: &Target| {
                let status = target.noted().persister.status;
                status.is_some_and(|status| status.connected)
            };
            if is_back && self.0.persisters.iter().any(attached) {
                return Ok(());
            }
            let up = |target: &Target| target.condition() == Condition::Up;
            if !self.0.nodes.iter().any(up) {
                return Err(Refusal::NotNow("no node runs: start one".to_owned()));
            }
            if !self.0.persisters.iter().any(up) {
                let says = "no persister runs that could bring the keys back: start one";
                return Err(Refusal::NotNow(says.to_owned()));
            }
            if begun.elapsed() > BACK {
                let says = format!("the keys are not back within {BACK:?}: see the logs");
                return Err(Refusal::Failed(says));
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// What a journal held at the revision of the last look: the same, if any did. One that was
    /// begun after the loss followed the restore, which writes each key once, at its last revision:
    /// it has another state at that number, and cannot tell.
    async fn journal_at(&self, look: &Moment) -> Option<(Moment, Found)> {
        let journals: Vec<_> = self
            .0
            .persisters
            .iter()
            .filter_map(Target::journal)
            .collect();
        let revision = look.revision;
        let read = tokio::task::spawn_blocking(move || {
            let at = |journal: &PathBuf| {
                let reader = Reader::open(journal).ok()?;
                let state = reader.state(Some(Revision(revision))).ok()?;
                let moment = Moment::of_state(&state);
                let text = state.files.into_values().filter_map(|key| {
                    let text = String::from_utf8(key.path.to_vec()).ok()?;
                    Some((text, (key.revision.0, key.value)))
                });
                Some((moment, text.collect()))
            };
            journals.iter().filter_map(at).collect::<Vec<_>>()
        });
        let mut told: Vec<(Moment, Found)> = read.await.unwrap_or_default();
        let same = told.iter().position(|(told, _)| told.same_state(look));
        (!told.is_empty()).then(|| told.swap_remove(same.unwrap_or(0)))
    }

    /// What members of etcd say of their history, compared with what they said before the loss.
    async fn histories(&self, loss: &Loss) -> Vec<Compared> {
        let Some(agreed) = loss.agreed else {
            return Vec::new();
        };
        let what = format!("HashKV at revision {}", figure(agreed.said.revision));
        let asked = async |wanted: HashKv| {
            let said = self.hash_kv(wanted.revision).await;
            let said = together(&said).ok_or("the members do not agree, or do not answer")?;
            match said.said.compacted == wanted.compacted {
                true => Ok((said.said.hash, format!("on {} members", said.members))),
                false => Err("the members have compacted their history since".to_owned()),
            }
        };
        let Some(made) = &loss.made else {
            // They came back with their disks.
            return vec![Compared {
                what,
                before: agreed.said.hash,
                after: asked(agreed.said).await,
            }];
        };
        let told = "by the journal: all its history".to_owned();
        let history = Compared {
            what,
            before: agreed.said.hash,
            after: made.history.clone().map(|hash| (hash, told)),
        };
        let Some(file) = made.file else {
            return vec![history];
        };
        let members = Compared {
            what: format!("HashKV, file and new members, at {}", figure(file.revision)),
            before: file.hash,
            after: asked(file).await,
        };
        vec![history, members]
    }

    /// Writes what the load generator says, for ever.
    pub(super) async fn generate(self) {
        let play = &self;
        let write = |key: String, value: Option<String>| {
            let play = play.clone();
            async move {
                let lost = || play.why_nothing_is_sent();
                let value = value.map(Into::into);
                let clients = &play.0.clients;
                let written = clients
                    .write(LOAD, &key, value, Wait::All, None, lost)
                    .await;
                written.map_or(Outcome::NotApplied, |(outcome, _)| outcome)
            }
        };
        self.0.load.run(write).await;
    }
}

/// The keys that are not as writers were told, and were so before the loss already: somebody else
/// has written there. `then`: what there was before the loss.
fn strangers(ledger: &Ledger, found: &Found, then: &Found) -> Vec<String> {
    let value = |of: &Found, key: &str| of.get(key).map(|(_, value)| value.clone());
    let mut faulty = ledger.faulty(found);
    faulty.retain(|key| value(found, key) == value(then, key));
    faulty
}

/// Why a step failed, without the log, which the page shows beside it.
pub(super) fn failed(error: Error) -> Refusal {
    let says = error.to_string();
    let brief = says.split_once("; the end of its log");
    Refusal::Failed(brief.map_or(says.clone(), |(brief, _)| format!("{brief}: see its log")))
}

fn machines<'a>(targets: impl IntoIterator<Item = &'a Target>) -> Vec<Arc<Machine>> {
    let machines = targets
        .into_iter()
        .map(|target| Arc::clone(&target.machine));
    machines.collect()
}
