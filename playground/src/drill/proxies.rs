//! Proxies before the members of etcd, and the machine of the application, whose own proxy leads to
//! those: clients and persisters know that one alone. Each proxy has one port for each cluster.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};

use crate::drill::plan::Plan;
use crate::members::Seat;
use crate::world::World;
use crate::world::machine::Machine;
use crate::world::ports::Port;
use crate::world::services::haproxy::{Front, Haproxy};

/// What a member must answer to count as up.
const HEALTH: &str = "/health";

/// A proxy before the members.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) machine: Arc<Machine>,
    /// Where it leads to the members of each cluster.
    pub(super) ports: Vec<Port>,
    /// Where it says that it is alive.
    pub(super) alive: Port,
}

/// All of them.
pub(super) struct Proxies {
    proxies: Vec<Proxy>,
    machines: Vec<Arc<Machine>>,
    app: Vec<Arc<Machine>>,
    /// The members that nobody may be led to.
    out: Mutex<BTreeSet<String>>,
}

impl Proxies {
    /// Before the members of these clusters. The application's own proxy listens at `app`, at one
    /// port for each.
    pub(super) fn new(
        world: &mut World,
        plan: &Plan<'_>,
        clusters: &[Vec<Seat>],
        app: &[Port],
    ) -> Result<Self> {
        let program = Haproxy::installed()?;
        let haproxy = |fronts, alive, all| Haproxy {
            program: program.clone(),
            fronts,
            alive,
            all,
            check: Some(HEALTH.to_owned()),
            every: plan.every,
        };
        let mut proxies = Vec::new();
        for n in 1..=plan.proxies {
            let mut fronts = Vec::new();
            for (cluster, seats) in clusters.iter().enumerate() {
                let seats = seats.iter();
                let seats = seats.map(|seat| (seat.name().to_owned(), seat.client.clone()));
                fronts.push(Front {
                    name: front(cluster),
                    port: world.port()?,
                    backends: seats.collect(),
                });
            }
            let (ports, alive) = (ports(&fronts), world.port()?);
            let haproxy = haproxy(fronts, Some(alive.clone()), true);
            let machine = world.machine(&format!("proxy-{n}"), vec![Box::new(haproxy)]);
            proxies.push(Proxy {
                machine,
                ports,
                alive,
            });
        }
        let fronts = app.iter().enumerate().map(|(cluster, port)| {
            let slot = |proxy: &Proxy| (proxy.name().to_owned(), proxy.ports[cluster].clone());
            Front {
                name: front(cluster),
                port: port.clone(),
                backends: proxies.iter().map(slot).collect(),
            }
        });
        let haproxy = haproxy(fronts.collect(), None, false);
        Ok(Self {
            machines: proxies.iter().map(|proxy| proxy.machine.clone()).collect(),
            app: vec![world.machine("app", vec![Box::new(haproxy)])],
            proxies,
            out: Mutex::default(),
        })
    }

    /// The machines of the proxies, and that of the application.
    pub(super) fn machines(&self) -> (&[Arc<Machine>], &[Arc<Machine>]) {
        (&self.machines, &self.app)
    }

    /// The proxy on this machine.
    pub(super) fn on(&self, machine: &Arc<Machine>) -> Option<&Proxy> {
        let mut proxies = self.proxies.iter();
        proxies.find(|proxy| Arc::ptr_eq(&proxy.machine, machine))
    }

    /// Nobody is led to a machine's members any more.
    ///
    /// A proxy that cannot be told, because it is halted, could go on and lead there: then this
    /// fails, and is tried again until the proxy is back or was replaced.
    pub(super) async fn take_out_member(&self, name: &str) -> Result<()> {
        self.out().insert(name.to_owned());
        for proxy in &self.proxies {
            unless_down(&proxy.machine, proxy.take_out(name).await)?;
        }
        Ok(())
    }

    /// A machine's members are led to, at their ports of now, one for each cluster.
    pub(super) async fn register_member(&self, name: &str, ports: &[Port]) -> Result<()> {
        self.out().remove(name);
        for proxy in &self.proxies {
            unless_down(&proxy.machine, register(&proxy.machine, name, ports).await)?;
        }
        Ok(())
    }

    /// The application is not led to a proxy any more.
    pub(super) async fn take_out(&self, proxy: &Proxy) -> Result<()> {
        for cluster in 0..proxy.ports.len() {
            let app = directory(&self.app[0])?;
            Haproxy::take_out(app, &front(cluster), proxy.name()).await?;
        }
        Ok(())
    }

    /// The application is led to a proxy that was started anew, which leads to no member that is
    /// out of use.
    pub(super) async fn register(&self, proxy: &Proxy) -> Result<()> {
        let out = self.out().clone();
        for member in out {
            proxy.take_out(&member).await?;
        }
        register(&self.app[0], proxy.name(), &proxy.ports).await
    }

    fn out(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    pub(super) fn name(&self) -> &str {
        self.machine.name()
    }

    async fn take_out(&self, member: &str) -> Result<()> {
        for cluster in 0..self.ports.len() {
            Haproxy::take_out(directory(&self.machine)?, &front(cluster), member).await?;
        }
        Ok(())
    }
}

/// Tells the haproxy of a machine where a slot is now, in each cluster.
async fn register(machine: &Machine, slot: &str, ports: &[Port]) -> Result<()> {
    for (cluster, port) in ports.iter().enumerate() {
        Haproxy::register(directory(machine)?, &front(cluster), slot, port).await?;
    }
    Ok(())
}

/// What the way to a cluster is called in each proxy.
fn front(cluster: usize) -> String {
    format!("cluster-{}", cluster + 1)
}

fn ports(fronts: &[Front]) -> Vec<Port> {
    fronts.iter().map(|front| front.port.clone()).collect()
}

fn directory(machine: &Machine) -> Result<&Path> {
    machine
        .directory_of("haproxy")
        .context("it runs an haproxy")
}

/// A proxy that is down is replaced by one that reads where members are then.
fn unless_down(machine: &Machine, done: Result<()>) -> Result<()> {
    if machine.is_down() { Ok(()) } else { done }
}
