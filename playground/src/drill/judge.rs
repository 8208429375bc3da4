//! What a drill waits for, and how it judges.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use cairn_persister::restore::digest::Digest;

use crate::drill::listener::Listener;
use crate::drill::restore::journal;
use crate::drill::run::{Run, is_up};
use crate::drill::step::{Group, Which};
use crate::engine::everything;
use crate::ledger::audit::Audit;
use crate::ledger::outcome::Class;
use crate::ledger::times::Point;
use crate::ledger::write::Found;
use crate::members::Seat;
use crate::output;
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

    /// Waits for so many acknowledged writes, of each kind of clients at least one.
    pub(super) async fn write(&mut self, count: usize) -> Result<()> {
        let since = self.ledger.lock().age();
        let done = |run: &Self| {
            let (mut count, mut hands) = (0, BTreeSet::new());
            let ledger = run.ledger.lock();
            for point in ledger.points().iter().rev() {
                if point.at < since {
                    break;
                }
                if point.class == Class::Durable {
                    count += 1;
                    hands.insert(run.machines.deal.hand(point.writer));
                }
            }
            (count, hands.len() == run.hands())
        };
        self.until("writes were acknowledged", count, done).await
    }

    /// How many kinds of clients there are; there may be fewer clients.
    fn hands(&self) -> usize {
        let clients = self.machines.group(&Group::Clients).len();
        self.machines.deal.hands().min(clients)
    }

    pub(super) async fn unconfirmed(&mut self, count: usize) -> Result<()> {
        let since = self.ledger.lock().age();
        let began_later = |point: &Point| point.at.saturating_sub(point.took) >= since;
        let ended = |run: &Self| (run.ends(began_later), true);
        self.until("writes ended unconfirmed", count, ended).await?;
        let of = |class| self.ends(|point| point.class == class && began_later(point));
        if let told @ 1.. = of(Class::Durable) {
            bail!("{told} writes were acknowledged that cannot be on enough disks");
        }
        self.tell(format!(
            "clients were told: {} in effect but unconfirmed, {} not applied, {} unknown",
            of(Class::Applied),
            of(Class::NotApplied),
            of(Class::Unknown)
        ));
        Ok(())
    }

    async fn until(
        &mut self,
        what: &str,
        count: usize,
        done: impl Fn(&Self) -> (usize, bool),
    ) -> Result<()> {
        let start = Instant::now();
        loop {
            self.hear();
            let (so_far, is_of_all) = done(self);
            self.all_is_well()?;
            if so_far >= count && is_of_all {
                return Ok(());
            }
            if start.elapsed() > WRITES_LIMIT {
                let of = match is_of_all {
                    true => "",
                    false => ", and none of some kind of clients,",
                };
                bail!("{so_far} {what}{of} within {WRITES_LIMIT:?}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// All members that run have the same history; without clients, keys and hash are those of
    /// before.
    pub(super) async fn agree(&mut self) -> Result<()> {
        let etcd = self.machines.etcd.as_ref().context("not on etcd")?;
        let mut says = Vec::new();
        for members in &etcd.clusters {
            let (revision, hash, names) = members.agree().await?;
            let names = names.join(", ");
            says.push(format!("HashKV {hash} at revision {revision} on {names}"));
        }
        let says = says.join("; ");
        if self.machines.group(&Group::Clients).iter().any(is_up) {
            self.tell(format!("agree: {says}"));
            return Ok(());
        }
        let keys = self.machines.everything().await?;
        let pairs = keys.iter();
        let digest = Digest::of(pairs.map(|(key, (_, value))| (key.as_bytes(), &value[..])));
        let digest = digest.describe();
        self.tell(format!("agree: {digest} ({says})"));
        let before = self.agreed.replace(digest.clone());
        ensure!(
            before.as_ref().is_none_or(|before| *before == digest),
            "keys and hash are {digest}; they were {}, and nobody has written since",
            before.unwrap_or_default()
        );
        Ok(())
    }

    /// What can be read is read. With a majority of members everything that was acknowledged has to
    /// be there. Without one no ordinary read is answered; each member gives what it has, and that
    /// is nothing that nobody wrote. Clients may go on meanwhile.
    pub(super) async fn read(&mut self) -> Result<()> {
        let since = self.ledger.lock().age();
        let etcd = self.machines.etcd.as_ref().context("not on etcd")?;
        let (seats, revisions) = (etcd.members().seats(), self.machines.revisions());
        let running: Vec<Seat> = seats.iter().filter(|it| it.runs()).cloned().collect();
        let has_majority = running.len() * 2 > seats.len();
        let judge = |found: &Found, must: &dyn Fn(Duration) -> bool| {
            let mut told = self.ledger.lock().clone();
            told.excuse(|_, ended| !must(ended));
            let audit = told.audit(found, revisions);
            let wrong = audit
                .told
                .first()
                .map(|it| format!("{}: {}", it.key, it.says));
            ensure!(audit.passed(), "{}", wrong.unwrap_or_default());
            Ok(())
        };
        let mut says = Vec::new();
        if has_majority {
            let found = self.machines.everything().await?;
            judge(&found, &|ended| ended < since)?;
            says.push(format!("{} keys, all that was acknowledged", found.len()));
        }
        for seat in running.iter().filter(|_| !has_majority) {
            let session = seat.session().await?;
            let name = seat.name();
            let ordinary = everything(&session, false).await;
            ensure!(ordinary.is_err(), "{name} answers without a majority");
            let found = everything(&session, true).await;
            let found = found.with_context(|| format!("{name} does not give what it has"))?;
            judge(&found, &|_| false).context(name.to_owned())?;
            says.push(format!("{name} alone gives its {} keys", found.len()));
        }
        self.tell(format!("read: {}", says.join(", ")));
        Ok(())
    }

    /// A cluster was made anew from a journal. Clients that waited for so few persisters that all
    /// of those may have lost their disks were promised nothing about that.
    pub(super) fn excuse(&mut self) {
        // A liar's clients wait for it alone.
        if self.liar {
            return;
        }
        let ids = (1..).zip(self.machines.honest());
        let has_journal = |it: &Machine| journal(it, 0).is_some_and(|journal| journal.exists());
        let lost = ids.filter(|(_, machine)| !has_journal(machine));
        let lost: Vec<u32> = lost.map(|(id, _)| id).collect();
        for policy in self.machines.deal.policies.clone() {
            let gone = lost.iter().filter(|id| **id <= policy.of).count();
            if gone < policy.require as usize {
                continue;
            }
            let deal = &self.machines.deal;
            let waits_so = |writer, _| deal.policy(writer) == policy;
            let count = self.ledger.lock().excuse(waits_so);
            self.tell(format!(
                "{gone} of {} disks are lost: {count} writes that {policy} confirmed may be gone",
                policy.of
            ));
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

    /// Nothing has ended that no step has ended, nor the warden.
    pub(super) fn all_is_well(&mut self) -> Result<()> {
        self.machines.nobody_gave_up()?;
        if self.has_ended().is_some() {
            // The warden tells what it ends before it does.
            self.hear();
        }
        let Some(machine) = self.has_ended() else {
            return Ok(());
        };
        let log = machine.about().first().map(|about| log_tail(&about.log));
        let log = log.unwrap_or_default();
        bail!(
            "{} ended by itself; the end of its log:\n{log}",
            machine.name()
        )
    }

    fn has_ended(&self) -> Option<Arc<Machine>> {
        let mut all = self.machines.group(&Group::All).into_iter();
        all.find(|machine| {
            let about = machine.about();
            about.iter().any(|it| it.ended.is_some()) && !self.asleep.contains(machine.name())
        })
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
            output::note(self.line(&audit));
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
