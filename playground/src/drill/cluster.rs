//! The machines of a drill: servers, clients, and the order in which servers are started.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::drill::options::Shape;
use crate::drill::step::Group;
use crate::engine::Engine;
use crate::ledger::audit::Revisions;
use crate::ledger::write::Found;
use crate::programs::Programs;
use crate::world::decide::Command;
use crate::world::directory::{RunDirectory, default_parent};
use crate::world::machine::Machine;
use crate::world::ports::Port;
use crate::world::process::Launch;
use crate::world::services::node::Lite;
use crate::world::services::persister::{Cluster, Persister};
use crate::world::services::program::Program;
use crate::world::services::service::{Place, Service};
use crate::world::{self, World};
use crate::writers::{Client, Keys, Shared, Writer};

/// How long an audit waits for a cluster that is just back.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A persister that restores an empty cluster waits so long for others that have more.
const RESTORE_WAIT: &str = "500ms";

/// The machines of a drill.
pub(super) struct Machines {
    pub(super) world: World,
    /// What must be up before a persister is started.
    nodes: Vec<Arc<Machine>>,
    persisters: Vec<Arc<Machine>>,
    clients: Vec<Arc<Machine>>,
    writers: Vec<Writer>,
    /// Where the cluster is.
    port: Port,
    /// For which persisters clients wait, as a URI says it.
    durability: String,
}

/// What a drill's machines are made of.
pub(super) struct Plan<'a> {
    pub(super) shape: Shape,
    pub(super) persisters: u32,
    pub(super) require: u32,
    pub(super) timeout: Duration,
    pub(super) writers: u32,
    pub(super) keys: usize,
    /// Whether clients wait for one more persister, and that lies.
    pub(super) liar: bool,
    pub(super) keep: Option<&'a Path>,
}

impl Machines {
    /// `random`: what clients write.
    pub(super) fn new(
        plan: &Plan<'_>,
        programs: &Programs,
        ledger: &Shared,
        mut random: fastrand::Rng,
    ) -> Result<Self> {
        let directory = match plan.keep {
            Some(path) => RunDirectory::keep(path)?,
            None => RunDirectory::create(&default_parent())?,
        };
        let world = World::new(programs.guard.clone(), directory);
        let port = world.port()?;
        let alone = plan.shape == Shape::Embedded;
        let last = if alone { 1 } else { plan.persisters };
        let (waits_for, require) = match plan.liar {
            true => ((last + 1).to_string(), 1),
            false => {
                let ids: Vec<String> = (1..=last).map(|id| id.to_string()).collect();
                (ids.join(","), plan.require.min(last))
            }
        };
        let mut this = Self {
            world,
            nodes: Vec::new(),
            persisters: Vec::new(),
            clients: Vec::new(),
            writers: Vec::new(),
            port: port.clone(),
            durability: format!("&persist={waits_for}&require={require}"),
        };
        if alone {
            this.persister(1, Cluster::Embedded(port), programs)?;
        } else {
            let lite = Lite {
                program: programs.node.clone(),
                port: port.clone(),
                args: Vec::new(),
            };
            this.nodes
                .push(this.world.machine("node-1", vec![Box::new(lite)]));
            for id in 1..=last {
                this.persister(id, Cluster::Nodes(vec![port.clone()]), programs)?;
            }
            if plan.liar {
                let (program, id) = (programs.liar.clone(), last + 1);
                let name = format!("persister-{id}");
                let liar = Liar { program, port, id };
                this.persisters
                    .push(this.world.machine(&name, vec![Box::new(liar)]));
            }
        }
        for writer in 1..=plan.writers {
            let keys = Keys::new(writer, plan.keys, random.fork());
            let client = this.writer(keys, plan.timeout, programs, ledger.clone());
            let name = format!("client-{writer}");
            this.clients
                .push(this.world.machine(&name, vec![Box::new(client)]));
        }
        Ok(this)
    }

    /// An honest one.
    fn persister(&mut self, id: u32, cluster: Cluster, programs: &Programs) -> Result<()> {
        let args = match &cluster {
            Cluster::Embedded(_) => &[][..],
            _ => &["-r", "--restore-wait", RESTORE_WAIT],
        };
        let persister = Persister {
            program: programs.persister.clone(),
            id,
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            cluster,
            observe: self.world.port()?,
        };
        let name = format!("persister-{id}");
        let machine = self.world.machine(&name, vec![Box::new(persister)]);
        self.persisters.push(machine);
        Ok(())
    }

    fn writer(
        &mut self,
        keys: Keys,
        timeout: Duration,
        programs: &Programs,
        ledger: Shared,
    ) -> Client {
        let uri = self.uri();
        let (client, writer) = Writer::new(programs.client.clone(), uri, keys, timeout, ledger);
        self.writers.push(writer);
        client
    }

    /// Where clients find the cluster, as it is when they ask: a replaced node is elsewhere.
    fn uri(&self) -> impl Fn() -> String + Send + Sync + 'static {
        let (cluster, durability) = (Cluster::Nodes(vec![self.port.clone()]), &self.durability);
        let durability = durability.clone();
        move || cluster.uri() + &durability
    }

    /// The machines of a group, in the order in which they are started.
    pub(super) fn group(&self, group: &Group) -> Vec<Arc<Machine>> {
        let parts: &[&Vec<Arc<Machine>>] = match group {
            Group::All | Group::Machine(_) => &[&self.nodes, &self.persisters, &self.clients],
            Group::Servers => &[&self.nodes, &self.persisters],
            Group::Nodes => &[&self.nodes],
            Group::Persisters => &[&self.persisters],
            Group::Clients => &[&self.clients],
        };
        let all = parts.iter().copied().flatten();
        all.filter(|machine| match group {
            Group::Machine(name) => machine.name() == name,
            _ => true,
        })
        .cloned()
        .collect()
    }

    /// What has to be up before these can be started is started before them: nodes, then
    /// persisters, then clients. Each kind is started side by side.
    pub(super) async fn start(&self, machines: &[Arc<Machine>]) -> Result<()> {
        for kind in [&self.nodes, &self.persisters, &self.clients] {
            let is_one = |machine: &&Arc<Machine>| kind.iter().any(|one| Arc::ptr_eq(one, machine));
            let those: Vec<_> = machines.iter().filter(is_one).cloned().collect();
            World::together(&those, Command::Start).await?;
        }
        Ok(())
    }

    /// Everything that the cluster holds now.
    pub(super) async fn everything(&self) -> Result<Found> {
        let uri = self.uri()();
        let read = async {
            Engine::connect(&uri, ANSWER_LIMIT)
                .await?
                .everything()
                .await
        };
        read.await.context("the cluster is back and cannot be read")
    }

    pub(super) fn is_client(&self, machine: &Arc<Machine>) -> bool {
        self.clients
            .iter()
            .any(|client| Arc::ptr_eq(client, machine))
    }

    /// Whether this is the persister that lies.
    pub(super) fn is_liar(&self, machine: &Machine) -> bool {
        machine.about().iter().any(|service| service.name == LIAR)
    }

    /// Restored in one process, every key keeps its revision; so it does where the restore says so,
    /// and that is not asked here.
    pub(super) fn revisions(&self) -> Revisions {
        if self.nodes.is_empty() {
            Revisions::Kept
        } else {
            Revisions::Any
        }
    }

    pub(super) fn nobody_gave_up(&self) -> Result<()> {
        ensure!(
            !self.writers.iter().any(Writer::gave_up),
            "a writer gave up"
        );
        Ok(())
    }

    /// Writers end, in good order.
    pub(super) async fn end(mut self) -> Result<()> {
        for writer in self.writers.drain(..) {
            writer.end(ANSWER_LIMIT).await?;
        }
        self.world.end().await;
        Ok(())
    }
}

/// What the persister that lies is called as a service.
const LIAR: &str = "liar";

/// The persister that lies, as a service.
#[derive(Debug)]
struct Liar {
    program: Program,
    port: Port,
    id: u32,
}

impl Service for Liar {
    fn name(&self) -> &'static str {
        LIAR
    }

    fn launch(&self, place: &Place) -> world::error::Result<Launch> {
        let uri = Cluster::Nodes(vec![self.port.clone()]).uri();
        let launch = Launch::new(self.name(), &self.program.path, &place.log);
        Ok(launch
            .args(self.program.args.iter().cloned())
            .args([uri, self.id.to_string()]))
    }

    fn is_ready(&self) -> world::services::service::Look<'_> {
        Box::pin(async { true })
    }

    fn ports(&self) -> Vec<&Port> {
        Vec::new()
    }
}
