//! Losses, and the way back: what was there before, what is there after, and the proof.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::ledger::outcome::Outcome;
use crate::ledger::write::Found;
use crate::moment::Moment;
use crate::play::actions::Whole;
use crate::play::clients::{LOAD, Wait};
use crate::play::etcd::Etcd;
use crate::play::inner::{Play, lock};
use crate::play::loss::{Loss, Lost};
use crate::play::target::Target;
use crate::told::feed::{Kind, Tone};
use crate::told::refusal::Refusal;
use crate::world::World;
use crate::world::decide::{Command, Condition};
use crate::world::error::Error;
use crate::world::machine::Machine;

/// How long the last look before a loss may take, and how long it is waited for that disks have
/// what it saw.
const LOOK: Duration = Duration::from_secs(1);

/// How long reading everything may take.
pub(super) const READ: Duration = Duration::from_secs(5);

/// How long all processes may take to be ready.
const READY: Duration = Duration::from_secs(20);

/// How often it is looked whether they are.
pub(super) const EVERY: Duration = Duration::from_millis(25);

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
    pub(super) async fn read(&self, limit: Duration) -> Option<(Found, Moment)> {
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
