//! The machines of a drill: servers, clients, and the order in which servers are started.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::drill::options::{Options, Shape};
use crate::engine::Engine;
use crate::ledger::audit::Revisions;
use crate::ledger::write::Found;
use crate::programs::Programs;
use crate::world::decide::Command;
use crate::world::directory::{RunDirectory, default_parent};
use crate::world::machine::Machine;
use crate::world::ports::Port;
use crate::world::process::{Launch, log_tail};
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
    pub(super) clients: Vec<Arc<Machine>>,
    writers: Vec<Writer>,
    uri: String,
}

impl Machines {
    pub(super) fn new(options: &Options, programs: &Programs, ledger: &Shared) -> Result<Self> {
        let directory = match &options.keep {
            Some(path) => RunDirectory::keep(path)?,
            None => RunDirectory::create(&default_parent())?,
        };
        let world = World::new(programs.guard.clone(), directory);
        let port = world.port()?;
        let alone = options.shape == Shape::Embedded && !options.liar;
        let waits_for = match (alone, options.liar) {
            (true, _) => "1",
            (_, true) => "2",
            _ => "1,2",
        };
        let mut this = Self {
            world,
            nodes: Vec::new(),
            persisters: Vec::new(),
            clients: Vec::new(),
            writers: Vec::new(),
            uri: format!("doozer:?ca={}&persist={waits_for}", port.address()),
        };
        if alone {
            this.persister(1, Cluster::Embedded(port), programs)?;
        } else {
            let program = programs.node.clone();
            let lite = Lite {
                program,
                port: port.clone(),
                args: Vec::new(),
            };
            this.nodes
                .push(this.world.machine("node-1", vec![Box::new(lite)]));
            this.persister(1, Cluster::Nodes(vec![port.clone()]), programs)?;
            if options.liar {
                let program = programs.liar.clone();
                let liar = Liar {
                    program,
                    port,
                    id: 2,
                };
                this.persisters
                    .push(this.world.machine("persister-2", vec![Box::new(liar)]));
            } else {
                this.persister(2, Cluster::Nodes(vec![port]), programs)?;
            }
        }
        let mut random = fastrand::Rng::with_seed(options.seed);
        for writer in 1..=options.writers {
            let keys = Keys::new(writer, options.keys, random.fork());
            let client = this.writer(keys, programs, ledger.clone());
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

    fn writer(&mut self, keys: Keys, programs: &Programs, ledger: Shared) -> Client {
        let uri = self.uri.clone();
        let (client, writer) =
            Writer::new(programs.client.clone(), move || uri.clone(), keys, ledger);
        self.writers.push(writer);
        client
    }

    fn servers(&self) -> impl Iterator<Item = &Arc<Machine>> {
        self.nodes.iter().chain(&self.persisters)
    }

    /// Starts nodes, then persisters, each kind side by side.
    pub(super) async fn start_servers(&self) -> Result<()> {
        World::together(&self.nodes, Command::Start).await?;
        World::together(&self.persisters, Command::Start).await?;
        Ok(())
    }

    pub(super) async fn start_clients(&self) -> Result<()> {
        World::together(&self.clients, Command::Start).await?;
        Ok(())
    }

    /// The power goes: every process dies at the same moment. With a liar, so does every honest
    /// disk.
    pub(super) async fn cut_power(&self, liar: bool) -> Result<()> {
        let all: Vec<_> = self.servers().chain(&self.clients).cloned().collect();
        World::cut_power(&all).await?;
        if liar {
            World::together(&self.persisters, Command::Wipe).await?;
        }
        Ok(())
    }

    /// Everything that the cluster holds now.
    pub(super) async fn everything(&self) -> Result<Found> {
        let read = async {
            Engine::connect(&self.uri, ANSWER_LIMIT)
                .await?
                .everything()
                .await
        };
        read.await.context("the cluster is back and cannot be read")
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
        let mut all = self.servers().chain(&self.clients);
        if let Some(down) = all.find(|machine| !machine.is_up()) {
            let log = down.about().first().map(|about| log_tail(&about.log));
            let log = log.unwrap_or_default();
            anyhow::bail!(
                "{} ended by itself; the end of its log:\n{log}",
                down.name()
            );
        }
        Ok(())
    }

    /// Clients end, then persisters, then nodes, all in good order.
    pub(super) async fn end(mut self) -> Result<()> {
        for writer in self.writers.drain(..) {
            writer.end(ANSWER_LIMIT).await?;
        }
        let up = |machines: &[Arc<Machine>]| -> Vec<_> {
            machines
                .iter()
                .filter(|machine| machine.is_up())
                .cloned()
                .collect()
        };
        for machines in [&self.clients, &self.persisters, &self.nodes] {
            World::together(&up(machines), Command::Terminate).await?;
        }
        Ok(())
    }
}

/// The persister that lies, as a service.
#[derive(Debug)]
struct Liar {
    program: Program,
    port: Port,
    id: u32,
}

impl Service for Liar {
    fn name(&self) -> &'static str {
        "liar"
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
