//! The servers of a drill as the warden sees them, and what it tells.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Result;
use futures::future::join_all;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::drill::proxies::{Proxies, Proxy};
use crate::members::{Members, Seat};
use crate::warden::keep::{Doing, Server, Told};
use crate::warden::state::{Effect, Role};
use crate::world::World;
use crate::world::decide::Command;
use crate::world::machine::Machine;
use crate::world::ports::Port;
use crate::world::services::haproxy::ALIVE;
use crate::world::services::probe::answers_http;

/// A warden at work. It ends when this is dropped.
pub(super) struct Guard {
    pub(super) told: mpsc::Receiver<Told>,
    pub(super) names: HashSet<String>,
    /// How many members a cluster has.
    pub(super) members: usize,
    /// Those that have failed, and are not in use again.
    pub(super) failed: HashSet<String>,
    pub(super) _task: JoinSet<()>,
}

/// The members of etcd on a machine. That one knows no leader is not its own fault, so it is asked
/// what it is and not whether it serves.
pub(super) struct Member {
    pub(super) machine: Arc<Machine>,
    /// Its place in each cluster.
    pub(super) seats: Vec<(Seat, Arc<Members>)>,
    pub(super) proxies: Option<Arc<Proxies>>,
}

impl Member {
    async fn register(&self) -> Result<()> {
        let Some(proxies) = &self.proxies else {
            return Ok(());
        };
        let ports: Vec<Port> = self.seats.iter().map(|it| it.0.client.clone()).collect();
        proxies.register_member(self.name(), &ports).await
    }

    /// Where nothing leads to it that could be told, its processes end at once.
    async fn take_out(&self) -> Result<()> {
        match &self.proxies {
            Some(proxies) => proxies.take_out_member(self.name()).await,
            None => end(&self.machine).await,
        }
    }
}

impl Server for Member {
    fn name(&self) -> &str {
        self.machine.name()
    }

    fn role(&self) -> Role {
        Role::Member
    }

    fn is_well(&self) -> Doing<'_, bool> {
        Box::pin(all_answer(
            self.seats.iter().map(|it| &it.0.client),
            "/version",
        ))
    }

    fn take(&self, effect: Effect) -> Doing<'_, Result<()>> {
        Box::pin(async move {
            match effect {
                Effect::TakeOut => return self.take_out().await,
                Effect::Register => return self.register().await,
                Effect::End => return Ok(self.machine.run(Command::Discard).await?),
                Effect::Remove | Effect::Start => {}
            }
            for (seat, members) in &self.seats {
                match effect {
                    Effect::Start => members.join(seat).await?,
                    _ => members.remove(seat).await?,
                }
            }
            Ok(())
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

/// A persister, of each cluster.
pub(super) struct Other {
    pub(super) machine: Arc<Machine>,
    /// Where it says whether it is alive.
    pub(super) at: Vec<Port>,
}

impl Server for Other {
    fn name(&self) -> &str {
        self.machine.name()
    }

    fn role(&self) -> Role {
        Role::Other
    }

    fn is_well(&self) -> Doing<'_, bool> {
        Box::pin(all_answer(self.at.iter(), "/livez"))
    }

    fn take(&self, effect: Effect) -> Doing<'_, Result<()>> {
        Box::pin(async move {
            match effect {
                // It confirms nothing any more, even if it only was halted.
                Effect::TakeOut => end(&self.machine).await,
                Effect::Remove | Effect::Register => Ok(()),
                Effect::End => Ok(self.machine.run(Command::Discard).await?),
                Effect::Start => Ok(self.machine.run(Command::Start).await?),
            }
        })
    }
}

async fn end(machine: &Arc<Machine>) -> Result<()> {
    Ok(World::cut_power(std::slice::from_ref(machine)).await?)
}

async fn all_answer(ports: impl Iterator<Item = &Port>, path: &str) -> bool {
    let asked = ports.map(|port| async { answers_http(&port.address(), path).await });
    join_all(asked).await.into_iter().all(|answers| answers)
}
