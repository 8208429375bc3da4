//! What steps do to machines.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::drill::run::{Run, is_up};
use crate::drill::step::{Group, Which};
use crate::network::Network;
use crate::world::World;
use crate::world::decide::{Command, Condition, decide};
use crate::world::machine::Machine;

impl Run {
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

    pub(super) async fn command(&mut self, command: Command, which: &Which) -> Result<()> {
        let named = self.machines.found(&which.group).await?;
        self.left_alone(&named).await?;
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

    /// Kills each of these; in every second round halts it, so that it is not seen to be gone.
    pub(super) async fn fail(&mut self, which: &Which) -> Result<()> {
        let command = match self.report.rounds % 2 {
            0 => Command::Kill,
            _ => Command::Halt,
        };
        self.command(command, which).await
    }

    pub(super) async fn cut(&mut self, which: &Which) -> Result<()> {
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

    pub(super) async fn heal(&mut self, which: &Which) -> Result<()> {
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

    fn tell_of(&mut self, verb: &str, which: &Which, machines: &[Arc<Machine>]) {
        let names: Vec<&str> = machines.iter().map(|machine| machine.name()).collect();
        self.tell(match names.is_empty() {
            true => format!("{verb} {which}: there are none"),
            false => format!("{verb} {which}: {}", names.join(", ")),
        });
    }
}
