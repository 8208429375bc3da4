//! The warden at work: checks servers, and does what [`Warden`] says.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::future::join_all;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};

use crate::warden::state::{Effect, Role, Seen, Warden};

/// A future in a box, so that servers of different kinds stand in one list.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A server that is watched: how to see whether it is well, and how to replace it.
pub trait Server: Send + Sync {
    /// What people call it.
    fn name(&self) -> &str;

    /// What it is to its cluster.
    fn role(&self) -> Role;

    /// Whether it answers as it must. Ends soon, whatever the server does.
    fn is_well(&self) -> Doing<'_, bool>;

    /// Does this. It may have been begun before; it ends, in success or in a sentence.
    fn take(&self, effect: Effect) -> Doing<'_, Result<()>>;
}

/// What the warden tells.
#[derive(Clone, Debug)]
pub enum Told {
    /// This is about to be done.
    Begins(String, Effect),
    /// This was done.
    Done(String, Effect),
    /// This could not be done, and is tried again.
    Failed(String, Effect, String),
}

/// Watches servers until it is dropped: a check of each every so often.
pub async fn keep(servers: Vec<Arc<dyn Server>>, every: Duration, told: mpsc::Sender<Told>) {
    let mut warden = Warden::new(servers.iter().map(|server| server.role()));
    let mut under_way: JoinSet<Result<()>> = JoinSet::new();
    let mut whose: HashMap<Id, (usize, Effect)> = HashMap::new();
    let mut round = tokio::time::interval(every);
    round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let mut seen = Vec::new();
        tokio::select! {
            _ = round.tick() => {
                let watched = (0..servers.len()).filter(|&server| warden.is_watched(server));
                let check = async |server: usize| (server, servers[server].is_well().await);
                let checks = join_all(watched.map(check)).await.into_iter();
                seen.extend(checks.map(|(server, well)| Seen::Check { server, well }));
                seen.push(Seen::Round);
            }
            Some(ended) = under_way.join_next_with_id() => {
                let (id, done) = match ended {
                    Ok((id, done)) => (id, done),
                    Err(panic) => (panic.id(), Err(panic.into())),
                };
                if let Some((server, effect)) = whose.remove(&id) {
                    let name = servers[server].name().to_owned();
                    seen.push(Seen::Ended { server, done: done.is_ok() });
                    let tells = match done {
                        Ok(()) => Told::Done(name, effect),
                        Err(error) => Told::Failed(name, effect, format!("{error:#}")),
                    };
                    // Nobody may listen any more.
                    let _ = told.send(tells).await;
                }
            }
        }
        for (server, effect) in seen.into_iter().flat_map(|seen| warden.see(seen)) {
            let one = Arc::clone(&servers[server]);
            let _ = told.send(Told::Begins(one.name().to_owned(), effect)).await;
            let doing = under_way.spawn(async move { one.take(effect).await });
            whose.insert(doing.id(), (server, effect));
        }
    }
}
