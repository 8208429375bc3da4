//! What a drill does with its warden: it lets it watch, hears what it tells, and waits for it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::drill::guard::{Front, Guard, Member, Other};
use crate::drill::run::Run;
use crate::drill::step::Which;
use crate::warden::keep::{Server, Told, keep};
use crate::warden::state::{Effect, STRIKES};
use crate::world::machine::Machine;

/// How long the warden may take to replace what steps took from it.
const RECOVERY_LIMIT: Duration = Duration::from_secs(120);

/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How much the warden may have told before anybody listens.
const UNHEARD: usize = 256;

impl Run {
    /// The warden watches these from now on.
    pub(super) async fn guard(&mut self, which: &Which) -> Result<()> {
        let machines = self.machines.found(&which.group).await?;
        let etcd = self.machines.etcd.as_ref().context("not on etcd")?;
        let mut servers: Vec<Arc<dyn Server>> = Vec::new();
        for machine in &machines {
            let seats = etcd.seats(machine);
            if !seats.is_empty() {
                servers.push(Arc::new(Member {
                    machine: Arc::clone(machine),
                    seats,
                    proxies: self.machines.proxies.clone(),
                }));
            } else if let Some(front) = self.front(machine) {
                servers.push(Arc::new(front));
            } else if let Some(at) = self.machines.observed(machine) {
                let machine = Arc::clone(machine);
                servers.push(Arc::new(Other { machine, at }));
            }
        }
        ensure!(!servers.is_empty(), "there is nothing to watch");
        let members = etcd.members().list().await?.len();
        let (tells, told) = mpsc::channel(UNHEARD);
        let names = servers.iter().map(|server| server.name().to_owned());
        let names = names.collect();
        let mut task = JoinSet::new();
        task.spawn(keep(servers, self.every, tells));
        self.warden = Some(Guard {
            told,
            names,
            members,
            failed: HashSet::new(),
            _task: task,
        });
        Ok(())
    }

    fn front(&self, machine: &Arc<Machine>) -> Option<Front> {
        let proxies = self.machines.proxies.as_ref()?;
        Some(Front {
            proxy: proxies.on(machine)?.clone(),
            proxies: Arc::clone(proxies),
        })
    }

    /// Takes in what the warden has told.
    pub(super) fn hear(&mut self) {
        while let Some(told) = self.warden.as_mut().and_then(|it| it.told.try_recv().ok()) {
            self.heard_of(told);
        }
    }

    fn heard_of(&mut self, told: Told) {
        let is_member = |name: &str| name.starts_with("node-");
        let Some(warden) = &mut self.warden else {
            return;
        };
        let before = warden.members;
        let says = match &told {
            Told::Begins(name, Effect::TakeOut) if warden.failed.insert(name.clone()) => {
                format!("{name} has failed {STRIKES} checks")
            }
            Told::Done(name, Effect::Remove) => {
                warden.members = before.saturating_sub(1);
                let members = warden.members;
                format!("{name} is removed; the cluster has {members} members")
            }
            Told::Done(name, Effect::Start) if is_member(name) => {
                warden.members = before + 1;
                let members = warden.members;
                format!("another {name} has joined; the cluster has {members} members")
            }
            Told::Done(name, Effect::Register) => {
                warden.failed.remove(name);
                format!("{name} is in use again")
            }
            Told::Failed(name, effect, why) => format!("{name}: cannot {effect} yet: {why}"),
            _ => return,
        };
        let now = self.ledger.lock().age();
        if warden.members != before {
            self.report.has_members(warden.members, now);
        }
        self.tell(format!("warden: {says}"));
        let (Told::Begins(name, _) | Told::Done(name, _) | Told::Failed(name, ..)) = told.clone();
        let machines = self.machines.named(&name);
        match told {
            Told::Begins(..) => self.go_down(&machines),
            Told::Done(_, Effect::Register) => self.started(&machines),
            _ => {}
        }
    }

    /// Waits until everything that steps took from the warden has been replaced.
    pub(super) async fn recovered(&mut self) -> Result<()> {
        ensure!(self.warden.is_some(), "nobody guards anything");
        let lost = |run: &Self, guard: &Guard| {
            let mut names = guard.names.iter();
            names.find(|name| run.asleep.contains(*name)).cloned()
        };
        self.until_replaced(lost).await
    }

    /// Waits until the warden has replaced what it took for failed of these: two at once cannot do
    /// anything to one machine.
    pub(super) async fn left_alone(&mut self, machines: &[Arc<Machine>]) -> Result<()> {
        let busy = |_: &Self, guard: &Guard| {
            let names = machines.iter().map(|machine| machine.name());
            let mut failed = names.filter(|name| guard.failed.contains(*name));
            failed.next().map(str::to_owned)
        };
        self.until_replaced(busy).await
    }

    async fn until_replaced(
        &mut self,
        which: impl Fn(&Self, &Guard) -> Option<String>,
    ) -> Result<()> {
        let start = Instant::now();
        loop {
            self.hear();
            let guard = self.warden.as_ref();
            let Some(lost) = guard.and_then(|guard| which(self, guard)) else {
                return Ok(());
            };
            ensure!(
                start.elapsed() < RECOVERY_LIMIT,
                "{lost} was not replaced within {RECOVERY_LIMIT:?}"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
