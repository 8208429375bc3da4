//! A drill in the page: its steps, its machines, how long writes took, and the verdict. It can be
//! watched; nothing can be done to it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::MissedTickBehavior;

use crate::drill::report::Report;
use crate::drill::watcher::Watcher;
use crate::play::latency::Latency;
use crate::play::narrate::words;
use crate::play::target::Verb;
use crate::told::feed::{Kind, Tone};
use crate::told::shown::Shown;
use crate::told::state::{
    About, Can, Cluster, Commands, Doing, History, Load, Node, Persister, Proof, Row, State, Story,
};
use crate::told::time::now;
use crate::world::decide::Condition;
use crate::world::feed::Feed;
use crate::world::machine::Machine;
use crate::writers::Shared;

/// How often it is looked, and how often a page is told at most.
const EVERY: Duration = Duration::from_millis(250);

/// Why nothing can be done.
const WATCHED: &str = "a drill does it by itself: it can be watched";

/// A drill that is watched. Clones are the same.
#[derive(Clone)]
pub struct Watched(Arc<Inner>);

struct Inner {
    drill: String,
    shown: Shown,
    latency: Latency,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    shape: String,
    step: String,
    machines: Vec<Arc<Machine>>,
    ledger: Option<Shared>,
    /// How many of the ledger's points the plot has.
    taken: usize,
    verdict: Option<(Story, Proof)>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.0.drill).finish()
    }
}

impl Watcher for Watched {
    fn begins(&self, shape: &str, machines: &[Arc<Machine>], feed: &Feed, ledger: &Shared) {
        let mut now = self.now();
        shape.clone_into(&mut now.shape);
        now.machines = machines.to_vec();
        now.ledger = Some(ledger.clone());
        tokio::spawn(narrate(self.clone(), feed.clone()));
    }

    fn step(&self, says: &str) {
        says.clone_into(&mut self.now().step);
        let says = says.to_owned();
        self.0.shown.feed.tell(Kind::Drill, Tone::Past, says, None);
    }
}

impl Watched {
    /// A drill that has not begun.
    #[must_use]
    pub fn new(drill: &str) -> Self {
        Self(Arc::new(Inner {
            drill: drill.to_owned(),
            shown: Shown::default(),
            latency: Latency::default(),
            now: Mutex::default(),
        }))
    }

    /// What a page is told.
    #[must_use]
    pub fn shown(&self) -> &Shown {
        &self.0.shown
    }

    /// The drill is over: `None`, it could not be run.
    pub fn ends(&self, report: Option<&Report>, why: &str) {
        let verdict = match report {
            Some(report) => verdict(report),
            None => (
                Story {
                    tone: Tone::Bad,
                    says: format!("The drill could not be run: {why}"),
                },
                Proof::default(),
            ),
        };
        let (tone, says) = (verdict.0.tone, verdict.0.says.clone());
        self.now().verdict = Some(verdict);
        self.0.shown.feed.tell(Kind::Drill, tone, says, None);
    }

    /// Looks at the drill for ever, and tells what it sees.
    pub async fn watch(self) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.measure();
            if self.0.shown.states.receiver_count() > 0
                && let Ok(state) = serde_json::to_string(&self.state())
            {
                self.0.shown.states.send_replace(state.into());
            }
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        // Every value behind it is whole between any two statements.
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what writers were told since into the plot.
    fn measure(&self) {
        let mut seen = self.now();
        if seen.verdict.is_some() {
            return;
        }
        if let Some(ledger) = seen.ledger.clone() {
            let ledger = ledger.lock();
            let points = ledger.points();
            for point in &points[seen.taken.min(points.len())..] {
                self.0.latency.end(point.class, point.took);
            }
            seen.taken = points.len();
        }
        let is_down = |machine: &&Arc<Machine>| !is_client(machine) && !machine.is_up();
        let down = seen.machines.iter().find(is_down).is_some();
        self.0.latency.roll(now(), down);
    }

    fn state(&self) -> State {
        let now = self.now();
        let (mut nodes, mut persisters) = (Vec::new(), Vec::new());
        for machine in now.machines.iter().filter(|it| !is_client(it)) {
            match machine.name().starts_with("persister") {
                true => persisters.push(persister(machine)),
                false => nodes.push(node(machine)),
            }
        }
        let running = || Story {
            tone: Tone::Plain,
            says: match now.step.is_empty() {
                true => "The drill begins.".to_owned(),
                false => format!("Now: {}", now.step),
            },
        };
        let verdict = now.verdict.clone();
        let (story, proof) = verdict.map_or_else(
            || (running(), None),
            |(it, proof)| (it, Some(proof).filter(|proof| !proof.rows.is_empty())),
        );
        State {
            run: About {
                version: env!("CARGO_PKG_VERSION"),
                engine: match now.shape.as_str() {
                    "etcd" => "etcd",
                    _ => "doozer-lite",
                },
                drill: Some(self.0.drill.clone()),
                ..About::default()
            },
            story,
            nodes,
            persisters,
            cluster: Cluster::default(),
            can: ["power-cut", "lose", "restore"]
                .map(|it| (it, Some(WATCHED.to_owned())))
                .into(),
            busy: None,
            commands: Commands::new(),
            load: Load {
                rate: 0,
                until: None,
            },
            writes: self.0.latency.sums(),
            latency: self.0.latency.seconds(),
            proof,
            history: History::default(),
        }
    }
}

async fn narrate(watched: Watched, world: Feed) {
    let mut events = world.listen();
    loop {
        match events.recv().await {
            Ok(event) => {
                let kind = match event.machine.starts_with("persister") {
                    true => Kind::Persister,
                    false if event.machine.starts_with("client") => Kind::Client,
                    false => Kind::Node,
                };
                if let Some((tone, says, command)) = words(&event.machine, event.what) {
                    watched.0.shown.feed.tell(kind, tone, says, command);
                }
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn is_client(machine: &Machine) -> bool {
    machine.name().starts_with("client")
}

/// What the kernel says of a machine, and the process of its first service.
fn seen(machine: &Machine, up: Doing) -> (Doing, Option<u32>) {
    let about = machine.about();
    let all = |is: Condition| about.iter().all(|it| it.condition == is);
    let doing = match (all(Condition::Up), all(Condition::Halted)) {
        (true, _) => up,
        (_, true) => Doing::Paused,
        _ => Doing::Down,
    };
    (doing, about.first().and_then(|about| about.pid))
}

fn can() -> Can {
    Verb::ALL
        .map(|verb| (verb.name(), Some(WATCHED.to_owned())))
        .into()
}

fn node(machine: &Machine) -> Node {
    let (state, pid) = seen(machine, Doing::Serving);
    Node {
        id: machine.name().to_owned(),
        state,
        says: None,
        revision: None,
        keys: None,
        hash: None,
        address: String::new(),
        pid,
        busy: None,
        can: can(),
        commands: Commands::new(),
    }
}

fn persister(machine: &Machine) -> Persister {
    let (state, pid) = seen(machine, Doing::Following);
    Persister {
        id: machine.name().to_owned(),
        state,
        says: None,
        on_disk_up_to: None,
        lag_revisions: None,
        lag_seconds: None,
        journal_bytes: None,
        fsync_ms: None,
        address: String::new(),
        pid,
        busy: None,
        can: can(),
        commands: Commands::new(),
    }
}

/// The verdict, as a story and as a table.
fn verdict(report: &Report) -> (Story, Proof) {
    let rounds = format!("{} of {} rounds", report.rounds, report.rounds_asked);
    let says = match (report.passed, &report.failed, report.audit.told.first()) {
        (true, ..) => format!("Passed, {rounds}: every acknowledged write is there."),
        (false, Some(failed), _) => format!("Failed, {rounds}: {failed}"),
        (false, None, Some(fault)) => format!("Failed, {rounds}: {}: {}", fault.key, fault.says),
        (false, None, None) => format!("Failed, {rounds}."),
    };
    let rows = report.audit.rows().map(|(told, tally, must)| Row {
        what: told.to_owned(),
        before: tally.writes.to_string(),
        after: tally.there.to_string(),
        verdict: must.to_owned(),
        ok: (told == "acknowledged").then_some(tally.gone() == 0),
    });
    let waits = Row {
        what: "acknowledged after".to_owned(),
        before: format!("p50 {:.1} ms", report.durable.p50_ms),
        after: format!("p99 {:.1} ms", report.durable.p99_ms),
        verdict: format!(
            "servers were back after at most {:.1} s",
            report.longest_back_s
        ),
        ok: None,
    };
    let tone = if report.passed { Tone::Ok } else { Tone::Bad };
    let proof = Proof {
        heads: ["Writes", "There"].map(str::to_owned),
        rows: rows.into_iter().chain([waits]).collect(),
        equal: report.passed,
        says: says.clone(),
    };
    (Story { tone, says }, proof)
}
