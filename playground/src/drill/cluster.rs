//! The machines of a drill: servers, clients, and the order in which servers are started.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cairn_etcd::{Environment, Target};

use crate::drill::deal::Deal;
use crate::drill::liar::LIAR;
use crate::drill::proxies::Proxies;
use crate::drill::step::Group;
use crate::engine::Engine;
use crate::ledger::audit::Revisions;
use crate::ledger::write::Found;
use crate::members::{Members, Seat};
use crate::network::Network;
use crate::programs::Programs;
use crate::world::World;
use crate::world::decide::Command;
use crate::world::machine::Machine;
use crate::world::ports::Port;
use crate::world::services::program::Program;
use crate::writers::Writer;

/// How long an audit waits for a cluster that is just back.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How often it is asked meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The machines of a drill.
pub(super) struct Machines {
    pub(super) world: World,
    pub(super) programs: Programs,
    /// What must be up before a persister is started.
    pub(super) nodes: Vec<Arc<Machine>>,
    pub(super) persisters: Vec<Arc<Machine>>,
    pub(super) clients: Vec<Arc<Machine>>,
    pub(super) writers: Vec<Writer>,
    /// For each cluster, where its nodes are, or the persister that has it inside.
    pub(super) ports: Vec<Vec<Port>>,
    /// Of etcd.
    pub(super) etcd: Option<Etcd>,
    /// What stands before the members of etcd, if anything does.
    pub(super) proxies: Option<Arc<Proxies>>,
    /// The ways between machines, if any is to be cut.
    pub(super) network: Option<Network>,
    /// Where persisters say how they are, for each cluster.
    pub(super) observed: HashMap<String, Vec<Port>>,
    /// Which client writes to which cluster, and for whom it waits.
    pub(super) deal: Deal,
}

/// Clusters of etcd, and the tool that makes members from snapshots.
pub(super) struct Etcd {
    pub(super) clusters: Vec<Arc<Members>>,
    pub(super) tool: Program,
}

impl Etcd {
    /// The first cluster, which is the only one where a drill asks who leads.
    pub(super) fn members(&self) -> &Arc<Members> {
        &self.clusters[0]
    }

    /// The places of a machine in the clusters, if it holds any.
    pub(super) fn seats(&self, machine: &Arc<Machine>) -> Vec<(Seat, Arc<Members>)> {
        let mut found = Vec::new();
        for members in &self.clusters {
            let seats = members.seats().iter();
            let seats = seats.filter(|seat| Arc::ptr_eq(&seat.machine, machine));
            found.extend(seats.map(|seat| (seat.clone(), Arc::clone(members))));
        }
        found
    }
}

impl Machines {
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
    pub(super) fn observed(&self, machine: &Machine) -> Option<Vec<Port>> {
        self.observed.get(machine.name()).cloned()
    }

    /// What a client of etcd connects to.
    pub(super) fn target(&self) -> Result<cairn_etcd::Cluster> {
        let target = Target::new(&self.at(1, 0).uri().parse()?, &Environment::default())?;
        Ok(cairn_etcd::Cluster::new(
            target,
            cairn_etcd::Options::default(),
        ))
    }

    /// The machines of a group; who leads is asked now.
    pub(super) async fn found(&self, group: &Group) -> Result<Vec<Arc<Machine>>> {
        let mut machines = self.group(group);
        if let (Some(etcd), Group::Leader | Group::Followers) = (&self.etcd, group) {
            let leader = etcd.members().leader().await?;
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
                    for members in &etcd.clusters {
                        members.start(&those).await?;
                    }
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
        let mut leaders = Vec::new();
        if let (Some(etcd), 2..) = (&self.etcd, nodes.count()) {
            for members in &etcd.clusters {
                leaders.extend(members.leads().await.map(|seat| seat.machine.clone()));
            }
        }
        let leads = |machine: &Arc<Machine>| leaders.iter().any(|it| Arc::ptr_eq(it, machine));
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

    /// Everything that the clusters hold now.
    pub(super) async fn everything(&self) -> Result<Found> {
        let mut all = Found::new();
        for cluster in 0..self.ports.len() {
            for (key, value) in self.all_of(cluster).await? {
                let twice = all.insert(key.clone(), value).is_some();
                ensure!(!twice, "{key} is in two clusters, and has one writer");
            }
        }
        Ok(all)
    }

    /// Everything that one cluster holds. It may be just back, and a proxy before it need not have
    /// noticed.
    async fn all_of(&self, cluster: usize) -> Result<Found> {
        let (start, uri) = (Instant::now(), self.at(1, cluster).uri());
        loop {
            let read = async {
                let engine = Engine::connect(&uri, ANSWER_LIMIT).await?;
                engine.everything().await
            };
            match read.await {
                Err(error) if start.elapsed() > ANSWER_LIMIT => {
                    return Err(error.context("the cluster is back and cannot be read"));
                }
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
                found => return found,
            }
        }
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
