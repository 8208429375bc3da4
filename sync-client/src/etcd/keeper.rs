//! The connections of a client, one after the other.
//!
//! A connection is replaced when it ends, when its watch ends, or when the cluster behind it is no
//! longer the one that it was. Writes see it only once the persisters are followed over it.

use std::sync::Arc;
use std::time::Duration;

use cairn_etcd::{Cluster, Error};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use crate::core::witnesses::Witnesses;
use crate::etcd::follow::Follower;
use crate::etcd::link::Link;

/// The pause after no member could be reached.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Whether there is a connection.
#[derive(Clone, Debug)]
pub(crate) enum State {
    Connected(Arc<Link>),
    /// None. What the last attempt failed with.
    Disconnected(Option<Error>),
}

/// Keeps a client connected.
#[derive(Debug)]
pub(crate) struct Keeper {
    cluster: Cluster,
    witnesses: Arc<Witnesses>,
    state: watch::Sender<State>,
    generation: u64,
}

impl Keeper {
    /// Not connected yet.
    pub(crate) fn new(cluster: Cluster, witnesses: Arc<Witnesses>) -> Self {
        Self {
            cluster,
            witnesses,
            state: watch::Sender::new(State::Disconnected(None)),
            generation: 0,
        }
    }

    /// Where the connections appear.
    pub(crate) fn connections(&self) -> Connections {
        Connections(self.state.subscribe())
    }

    /// Connects, once.
    ///
    /// # Errors
    /// What every endpoint said; or that the persisters' keys cannot be read.
    pub(crate) async fn connect(&mut self) -> Result<Follower, Error> {
        self.generation += 1;
        let session = self.cluster.open().await?;
        let begun = Follower::begin(self.generation, session.clone(), &self.witnesses).await;
        match begun {
            Ok(follower) => {
                let link = Arc::clone(follower.link());
                self.state.send_replace(State::Connected(link));
                Ok(follower)
            }
            Err(error) => {
                session.close("the persisters cannot be followed");
                Err(error)
            }
        }
    }

    /// Follows the persisters over this connection and those that replace it, for ever. Dropping
    /// the future ends it.
    pub(crate) async fn keep(mut self, mut follower: Follower) {
        loop {
            let why = follower.run().await;
            tracing::debug!(why, "the connection is given up");
            follower.link().session.close(&why);
            self.state.send_replace(State::Disconnected(None));
            follower = loop {
                match self.connect().await {
                    Ok(follower) => break follower,
                    Err(error) => {
                        self.state.send_replace(State::Disconnected(Some(error)));
                        sleep(RETRY_PAUSE).await;
                    }
                }
            };
        }
    }
}

/// Where the connections of a client appear.
#[derive(Clone, Debug)]
pub(crate) struct Connections(watch::Receiver<State>);

impl Connections {
    /// The connection that is there now.
    pub(crate) fn now(&self) -> Option<Arc<Link>> {
        match &*self.0.borrow() {
            State::Connected(link) => Some(Arc::clone(link)),
            State::Disconnected(_) => None,
        }
    }

    /// Waits for a connection that came after `generation`. Ends never if there is none.
    pub(crate) async fn after(&self, generation: u64) -> Arc<Link> {
        let mut states = self.0.clone();
        let is_it = |state: &State| match state {
            State::Connected(link) => link.generation > generation,
            State::Disconnected(_) => false,
        };
        loop {
            if let Ok(state) = states.wait_for(is_it).await
                && let State::Connected(link) = &*state
            {
                return Arc::clone(link);
            }
            // The keeper has gone, and the client with it.
            std::future::pending::<()>().await;
        }
    }

    /// Waits for a connection that came after `generation`, until `end`.
    ///
    /// # Errors
    /// What the last attempt to connect failed with, if that is known.
    pub(crate) async fn after_until(
        &self,
        generation: u64,
        end: Instant,
    ) -> Result<Arc<Link>, Option<Error>> {
        match timeout_at(end, self.after(generation)).await {
            Ok(link) => Ok(link),
            Err(_) => match &*self.0.borrow() {
                State::Disconnected(error) => Err(error.clone()),
                State::Connected(_) => Err(None),
            },
        }
    }
}
