//! Does what the steps of a drill say, and judges.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::drill::cluster::{Machines, Plan};
use crate::drill::options::{Options, Shape};
use crate::drill::page::page;
use crate::drill::report::Report;
use crate::drill::restore::restore;
use crate::drill::script::{Named, Script};
use crate::drill::step::{Group, Step, Which};
use crate::ledger::audit::Audit;
use crate::ledger::outcome::Class;
use crate::ledger::times::Point;
use crate::programs::Programs;
use crate::world::World;
use crate::world::decide::{Command, Condition, decide};
use crate::world::machine::Machine;
use crate::world::process::log_tail;
use crate::writers::Shared;

/// How long the writes may take that a step waits for.
const WRITES_LIMIT: Duration = Duration::from_secs(30);

/// How often it is looked whether there are enough.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Runs a drill.
///
/// # Errors
/// What keeps it from being run. A drill that was run and failed is a [`Report`].
pub async fn run(drill: &Named, options: &Options, programs: &Programs) -> Result<Report> {
    let begun = Instant::now();
    let script = &drill.script;
    let shape = shape(script, options)?;
    let ledger = Shared::default();
    let mut random = fastrand::Rng::with_seed(options.seed);
    let plan = Plan {
        shape,
        nodes: options.nodes.unwrap_or(script.nodes),
        etcd: options.etcd.as_deref(),
        persisters: script.persisters,
        require: script.require(),
        timeout: script.timeout.0,
        writers: options.writers,
        keys: options.keys,
        liar: options.liar,
        keep: options.keep.as_deref(),
    };
    let machines = Machines::new(&plan, programs, &ledger, random.fork())?;
    let rounds = options.rounds.unwrap_or(script.rounds);
    let mut run = Run {
        report: Report::new(&drill.name, shape, rounds, options, &machines.world),
        machines,
        ledger,
        random,
        liar: options.liar,
        tell: options.tell,
        asleep: HashSet::new(),
        fresh: HashSet::new(),
        back: Duration::ZERO,
    };
    if let Err(error) = run.all(script, rounds).await {
        // Before anybody was told anything, nothing can have been broken.
        if run.acknowledged(Duration::ZERO) == 0 {
            return Err(error);
        }
        run.report.failed = Some(format!("{error:#}"));
    }
    let Run {
        machines,
        mut report,
        ledger,
        ..
    } = run;
    if report.failed.is_none() {
        machines.end().await?;
    }
    let ledger = ledger.lock();
    report.finish(&ledger, begun.elapsed());
    if let Some(file) = &options.report {
        let page = page(&report, &script.about, ledger.points());
        let written = std::fs::write(file, page);
        written.with_context(|| format!("cannot write the report to {}", file.display()))?;
    }
    Ok(report)
}

/// What it runs on.
fn shape(script: &Script, options: &Options) -> Result<Shape> {
    let asked = match (options.shape, options.liar) {
        // The honest persister and the liar are beside the same node.
        (None | Some(Shape::Embedded), true) if script.shapes.contains(&Shape::Lite) => {
            Some(Shape::Lite)
        }
        (asked, _) => asked,
    };
    let can = script.shapes.iter();
    let shape = can
        .clone()
        .find(|can| asked.is_none_or(|asked| asked == **can));
    let names = can.map(ToString::to_string).collect::<Vec<_>>().join(", ");
    shape.copied().with_context(|| {
        let asked = asked.map(|asked| asked.to_string()).unwrap_or_default();
        format!("this drill does not run on {asked}, but on: {names}")
    })
}

/// Whether anything of it is not down.
fn is_up(machine: &Arc<Machine>) -> bool {
    let about = machine.about();
    about.iter().any(|it| it.condition != Condition::Down)
}

/// A drill that is being run.
struct Run {
    machines: Machines,
    ledger: Shared,
    random: fastrand::Rng,
    report: Report,
    liar: bool,
    tell: bool,
    /// The machines that a step has ended or halted: nobody wonders that they do not run.
    asleep: HashSet<String>,
    /// The machines that were started while no client ran: no write is on its way in them.
    fresh: HashSet<String>,
    /// How long the servers last took to be back.
    back: Duration,
}

impl Run {
    async fn all(&mut self, script: &Script, rounds: u32) -> Result<()> {
        self.steps(&script.first).await?;
        for round in 1..=rounds {
            let done = self.steps(&script.round).await;
            done.with_context(|| format!("round {round}"))?;
            self.report.rounds = round;
            if !self.report.audit.passed() {
                return Ok(());
            }
        }
        self.steps(&script.last).await
    }

    async fn steps(&mut self, steps: &[Step]) -> Result<()> {
        for step in steps {
            self.step(step).await.with_context(|| step.to_string())?;
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Result<()> {
        if !matches!(step, Step::Do(..) | Step::Restore { .. }) {
            self.tell(step.to_string());
        }
        match step {
            Step::Do(command, which) => self.command(*command, which).await,
            Step::Write(count) => self.write(*count).await,
            Step::Unconfirmed(count) => self.unconfirmed(*count).await,
            Step::Wait(times) => {
                let (from, to) = (times.start().as_millis(), times.end().as_millis());
                let millis = |time: u128| u64::try_from(time).unwrap_or(u64::MAX);
                let time = self.random.u64(millis(from)..=millis(to));
                tokio::time::sleep(Duration::from_millis(time)).await;
                self.all_is_well()
            }
            Step::Left(which) => self.left(which),
            Step::Restore { seamless } => {
                let done = restore(&self.machines, *seamless).await?;
                self.tell(done);
                Ok(())
            }
            Step::Audit => self.audit().await,
        }
    }

    /// Those of `which` for which `command` makes sense; all, or as many as it says.
    fn choose(&mut self, command: Command, which: &Which) -> Result<Vec<Arc<Machine>>> {
        let makes_sense = |machine: &Arc<Machine>| {
            let about = machine.about();
            let is: Vec<Condition> = about.iter().map(|it| it.condition).collect();
            // Of what is down a restart would be a start.
            let is_start = command == Command::Restart && !is_up(machine);
            decide(command, &is).is_ok() && !is_start
        };
        let mut machines = self.machines.group(&which.group);
        machines.retain(makes_sense);
        let enough = which.some.unwrap_or(1);
        // A drill whose cluster is in the persister has no nodes, and says nothing about them.
        let none = which.group == Group::Nodes && machines.is_empty();
        ensure!(
            machines.len() >= enough || none,
            "there is nothing left to {command}"
        );
        if let Some(some) = which.some {
            // A liar is nobody's victim: it is there to be found out.
            machines.retain(|machine| !self.machines.is_liar(machine));
            self.random.shuffle(&mut machines);
            machines.truncate(some);
        }
        Ok(machines)
    }

    async fn command(&mut self, command: Command, which: &Which) -> Result<()> {
        let machines = self.choose(command, which)?;
        let names: Vec<&str> = machines.iter().map(|machine| machine.name()).collect();
        self.tell(match names.is_empty() {
            true => format!("{command} {which}: there are none"),
            false => format!("{command} {which}: {}", names.join(", ")),
        });
        match command {
            Command::Start => {
                let start = Instant::now();
                self.machines.start(&machines).await?;
                self.back = match which.group {
                    Group::Servers | Group::All => start.elapsed(),
                    _ => self.back,
                };
                self.come_back(&machines);
            }
            Command::Resume => {
                World::together(&machines, command).await?;
                self.come_back(&machines);
            }
            Command::Restart => {
                self.go_down(&machines);
                World::together(&machines, command).await?;
                self.come_back(&machines);
            }
            Command::Replace => {
                self.go_down(&machines);
                self.machines.replace(&machines).await?;
                self.come_back(&machines);
            }
            // Also of those that end by themselves in the same moment, since others are killed.
            Command::Kill => {
                self.go_down(&machines);
                World::cut_power(&machines).await?;
            }
            Command::Terminate | Command::Interrupt | Command::HangUp => {
                self.go_down(&machines);
                self.machines.end_in_order(&machines, command).await?;
            }
            Command::Halt | Command::Wipe => {
                self.go_down(&machines);
                World::together(&machines, command).await?;
            }
        }
        Ok(())
    }

    fn tell(&mut self, says: String) {
        tracing::info!("{says}");
        let now = self.ledger.lock().age();
        self.report.tell(now, says);
    }

    fn go_down(&mut self, machines: &[Arc<Machine>]) {
        let now = self.ledger.lock().age();
        for machine in machines {
            self.asleep.insert(machine.name().to_owned());
            if !self.machines.is_client(machine) {
                self.report.goes_down(machine.name(), now);
            }
        }
    }

    fn come_back(&mut self, machines: &[Arc<Machine>]) {
        let now = self.ledger.lock().age();
        if self.machines.group(&Group::Clients).iter().any(is_up) {
            self.fresh.clear();
        } else {
            let names = machines.iter().map(|machine| machine.name().to_owned());
            self.fresh.extend(names);
        }
        for machine in machines {
            self.asleep.remove(machine.name());
            self.report.comes_back(machine.name(), now);
        }
    }

    /// How many writes were acknowledged that ended after `since`, a time since the ledger's
    /// beginning.
    fn acknowledged(&self, since: Duration) -> usize {
        self.ends(|point| point.class == Class::Durable && point.at >= since)
    }

    /// How many writes have ended so.
    fn ends(&self, so: impl Fn(&Point) -> bool) -> usize {
        let ledger = self.ledger.lock();
        ledger.points().iter().filter(|point| so(point)).count()
    }

    async fn write(&self, count: usize) -> Result<()> {
        let since = self.ledger.lock().age();
        let done = || self.acknowledged(since);
        self.until("writes were acknowledged", count, done).await
    }

    async fn unconfirmed(&self, count: usize) -> Result<()> {
        let since = self.ledger.lock().age();
        let began_later = |point: &Point| point.at.saturating_sub(point.took) >= since;
        let ended = || self.ends(began_later);
        self.until("writes ended unconfirmed", count, ended).await?;
        match self.ends(|point| point.class == Class::Durable && began_later(point)) {
            0 => Ok(()),
            told => bail!("{told} writes were acknowledged that cannot be on enough disks"),
        }
    }

    async fn until(&self, what: &str, count: usize, done: impl Fn() -> usize) -> Result<()> {
        let start = Instant::now();
        loop {
            let so_far = done();
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

    /// Nothing has ended that no step has ended.
    fn all_is_well(&self) -> Result<()> {
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

    fn left(&self, which: &Which) -> Result<()> {
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

    async fn audit(&mut self) -> Result<()> {
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
        self.come_back(&servers);
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
