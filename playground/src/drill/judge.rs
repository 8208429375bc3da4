//! What a drill waits for, and how it judges.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::drill::listener::Listener;
use crate::drill::run::{Run, is_up};
use crate::drill::step::{Group, Which};
use crate::ledger::audit::Audit;
use crate::ledger::outcome::Class;
use crate::ledger::times::Point;
use crate::world::World;
use crate::world::decide::Command;
use crate::world::machine::Machine;
use crate::world::process::log_tail;

/// How long the writes may take that a step waits for.
const WRITES_LIMIT: Duration = Duration::from_secs(60);

/// How often it is looked whether there are enough.
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl Run {
    /// How many writes were acknowledged that ended after `since`, a time since the ledger's
    /// beginning.
    pub(super) fn acknowledged(&self, since: Duration) -> usize {
        self.ends(|point| point.class == Class::Durable && point.at >= since)
    }

    /// How many writes have ended so.
    fn ends(&self, so: impl Fn(&Point) -> bool) -> usize {
        let ledger = self.ledger.lock();
        ledger.points().iter().filter(|point| so(point)).count()
    }

    pub(super) async fn write(&mut self, count: usize) -> Result<()> {
        let since = self.ledger.lock().age();
        let done = |run: &Self| run.acknowledged(since);
        self.until("writes were acknowledged", count, done).await
    }

    pub(super) async fn unconfirmed(&mut self, count: usize) -> Result<()> {
        let since = self.ledger.lock().age();
        let began_later = |point: &Point| point.at.saturating_sub(point.took) >= since;
        let ended = |run: &Self| run.ends(began_later);
        self.until("writes ended unconfirmed", count, ended).await?;
        match self.ends(|point| point.class == Class::Durable && began_later(point)) {
            0 => Ok(()),
            told => bail!("{told} writes were acknowledged that cannot be on enough disks"),
        }
    }

    async fn until(
        &mut self,
        what: &str,
        count: usize,
        done: impl Fn(&Self) -> usize,
    ) -> Result<()> {
        let start = Instant::now();
        loop {
            self.hear();
            let so_far = done(self);
            self.all_is_well()?;
            if so_far >= count {
                return Ok(());
            }
            if start.elapsed() > WRITES_LIMIT {
                bail!("{so_far} {what} within {WRITES_LIMIT:?}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(super) async fn listen(&mut self) -> Result<()> {
        self.listener = Some(Listener::new(self.machines.target()?).await?);
        Ok(())
    }

    pub(super) async fn heard(&mut self) -> Result<()> {
        let mut listener = self.listener.take().context("no client watches: listen")?;
        let revisions = listener.has_seen_all().await?;
        self.tell(format!(
            "the watching client has seen each of {revisions} revisions"
        ));
        Ok(())
    }

    /// No write has failed, but those of clients whose node was lost.
    pub(super) fn steady(&mut self) -> Result<()> {
        self.hear();
        let since = self.steady_since;
        let nodes = self.machines.group(&Group::Nodes);
        let ledger = self.ledger.lock();
        let (mut failed, mut longest) = (0, Duration::ZERO);
        for point in ledger.points().iter().filter(|point| point.at >= since) {
            // Each client begins with another node, in turn.
            let node = &nodes[(point.writer as usize - 1) % nodes.len()];
            if self.lost.contains(node.name()) {
                failed += usize::from(point.class != Class::Durable);
                longest = longest.max(point.took);
                continue;
            }
            ensure!(
                point.class == Class::Durable,
                "a write of client-{}, which is on {}, was not acknowledged ({:?}, {:.1?} after \
                 the drill's beginning)",
                point.writer,
                node.name(),
                point.class,
                point.at
            );
        }
        self.steady_since = ledger.age();
        drop(ledger);
        self.lost.clear();
        self.tell(format!(
            "of clients on nodes that were lost {failed} writes failed, and the longest took \
             {longest:.1?}; of the others none failed"
        ));
        Ok(())
    }

    /// Nothing has ended that no step has ended.
    pub(super) fn all_is_well(&self) -> Result<()> {
        self.machines.nobody_gave_up()?;
        let all = self.machines.group(&Group::All);
        let ended = |machine: &&Arc<Machine>| {
            machine.about().iter().any(|it| it.ended.is_some())
                && !self.asleep.contains(machine.name())
        };
        let Some(machine) = all.iter().find(ended) else {
            return Ok(());
        };
        let log = machine.about().first().map(|about| log_tail(&about.log));
        let log = log.unwrap_or_default();
        bail!(
            "{} ended by itself; the end of its log:\n{log}",
            machine.name()
        )
    }

    pub(super) fn left(&self, which: &Which) -> Result<()> {
        let mut machines = self.machines.group(&which.group);
        if self.liar {
            machines.retain(|machine| !self.machines.is_liar(machine));
        }
        for about in machines.iter().flat_map(|machine| machine.about()) {
            let status = about.ended;
            let how = status.map_or("it runs".to_owned(), |status| status.to_string());
            ensure!(
                status.is_some_and(|status| status.success()),
                "{} has not left in good order: {how}; the end of its log:\n{}",
                about.name,
                log_tail(&about.log)
            );
        }
        Ok(())
    }

    pub(super) async fn audit(&mut self) -> Result<()> {
        let clients = self.machines.group(&Group::Clients);
        ensure!(
            !clients.iter().any(is_up),
            "a client may still be writing: end all clients before"
        );
        let mut holders = self.machines.holders().iter();
        let stale = holders.find(|it| is_up(it) && !self.fresh.contains(it.name()));
        if let Some(machine) = stale {
            bail!(
                "a write of a client may still be on its way in {}: end and start it before",
                machine.name()
            );
        }
        if self.liar {
            self.lose_honest_disks().await?;
        }
        let found = self.machines.everything().await?;
        let audit = {
            let mut ledger = self.ledger.lock();
            let audit = ledger.audit(&found, self.machines.revisions());
            // Everything that was sent before is dead, and what is there came from disks.
            ledger.settle(&found);
            audit
        };
        if self.tell {
            eprintln!("{}", self.line(&audit));
        }
        self.report.audited(self.back, audit);
        Ok(())
    }

    /// The power goes once more, and every disk that is not a liar's with it.
    async fn lose_honest_disks(&mut self) -> Result<()> {
        self.tell("a persister lies: every honest disk is lost".to_owned());
        World::cut_power(&self.machines.group(&Group::Servers)).await?;
        World::together(&self.machines.group(&Group::Servers), Command::Wipe).await?;
        let servers = self.machines.group(&Group::Servers);
        self.machines.start(&servers).await?;
        self.started(&servers);
        Ok(())
    }

    fn line(&self, audit: &Audit) -> String {
        let verdict = if audit.passed() {
            "nothing lost"
        } else {
            "FAILED"
        };
        let open = audit.applied.writes + audit.unknown.writes;
        let open_there = audit.applied.there + audit.unknown.there;
        format!(
            "round {} of {}: back after {:.1?}; {} of {} acknowledged writes there, {open_there} \
             of {open} open ones: {verdict}",
            self.report.rounds + 1,
            self.report.rounds_asked,
            self.back,
            audit.durable.there,
            audit.durable.writes
        )
    }
}
