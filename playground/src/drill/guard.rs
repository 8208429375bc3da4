//! The servers of a drill as the warden sees them, and what it tells.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Result;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::drill::proxies::{Proxies, Proxy};
use crate::members::{Members, Seat};
use crate::warden::keep::{Doing, Server, Told};
use crate::warden::state::{Effect, Role};
use crate::world::decide::Command;
use crate::world::machine::Machine;
use crate::world::ports::Port;
use crate::world::services::haproxy::ALIVE;
use crate::world::services::probe::answers_http;

/// A warden at work. It ends when this is dropped.
pub(super) struct Guard {
    pub(super) told: mpsc::Receiver<Told>,
    pub(super) names: HashSet<String>,
    /// How many members the cluster has.
    pub(super) members: usize,
    pub(super) _task: JoinSet<()>,
}

/// A member of etcd. That it knows no leader is not its own fault, so it is asked what it is and
/// not whether it serves.
pub(super) struct Member {
    pub(super) seat: Seat,
    pub(super) members: Arc<Members>,
    pub(super) proxies: Option<Arc<Proxies>>,
}

impl Server for Member {
    fn name(&self) -> &str {
        self.seat.name()
    }

    fn role(&self) -> Role {
        Role::Member
    }

    fn is_well(&self) -> Doing<'_, bool> {
        Box::pin(async { answers_http(&self.seat.client.address(), "/version").await })
    }

    fn take(&self, effect: Effect) -> Doing<'_, Result<()>> {
        Box::pin(async move {
            match effect {
                Effect::TakeOut => match &self.proxies {
                    Some(proxies) => proxies.take_out_member(self.name()).await,
                    None => Ok(()),
                },
                Effect::Register => match &self.proxies {
                    Some(it) => it.register_member(self.name(), &self.seat.client).await,
                    None => Ok(()),
                },
                Effect::Remove => self.members.remove(&self.seat).await,
                Effect::End => Ok(self.seat.machine.run(Command::Discard).await?),
                Effect::Start => self.members.join(&self.seat).await,
            }
        })
    }
}

/// A proxy. What is behind it is not asked for.
pub(super) struct Front {
    pub(super) proxy: Proxy,
    pub(super) proxies: Arc<Proxies>,
}

impl Server for Front {
    fn name(&self) -> &str {
        self.proxy.machine.name()
    }

    fn role(&self) -> Role {
        Role::Other
    }

    fn is_well(&self) -> Doing<'_, bool> {
        Box::pin(async { answers_http(&self.proxy.alive.address(), ALIVE).await })
    }

    fn take(&self, effect: Effect) -> Doing<'_, Result<()>> {
        let machine = &self.proxy.machine;
        Box::pin(async move {
            match effect {
                Effect::TakeOut => self.proxies.take_out(&self.proxy).await,
                Effect::Remove => Ok(()),
                Effect::End => Ok(machine.run(Command::Discard).await?),
                Effect::Start => Ok(machine.run(Command::Start).await?),
                Effect::Register => self.proxies.register(&self.proxy).await,
            }
        })
    }
}

/// A persister.
pub(super) struct Other {
    pub(super) machine: Arc<Machine>,
    /// Where it says whether it is alive.
    pub(super) at: Port,
}

impl Server for Other {
    fn name(&self) -> &str {
        self.machine.name()
    }

    fn role(&self) -> Role {
        Role::Other
    }

    fn is_well(&self) -> Doing<'_, bool> {
        Box::pin(async { answers_http(&self.at.address(), "/livez").await })
    }

    fn take(&self, effect: Effect) -> Doing<'_, Result<()>> {
        Box::pin(async move {
            match effect {
                Effect::TakeOut | Effect::Remove | Effect::Register => Ok(()),
                Effect::End => Ok(self.machine.run(Command::Discard).await?),
                Effect::Start => Ok(self.machine.run(Command::Start).await?),
            }
        })
    }
}
