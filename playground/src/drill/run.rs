//! Does what the steps of a drill say, and judges.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cairn_persister::restore::digest::Digest;

use crate::drill::cluster::Machines;
use crate::drill::guard::Guard;
use crate::drill::listener::Listener;
use crate::drill::options::{Options, Shape};
use crate::drill::page::page;
use crate::drill::plan::Plan;
use crate::drill::report::Report;
use crate::drill::restore::restore;
use crate::drill::script::{Named, Script};
use crate::drill::step::{Group, Step, Which};
use crate::network::Network;
use crate::programs::Programs;
use crate::world::World;
use crate::world::decide::{Command, Condition, decide};
use crate::world::machine::Machine;
use crate::writers::Shared;

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
        proxies: script.proxies,
        every: script.warden.0,
        cuts: script.cuts(),
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
        agreed: None,
        every: script.warden.0,
        warden: None,
        listener: None,
        steady_since: Duration::ZERO,
        lost: HashSet::new(),
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
pub(super) fn is_up(machine: &Arc<Machine>) -> bool {
    let about = machine.about();
    about.iter().any(|it| it.condition != Condition::Down)
}

/// A drill that is being run.
pub(super) struct Run {
    pub(super) machines: Machines,
    pub(super) ledger: Shared,
    pub(super) random: fastrand::Rng,
    pub(super) report: Report,
    pub(super) liar: bool,
    pub(super) tell: bool,
    /// The machines that a step has ended or halted: nobody wonders that they do not run.
    pub(super) asleep: HashSet<String>,
    /// The machines that were started while no client ran: no write is on its way in them.
    pub(super) fresh: HashSet<String>,
    /// Keys and hash of the last time that members agreed, if no client has run since, and
    /// nothing was restored.
    pub(super) agreed: Option<String>,
    /// How often the warden checks.
    pub(super) every: Duration,
    pub(super) warden: Option<Guard>,
    pub(super) listener: Option<Listener>,
    /// The last step that asked whether clients are served steadily.
    pub(super) steady_since: Duration,
    /// The machines that were down, or halted, since then.
    pub(super) lost: HashSet<String>,
    /// How long the servers last took to be back.
    pub(super) back: Duration,
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
        let tells_itself = matches!(
            step,
            Step::Do(..)
                | Step::Fail(_)
                | Step::Restore { .. }
                | Step::Cut(_)
                | Step::Heal(_)
                | Step::Agree
        );
        if !tells_itself {
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
            Step::Fail(which) => self.fail(which).await,
            Step::Left(which) => self.left(which),
            Step::Cut(which) => self.cut(which).await,
            Step::Heal(which) => self.heal(which).await,
            Step::Guard(which) => self.guard(which).await,
            Step::Unguard => {
                self.warden = None;
                Ok(())
            }
            Step::Recovered => self.recovered().await,
            Step::Listen => self.listen().await,
            Step::Heard => self.heard().await,
            Step::Steady => self.steady(),
            Step::Agree => self.agree().await,
            Step::Restore { seamless } => {
                let done = restore(&self.machines, *seamless).await?;
                // What was in effect and on no disk is gone.
                self.agreed = None;
                self.tell(done);
                Ok(())
            }
            Step::Audit => self.audit().await,
        }
    }

    /// Those of `which` for which `command` makes sense; all, or as many as it says.
    async fn choose(&mut self, command: Command, which: &Which) -> Result<Vec<Arc<Machine>>> {
        let makes_sense = |machine: &Arc<Machine>| {
            let about = machine.about();
            let is: Vec<Condition> = about.iter().map(|it| it.condition).collect();
            // Of what is down a restart would be a start.
            let is_start = command == Command::Restart && !is_up(machine);
            decide(command, &is).is_ok() && !is_start
        };
        let machines = self.machines.found(&which.group).await?;
        self.some_of(machines, makes_sense, which, &command.to_string())
    }

    /// Those for which it makes sense; all, or as many as a step says.
    fn some_of(
        &mut self,
        mut machines: Vec<Arc<Machine>>,
        makes_sense: impl FnMut(&Arc<Machine>) -> bool,
        which: &Which,
        verb: &str,
    ) -> Result<Vec<Arc<Machine>>> {
        machines.retain(makes_sense);
        let enough = which.some.unwrap_or(1);
        // A drill whose cluster is in the persister has no nodes, and says nothing about them.
        let none = which.group == Group::Nodes && self.machines.group(&Group::Nodes).is_empty();
        ensure!(
            machines.len() >= enough || none,
            "there is nothing left to {verb}"
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
        let machines = self.choose(command, which).await?;
        self.tell_of(&command.to_string(), which, &machines);
        match command {
            Command::Start => {
                let start = Instant::now();
                self.machines.start(&machines).await?;
                self.back = match which.group {
                    Group::Servers | Group::All => start.elapsed(),
                    _ => self.back,
                };
                self.started(&machines);
            }
            Command::Resume => {
                World::together(&machines, command).await?;
                self.come_back(&machines);
            }
            Command::Restart => {
                self.go_down(&machines);
                World::together(&machines, command).await?;
                self.started(&machines);
            }
            Command::Replace => {
                self.go_down(&machines);
                self.machines.replace(&machines).await?;
                self.started(&machines);
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
            Command::Halt | Command::Wipe | Command::Discard => {
                self.go_down(&machines);
                World::together(&machines, command).await?;
            }
        }
        Ok(())
    }

    /// Kills or halts each of these.
    async fn fail(&mut self, which: &Which) -> Result<()> {
        let machines = self.machines.found(&which.group).await?;
        for machine in self.some_of(machines, |machine| machine.is_up(), which, "fail")? {
            let command = match self.random.bool() {
                true => Command::Kill,
                false => Command::Halt,
            };
            let group = Group::Machine(machine.name().to_owned());
            self.command(command, &Which { some: None, group }).await?;
        }
        Ok(())
    }

    async fn cut(&mut self, which: &Which) -> Result<()> {
        let machines = self.machines.found(&which.group).await?;
        let runs = |machine: &Arc<Machine>| machine.is_up();
        let machines = self.some_of(machines, runs, which, "cut off")?;
        self.tell_of("cut", which, &machines);
        self.go_down(&machines);
        for machine in &machines {
            self.network()?.cut(machine.name());
        }
        Ok(())
    }

    async fn heal(&mut self, which: &Which) -> Result<()> {
        let mut machines = self.machines.found(&which.group).await?;
        let network = self.network()?;
        machines.retain(|machine| network.is_cut(machine.name()));
        let machines = self.some_of(machines, |_| true, which, "heal")?;
        self.tell_of("heal", which, &machines);
        for machine in &machines {
            self.network()?.heal(machine.name());
        }
        self.come_back(&machines);
        Ok(())
    }

    fn network(&self) -> Result<&Network> {
        self.machines.network.as_ref().context("nothing can be cut")
    }

    /// All members that run have the same keys and hash.
    async fn agree(&mut self) -> Result<()> {
        let etcd = self.machines.etcd.as_ref().context("not on etcd")?;
        let (revision, hash, names) = etcd.members.agree().await?;
        let keys = self.machines.everything().await?;
        let digest = Digest::of(
            keys.iter()
                .map(|(key, (_, value))| (key.as_bytes(), &value[..])),
        );
        let digest = digest.describe();
        self.tell(format!(
            "agree: {digest} (HashKV {hash} at revision {revision}) on {}",
            names.join(", ")
        ));
        let before = self.agreed.replace(digest.clone());
        ensure!(
            before.as_ref().is_none_or(|before| *before == digest),
            "keys and hash are {digest}; they were {}, and nobody has written since",
            before.unwrap_or_default()
        );
        Ok(())
    }

    fn tell_of(&mut self, verb: &str, which: &Which, machines: &[Arc<Machine>]) {
        let names: Vec<&str> = machines.iter().map(|machine| machine.name()).collect();
        self.tell(match names.is_empty() {
            true => format!("{verb} {which}: there are none"),
            false => format!("{verb} {which}: {}", names.join(", ")),
        });
    }

    pub(super) fn tell(&mut self, says: String) {
        tracing::info!("{says}");
        let now = self.ledger.lock().age();
        self.report.tell(now, says);
    }

    pub(super) fn go_down(&mut self, machines: &[Arc<Machine>]) {
        let now = self.ledger.lock().age();
        for machine in machines {
            self.asleep.insert(machine.name().to_owned());
            self.lost.insert(machine.name().to_owned());
            if !self.machines.is_client(machine) {
                self.report.goes_down(machine.name(), now);
            }
        }
    }

    /// They have been started, and did not only go on.
    pub(super) fn started(&mut self, machines: &[Arc<Machine>]) {
        if self.machines.group(&Group::Clients).iter().any(is_up) {
            self.fresh.clear();
            self.agreed = None;
        } else {
            let names = machines.iter().map(|machine| machine.name().to_owned());
            self.fresh.extend(names);
        }
        self.come_back(machines);
    }

    fn come_back(&mut self, machines: &[Arc<Machine>]) {
        let now = self.ledger.lock().age();
        for machine in machines {
            self.asleep.remove(machine.name());
            self.report.comes_back(machine.name(), now);
        }
    }
}
