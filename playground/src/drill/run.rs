//! Does what the steps of a drill say, and judges.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::drill::cluster::Machines;
use crate::drill::deal::Deal;
use crate::drill::guard::Guard;
use crate::drill::listener::Listener;
use crate::drill::options::{Options, Shape};
use crate::drill::page::page;
use crate::drill::plan::Plan;
use crate::drill::report::Report;
use crate::drill::restore::restore;
use crate::drill::script::{Named, Script};
use crate::drill::step::{Group, Step};
use crate::drill::watcher::Watcher;
use crate::output;
use crate::programs::Programs;
use crate::world::machine::Machine;
use crate::writers::Shared;

/// The steps of so many rounds are told while they are taken; of more rounds one line each.
const FEW_ROUNDS: u32 = 3;

/// Runs a drill.
///
/// # Errors
/// What keeps it from being run. A drill that was run and failed is a [`Report`].
pub async fn run(drill: &Named, options: &Options, programs: &Programs) -> Result<Report> {
    let begun = Instant::now();
    let script = &drill.script;
    let shape = shape(script, options)?;
    if shape != Shape::Etcd && (options.nodes.is_some() || options.etcd.is_some()) {
        bail!("--nodes and --etcd are for members of etcd, and this runs on {shape}");
    }
    let ledger = Shared::default();
    let mut random = fastrand::Rng::with_seed(options.seed);
    let plan = Plan {
        shape,
        nodes: options.nodes.unwrap_or(script.nodes),
        deal: Deal {
            clusters: script.clusters,
            policies: script.policies(),
        },
        proxies: script.proxies,
        every: script.warden.0,
        cuts: script.cuts(),
        etcd: options.etcd.as_deref(),
        persisters: script.persisters,
        timeout: script.timeout.0,
        writers: options.writers,
        keys: options.keys,
        liar: options.liar,
        keep: options.keep.as_deref(),
    };
    let machines = Machines::new(&plan, programs, &ledger, random.fork())?;
    if let Some(file) = &options.report {
        // A drill may take an hour: that its report cannot be written is found before.
        write_report(file, "")?;
    }
    if let Some(watcher) = &options.watcher {
        let world = &machines.world;
        watcher.begins(&shape.to_string(), world.machines(), world.feed(), &ledger);
    }
    let rounds = options.rounds.unwrap_or(script.rounds);
    let mut run = Run {
        report: Report::new(&drill.name, shape, rounds, options, &machines.world),
        machines,
        ledger,
        random,
        liar: options.liar,
        tell: options.tell,
        watcher: options.watcher.clone(),
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
        write_report(file, &page(&report, &script.about, ledger.points()))?;
    }
    Ok(report)
}

fn write_report(file: &Path, page: &str) -> Result<()> {
    std::fs::write(file, page)
        .with_context(|| format!("cannot write the report to {}", file.display()))
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
    !machine.is_down()
}

/// A drill that is being run.
pub(super) struct Run {
    pub(super) machines: Machines,
    pub(super) ledger: Shared,
    pub(super) random: fastrand::Rng,
    pub(super) report: Report,
    pub(super) liar: bool,
    pub(super) tell: bool,
    pub(super) watcher: Option<Arc<dyn Watcher>>,
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
                | Step::Read
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
            Step::Read => self.read().await,
            Step::Restore { seamless } => {
                let done = restore(&self.machines, *seamless).await?;
                // What was in effect and on no disk is gone.
                self.agreed = None;
                self.tell(done);
                self.excuse();
                Ok(())
            }
            Step::Audit => self.audit().await,
        }
    }

    pub(super) fn tell(&mut self, says: String) {
        if let Some(watcher) = &self.watcher {
            watcher.step(&says);
        }
        tracing::info!("{says}");
        let now = self.ledger.lock().age();
        if self.tell && self.report.rounds_asked <= FEW_ROUNDS {
            output::note(format_args!("{:>9.3} s  {says}", now.as_secs_f64()));
        }
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

    pub(super) fn come_back(&mut self, machines: &[Arc<Machine>]) {
        let now = self.ledger.lock().age();
        for machine in machines {
            self.asleep.remove(machine.name());
            self.report.comes_back(machine.name(), now);
        }
    }
}
