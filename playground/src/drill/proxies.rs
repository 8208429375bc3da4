//! Proxies before the members of etcd, and the machine of the application, whose own proxy leads to
//! those: clients and persisters know that one alone.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};

use crate::drill::plan::Plan;
use crate::world::World;
use crate::world::machine::Machine;
use crate::world::ports::Port;
use crate::world::services::haproxy::Haproxy;

/// What a member must answer to count as up.
const HEALTH: &str = "/health";

/// A proxy before the members.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) machine: Arc<Machine>,
    /// Where it leads to members.
    pub(super) port: Port,
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
    /// Before these members: name and port each. The application's own proxy listens at `app`.
    pub(super) fn new(
        world: &mut World,
        plan: &Plan<'_>,
        members: Vec<(String, Port)>,
        app: Port,
    ) -> Result<Self> {
        let program = Haproxy::installed()?;
        let mut proxies = Vec::new();
        for n in 1..=plan.proxies {
            let (port, alive) = (world.port()?, world.port()?);
            let haproxy = Haproxy {
                program: program.clone(),
                port: port.clone(),
                alive: Some(alive.clone()),
                backends: members.clone(),
                all: true,
                check: Some(HEALTH.to_owned()),
                every: plan.every,
            };
            let machine = world.machine(&format!("proxy-{n}"), vec![Box::new(haproxy)]);
            proxies.push(Proxy {
                machine,
                port,
                alive,
            });
        }
        let slots = proxies.iter();
        let slots = slots.map(|proxy| (proxy.machine.name().to_owned(), proxy.port.clone()));
        let haproxy = Haproxy {
            program,
            port: app,
            alive: None,
            backends: slots.collect(),
            all: false,
            check: Some(HEALTH.to_owned()),
            every: plan.every,
        };
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

    /// Nobody is led to a member any more.
    pub(super) async fn take_out_member(&self, name: &str) -> Result<()> {
        self.out().insert(name.to_owned());
        for proxy in self.proxies.iter().filter(|proxy| proxy.machine.is_up()) {
            let done = Haproxy::take_out(directory(&proxy.machine)?, name).await;
            unless_down(&proxy.machine, done)?;
        }
        Ok(())
    }

    /// A member is led to, at its port of now.
    pub(super) async fn register_member(&self, name: &str, port: &Port) -> Result<()> {
        self.out().remove(name);
        for proxy in self.proxies.iter().filter(|proxy| proxy.machine.is_up()) {
            let done = Haproxy::register(directory(&proxy.machine)?, name, port).await;
            unless_down(&proxy.machine, done)?;
        }
        Ok(())
    }

    /// The application is not led to a proxy any more.
    pub(super) async fn take_out(&self, proxy: &Proxy) -> Result<()> {
        Ok(Haproxy::take_out(directory(&self.app[0])?, proxy.machine.name()).await?)
    }

    /// The application is led to a proxy that was started anew, which leads to no member that is
    /// out of use.
    pub(super) async fn register(&self, proxy: &Proxy) -> Result<()> {
        let out = self.out().clone();
        for member in out {
            Haproxy::take_out(directory(&proxy.machine)?, &member).await?;
        }
        let app = directory(&self.app[0])?;
        Ok(Haproxy::register(app, proxy.machine.name(), &proxy.port).await?)
    }

    fn out(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn directory(machine: &Machine) -> Result<&std::path::Path> {
    machine
        .directory_of("haproxy")
        .context("it runs an haproxy")
}

/// A proxy that went down meanwhile is replaced by one that reads where members are now.
fn unless_down(machine: &Machine, done: crate::world::error::Result<()>) -> Result<()> {
    match done {
        Err(error) if machine.is_up() => Err(error.into()),
        _ => Ok(()),
    }
}
