//! The machines of a drill: servers, clients, and the order in which servers are started.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use cairn_etcd::{Environment, Target};

use crate::drill::options::Shape;
use crate::drill::plan::{Plan, etcd_programs};
use crate::drill::proxies::Proxies;
use crate::drill::step::Group;
use crate::engine::Engine;
use crate::ledger::audit::Revisions;
use crate::ledger::write::Found;
use crate::members::{Members, Seat};
use crate::network::Network;
use crate::programs::Programs;
use crate::world::decide::Command;
use crate::world::directory::{RunDirectory, default_parent};
use crate::world::machine::Machine;
use crate::world::ports::Port;
use crate::world::process::Launch;
use crate::world::services::etcd::{EtcdCluster, EtcdMember};
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

/// Members write without fsync: what is acknowledged rests on the disks of persisters alone.
const MEMBER_ARGS: [&str; 1] = ["--unsafe-no-fsync"];

/// The machines of a drill.
pub(super) struct Machines {
    pub(super) world: World,
    pub(super) programs: Programs,
    /// What must be up before a persister is started.
    nodes: Vec<Arc<Machine>>,
    persisters: Vec<Arc<Machine>>,
    clients: Vec<Arc<Machine>>,
    writers: Vec<Writer>,
    /// Where the nodes are, or the persister that has the cluster inside.
    ports: Vec<Port>,
    /// Of etcd.
    pub(super) etcd: Option<Etcd>,
    /// What stands before the members of etcd, if anything does.
    pub(super) proxies: Option<Arc<Proxies>>,
    /// The ways between machines, if any is to be cut.
    pub(super) network: Option<Network>,
    /// Where persisters say how they are.
    observed: HashMap<String, Port>,
    /// For which persisters clients wait, as a URI says it.
    durability: String,
}

/// A cluster of etcd, and the tool that makes members from snapshots.
pub(super) struct Etcd {
    pub(super) members: Arc<Members>,
    pub(super) tool: Program,
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
        let mut this = Self {
            world: World::new(programs.guard.clone(), directory),
            programs: programs.clone(),
            nodes: Vec::new(),
            persisters: Vec::new(),
            clients: Vec::new(),
            writers: Vec::new(),
            ports: Vec::new(),
            etcd: None,
            proxies: None,
            network: plan.cuts.then(Network::default),
            observed: HashMap::new(),
            durability: plan.durability(),
        };
        this.cluster(plan)?;
        let persisters = plan.persisters();
        for id in 1..=persisters {
            this.persister(id, plan.shape)?;
        }
        if plan.liar {
            this.liar(persisters + 1);
        }
        for writer in 1..=plan.writers {
            let keys = Keys::new(writer, plan.keys, random.fork());
            let client = this.writer(writer, keys, plan.timeout, ledger.clone());
            let name = format!("client-{writer}");
            this.clients
                .push(this.world.machine(&name, vec![Box::new(client)]));
        }
        if let Some(network) = &this.network {
            network.know(this.world.machines().to_vec());
        }
        Ok(this)
    }

    /// What holds the cluster.
    fn cluster(&mut self, plan: &Plan<'_>) -> Result<()> {
        match plan.shape {
            Shape::Embedded => self.ports.push(self.world.port()?),
            Shape::Lite => {
                let port = self.world.port()?;
                self.ports.push(port.clone());
                let lite = Lite {
                    program: self.programs.node.clone(),
                    port,
                    args: Vec::new(),
                };
                let machine = self.world.machine("node-1", vec![Box::new(lite)]);
                self.nodes.push(machine);
            }
            Shape::Etcd => self.members(plan)?,
        }
        Ok(())
    }

    fn members(&mut self, plan: &Plan<'_>) -> Result<()> {
        let (program, tool) = etcd_programs(plan.etcd)?;
        let cluster = EtcdCluster::new("cairn", Vec::new());
        let mut seats = Vec::new();
        let app = (plan.proxies > 0).then(|| self.world.port());
        let app = app.transpose()?;
        for n in 1..=plan.nodes {
            let name = format!("node-{n}");
            let (client, peer) = (self.world.port()?, self.world.port()?);
            let mut member = EtcdMember {
                program: program.clone(),
                name: name.clone(),
                client: client.clone(),
                peer: peer.clone(),
                behind: None,
                cluster: cluster.clone(),
                args: MEMBER_ARGS.map(str::to_owned).to_vec(),
            };
            let reached = self.reached(&mut member)?;
            if let Some(app) = &app {
                advertise(&mut member, app);
            }
            let machine = self.world.machine(&name, vec![Box::new(member)]);
            self.nodes.push(machine.clone());
            self.ports.push(reached);
            seats.push(Seat {
                machine,
                client,
                peer,
            });
        }
        if let Some(app) = app {
            let slots = seats.iter();
            let slots = slots.map(|seat| (seat.name().to_owned(), seat.client.clone()));
            let proxies = Proxies::new(&mut self.world, plan, slots.collect(), app.clone())?;
            self.proxies = Some(Arc::new(proxies));
            self.ports = vec![app];
        }
        let members = Arc::new(Members::new(seats, cluster));
        self.etcd = Some(Etcd { members, tool });
        Ok(())
    }

    /// Where clients and persisters reach a member: at a relay, if machines are to be cut off.
    fn reached(&mut self, member: &mut EtcdMember) -> Result<Port> {
        let Some(network) = &mut self.network else {
            return Ok(member.client.clone());
        };
        let (behind, relay) = (self.world.port()?, self.world.port()?);
        network.relay(&member.peer, behind.clone(), &member.name)?;
        network.relay(&relay, member.client.clone(), &member.name)?;
        member.behind = Some(behind);
        advertise(member, &relay);
        Ok(relay)
    }

    /// Where the `n`th of several finds the cluster: each begins with another node.
    fn at(&self, n: u32) -> Cluster {
        let mut ports = self.ports.clone();
        ports.rotate_left((n as usize).saturating_sub(1) % self.ports.len().max(1));
        match self.etcd {
            Some(_) => Cluster::Etcd(ports),
            None => Cluster::Nodes(ports),
        }
    }

    /// An honest one.
    fn persister(&mut self, id: u32, shape: Shape) -> Result<()> {
        let (cluster, args) = match shape {
            Shape::Embedded => (Cluster::Embedded(self.ports[0].clone()), &[][..]),
            Shape::Lite => (self.at(id), &["-r", "--restore-wait", RESTORE_WAIT][..]),
            // A lost cluster of etcd is made from a snapshot, before a persister starts.
            Shape::Etcd => (self.at(id), &[][..]),
        };
        let (observe, name) = (self.world.port()?, format!("persister-{id}"));
        self.observed.insert(name.clone(), observe.clone());
        let persister = Persister {
            program: self.programs.persister.clone(),
            id,
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            cluster,
            observe,
        };
        let machine = self.world.machine(&name, vec![Box::new(persister)]);
        self.persisters.push(machine);
        Ok(())
    }

    fn liar(&mut self, id: u32) {
        let liar = Liar {
            program: self.programs.liar.clone(),
            cluster: self.at(id),
            id,
        };
        let name = format!("persister-{id}");
        let machine = self.world.machine(&name, vec![Box::new(liar)]);
        self.persisters.push(machine);
    }

    fn writer(&mut self, n: u32, keys: Keys, timeout: Duration, ledger: Shared) -> Client {
        let (cluster, durability) = (self.at(n), self.durability.clone());
        let uri = move || cluster.uri() + &durability;
        let program = self.programs.client.clone();
        let (client, writer) = Writer::new(program, uri, keys, timeout, ledger);
        self.writers.push(writer);
        client
    }

    /// The machines of a group, in the order in which they are started.
    pub(super) fn group(&self, group: &Group) -> Vec<Arc<Machine>> {
        let proxies = self.proxies.as_deref();
        let (proxies, app) = proxies.map_or((&[][..], &[][..]), Proxies::machines);
        let (nodes, persisters) = (&self.nodes[..], &self.persisters[..]);
        let parts: &[&[Arc<Machine>]] = match group {
            Group::All | Group::Machine(_) => &[nodes, proxies, app, persisters, &self.clients],
            Group::Servers => &[nodes, proxies, app, persisters],
            Group::Nodes | Group::Leader | Group::Followers => &[nodes],
            Group::Proxies => &[proxies],
            Group::Persisters => &[persisters],
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

    /// The machine of this name.
    pub(super) fn named(&self, name: &str) -> Vec<Arc<Machine>> {
        self.group(&Group::Machine(name.to_owned()))
    }

    /// Where a persister says how it is.
    pub(super) fn observed(&self, machine: &Machine) -> Option<Port> {
        self.observed.get(machine.name()).cloned()
    }

    /// What a client of etcd connects to.
    pub(super) fn target(&self) -> Result<cairn_etcd::Cluster> {
        let target = Target::new(&self.at(1).uri().parse()?, &Environment::default())?;
        Ok(cairn_etcd::Cluster::new(
            target,
            cairn_etcd::Options::default(),
        ))
    }

    /// The machines of a group; who leads is asked now.
    pub(super) async fn found(&self, group: &Group) -> Result<Vec<Arc<Machine>>> {
        let mut machines = self.group(group);
        if let (Some(etcd), Group::Leader | Group::Followers) = (&self.etcd, group) {
            let leader = etcd.members.leader().await?;
            let wanted = *group == Group::Leader;
            machines.retain(|machine| Arc::ptr_eq(machine, &leader.machine) == wanted);
        }
        Ok(machines)
    }

    /// What has to be up before these can be started is started before them: nodes, then proxies,
    /// persisters, and clients. Each kind is started side by side.
    pub(super) async fn start(&self, machines: &[Arc<Machine>]) -> Result<()> {
        let proxies = self.proxies.as_deref();
        let (proxies, app) = proxies.map_or((&[][..], &[][..]), Proxies::machines);
        let kinds = [
            &self.nodes[..],
            proxies,
            app,
            &self.persisters[..],
            &self.clients[..],
        ];
        for (n, kind) in kinds.into_iter().enumerate() {
            let is_one = |machine: &&Arc<Machine>| kind.iter().any(|one| Arc::ptr_eq(one, machine));
            let those: Vec<_> = machines.iter().filter(is_one).cloned().collect();
            match &self.etcd {
                Some(etcd) if n == 0 => {
                    etcd.members.start(&those).await?;
                }
                _ => World::together(&those, Command::Start).await?,
            }
        }
        Ok(())
    }

    /// Ends these in good order. A member that leads hands that on before it ends, and waits long
    /// for others that end as well; so it ends after them.
    pub(super) async fn end_in_order(
        &self,
        machines: &[Arc<Machine>],
        command: Command,
    ) -> Result<()> {
        let nodes = machines.iter().filter(|machine| self.is_node(machine));
        let leader = match &self.etcd {
            Some(etcd) if nodes.count() > 1 => etcd.members.leads().await,
            _ => None,
        };
        let leads = |machine: &Arc<Machine>| {
            leader.is_some_and(|leader| Arc::ptr_eq(machine, &leader.machine))
        };
        let (last, first): (Vec<_>, Vec<_>) = machines.iter().cloned().partition(leads);
        World::together(&first, command).await?;
        Ok(World::together(&last, command).await?)
    }

    fn is_node(&self, machine: &Arc<Machine>) -> bool {
        self.nodes.iter().any(|node| Arc::ptr_eq(node, machine))
    }

    /// Loses these with their disks, and starts others in their stead.
    pub(super) async fn replace(&self, machines: &[Arc<Machine>]) -> Result<()> {
        let Some(_) = &self.etcd else {
            return Ok(World::together(machines, Command::Replace).await?);
        };
        let mut nodes = machines.to_vec();
        let others: Vec<_> = nodes.extract_if(.., |it| !self.is_node(it)).collect();
        World::together(&nodes, Command::Wipe).await?;
        self.start(&nodes).await?;
        Ok(World::together(&others, Command::Replace).await?)
    }

    /// Everything that the cluster holds now.
    pub(super) async fn everything(&self) -> Result<Found> {
        let uri = self.at(1).uri();
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

    /// Restored in one process, or from a snapshot, every key keeps its revision; so it does in a
    /// `doozer-lite` where the restore says so, and that is not asked here.
    pub(super) fn revisions(&self) -> Revisions {
        match self.nodes.is_empty() || self.etcd.is_some() {
            true => Revisions::Kept,
            false => Revisions::Any,
        }
    }

    /// What holds the cluster: nodes, or the persister that has it inside.
    pub(super) fn holders(&self) -> &[Arc<Machine>] {
        match self.nodes.is_empty() {
            true => &self.persisters,
            false => &self.nodes,
        }
    }

    /// The persisters that do not lie.
    pub(super) fn honest(&self) -> impl Iterator<Item = &Arc<Machine>> {
        self.persisters.iter().filter(|it| !self.is_liar(it))
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
        let up = self.nodes.iter().filter(|node| node.is_up());
        let up: Vec<_> = up.cloned().collect();
        // What does not end is killed with the world.
        let _ = self.end_in_order(&up, Command::Terminate).await;
        self.world.end().await;
        Ok(())
    }
}

/// Tells clients and persisters, which learn from members where those are, to come this way. The
/// last one of such arguments counts.
fn advertise(member: &mut EtcdMember, at: &Port) {
    let url = format!("http://{}", at.address());
    let args = ["--advertise-client-urls".to_owned(), url];
    member.args.extend(args);
}

/// What the persister that lies is called as a service.
const LIAR: &str = "liar";

/// The persister that lies, as a service.
#[derive(Debug)]
struct Liar {
    program: Program,
    cluster: Cluster,
    id: u32,
}

impl Service for Liar {
    fn name(&self) -> &'static str {
        LIAR
    }

    fn launch(&self, place: &Place) -> world::error::Result<Launch> {
        let uri = self.cluster.uri();
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
