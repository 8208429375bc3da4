//! Makes the machines of a drill, nothing of which runs yet.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;

use crate::drill::cluster::{Etcd, Machines};
use crate::drill::liar::{LIAR, Liar};
use crate::drill::options::Shape;
use crate::drill::plan::{Plan, called, etcd_programs};
use crate::drill::proxies::Proxies;
use crate::members::{Members, Seat};
use crate::network::Network;
use crate::programs::Programs;
use crate::world::World;
use crate::world::directory::{RunDirectory, default_parent};
use crate::world::machine::Machine;
use crate::world::ports::Port;
use crate::world::services::called::Called;
use crate::world::services::etcd::{EtcdCluster, EtcdMember};
use crate::world::services::node::Lite;
use crate::world::services::persister::{Cluster, Persister};
use crate::world::services::program::Program;
use crate::world::services::service::Service;
use crate::writers::{Client, Keys, Shared, Writer};

/// A persister that restores an empty cluster waits so long for the others, which may have more,
/// and may have nothing. One that comes later is refused.
const RESTORE_WAIT: &str = "3s";

/// Members write without fsync: what is acknowledged rests on the disks of persisters alone.
const MEMBER_ARGS: [&str; 1] = ["--unsafe-no-fsync"];

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
            deal: plan.deal.clone(),
        };
        this.cluster(plan)?;
        let persisters = plan.persisters();
        for id in 1..=persisters {
            this.persister(id, plan)?;
        }
        if plan.liar {
            this.liar(persisters + 1);
        }
        for writer in 1..=plan.writers {
            let keys = Keys::new(writer, plan.keys, random.fork());
            let client = this.writer(plan, writer, keys, ledger.clone());
            let name = format!("client-{writer}");
            this.clients
                .push(this.world.machine(&name, vec![Box::new(client)]));
        }
        if let Some(network) = &this.network {
            network.know(this.world.machines().to_vec());
        }
        Ok(this)
    }

    /// What holds the cluster, or the clusters.
    fn cluster(&mut self, plan: &Plan<'_>) -> Result<()> {
        match plan.shape {
            Shape::Embedded => self.ports.push(vec![self.world.port()?]),
            Shape::Lite => {
                let port = self.world.port()?;
                self.ports.push(vec![port.clone()]);
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
        let clusters = 0..plan.deal.clusters as usize;
        let told: Vec<_> = clusters
            .clone()
            .map(|_| EtcdCluster::new("cairn", Vec::new()))
            .collect();
        let mut seats = vec![Vec::new(); clusters.len()];
        let app = match plan.proxies {
            0 => None,
            _ => Some(self.some_ports(clusters.len())?),
        };
        self.ports = vec![Vec::new(); clusters.len()];
        for n in 1..=plan.nodes {
            let name = format!("node-{n}");
            let (mut services, mut ports) = (Vec::new(), Vec::new());
            for cluster in clusters.clone() {
                let mut member = self.member(&program, &name, &told[cluster])?;
                let reached = self.reached(&mut member)?;
                self.ports[cluster].push(reached);
                if let Some(app) = &app {
                    advertise(&mut member, &app[cluster]);
                }
                ports.push((member.client.clone(), member.peer.clone()));
                services.push(in_cluster("etcd", cluster, member));
            }
            let machine = self.world.machine(&name, services);
            self.nodes.push(machine.clone());
            for (cluster, (client, peer)) in ports.into_iter().enumerate() {
                seats[cluster].push(Seat {
                    machine: machine.clone(),
                    service: called("etcd", cluster),
                    client,
                    peer,
                });
            }
        }
        if let Some(app) = app {
            let proxies = Proxies::new(&mut self.world, plan, &seats, &app)?;
            self.proxies = Some(Arc::new(proxies));
            self.ports = app.into_iter().map(|port| vec![port]).collect();
        }
        let members = seats.into_iter().zip(told);
        let clusters = members.map(|(seats, told)| Arc::new(Members::new(seats, told)));
        self.etcd = Some(Etcd {
            clusters: clusters.collect(),
            tool,
        });
        Ok(())
    }

    fn some_ports(&self, count: usize) -> Result<Vec<Port>> {
        (0..count).map(|_| Ok(self.world.port()?)).collect()
    }

    fn member(&self, program: &Program, name: &str, cluster: &EtcdCluster) -> Result<EtcdMember> {
        Ok(EtcdMember {
            program: program.clone(),
            name: name.to_owned(),
            client: self.world.port()?,
            peer: self.world.port()?,
            behind: None,
            cluster: cluster.clone(),
            args: MEMBER_ARGS.map(str::to_owned).to_vec(),
        })
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

    /// Where the `n`th of several finds a cluster: each begins with another node.
    pub(super) fn at(&self, n: u32, cluster: usize) -> Cluster {
        let mut ports = self.ports[cluster].clone();
        let first = (n as usize).saturating_sub(1) % ports.len().max(1);
        ports.rotate_left(first);
        match self.etcd {
            Some(_) => Cluster::Etcd(ports),
            None => Cluster::Nodes(ports),
        }
    }

    /// An honest one, of each cluster.
    fn persister(&mut self, id: u32, plan: &Plan<'_>) -> Result<()> {
        let all: Vec<String> = (1..=plan.persisters()).map(|id| id.to_string()).collect();
        let all = all.join(",");
        let restores = ["-r", "--restore-wait", RESTORE_WAIT, "--restore-with", &all];
        let (mut services, mut observed) = (Vec::new(), Vec::new());
        for n in 0..self.ports.len() {
            let (cluster, args) = match plan.shape {
                Shape::Embedded => (Cluster::Embedded(self.ports[n][0].clone()), &[][..]),
                Shape::Lite => (self.at(id, n), &restores[..]),
                // A lost cluster of etcd is made from a snapshot, before a persister starts.
                Shape::Etcd => (self.at(id, n), &[][..]),
            };
            let observe = self.world.port()?;
            observed.push(observe.clone());
            let persister = Persister {
                program: self.programs.persister.clone(),
                id,
                args: args.iter().map(|&arg| arg.to_owned()).collect(),
                cluster,
                observe,
            };
            services.push(in_cluster("persister", n, persister));
        }
        self.add_persister(id, services, observed);
        Ok(())
    }

    fn liar(&mut self, id: u32) {
        let liar = |cluster| Liar {
            program: self.programs.liar.clone(),
            cluster: self.at(id, cluster),
            id,
        };
        let clusters = 0..self.ports.len();
        let services = clusters.map(|cluster| in_cluster(LIAR, cluster, liar(cluster)));
        self.add_persister(id, services.collect(), Vec::new());
    }

    fn add_persister(&mut self, id: u32, services: Vec<Box<dyn Service>>, observed: Vec<Port>) {
        let name = format!("persister-{id}");
        let machine: Arc<Machine> = self.world.machine(&name, services);
        self.persisters.push(machine);
        self.observed.insert(name, observed);
    }

    fn writer(&mut self, plan: &Plan<'_>, n: u32, keys: Keys, ledger: Shared) -> Client {
        let (cluster, durability) = (self.at(n, plan.deal.cluster(n)), plan.durability(n));
        let uri = move || cluster.uri() + &durability;
        let program = self.programs.client.clone();
        let (client, writer) = Writer::new(program, uri, keys, plan.timeout, ledger);
        self.writers.push(writer);
        client
    }
}

/// A service of a machine that runs one for each cluster.
fn in_cluster(kind: &str, cluster: usize, service: impl Service + 'static) -> Box<dyn Service> {
    Box::new(Called {
        name: called(kind, cluster),
        service: Box::new(service),
    })
}

/// Tells clients and persisters, which learn from members where those are, to come this way. The
/// last one of such arguments counts.
fn advertise(member: &mut EtcdMember, at: &Port) {
    let url = format!("http://{}", at.address());
    let args = ["--advertise-client-urls".to_owned(), url];
    member.args.extend(args);
}
