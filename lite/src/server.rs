//! A node on a listener: accepts connections, within a limit, until it is told to stop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use cairn_client::Revision;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::arriving::Arriving;
use crate::connection::{Connection, NodeHandle};
use crate::descriptors;
use crate::hub::SharedHub;
use crate::local::Local;
use crate::mode::{Control, Mode};
use crate::node::{random_name, write_preamble};
use crate::options::{Options, OptionsError};
use crate::refusal::refuse;
use crate::store::Store;
use crate::store::history::Keep;
use crate::throttle::Throttle;

/// The pause before accepting again, when the system refuses a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The most connections over the limit that are told so at a time; more are closed in silence.
const MAX_REFUSALS: usize = 64;

static REFUSED: Throttle = Throttle::new();
static FAILED: Throttle = Throttle::new();

/// A node that is ready to run. Clones are handles of the same node.
#[derive(Clone, Debug)]
pub struct Server {
    options: Arc<Options>,
    hub: Arc<SharedHub>,
    name: String,
    mode: Arc<watch::Sender<Mode>>,
    arriving: Arc<Arriving>,
}

impl Server {
    /// Makes a node; nothing happens until it [runs](Self::run).
    ///
    /// # Errors
    /// If the options make no sense.
    pub fn new(options: Options) -> Result<Self, OptionsError> {
        options.validate()?;
        let name = options.name.clone().unwrap_or_else(random_name);
        let keep = Keep {
            revisions: options.history,
            bytes: options.history_bytes,
        };
        let hub = SharedHub::new(Store::keeping(keep), name.clone());
        let mode = Mode {
            readonly: options.readonly,
            ..Mode::default()
        };
        Ok(Self {
            arriving: Arc::new(Arriving::new(options.max_arriving)),
            options: Arc::new(options),
            hub: Arc::new(hub),
            name,
            mode: Arc::new(watch::Sender::new(mode)),
        })
    }

    /// A handle for tests.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(&self.mode), Arc::clone(&self.hub))
    }

    /// Serves until `shutdown` is ready, then closes all connections. The state is gone then.
    ///
    /// # Errors
    /// If the listener fails, or if a bug ends a connection's task: the state can no longer be
    /// trusted.
    pub async fn run(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let address = address_of(&listener)?;
        self.begin(&address.to_string());
        self.run_also(listener, shutdown).await
    }

    /// Serves the same node on a listener, once it has [begun](Self::begin).
    ///
    /// # Errors
    /// As [`Server::run`].
    pub async fn run_also(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let address = address_of(&listener)?;
        info!(%address, name = self.name, "serving");
        let mut shutdown = std::pin::pin!(shutdown);
        let mut connections = JoinSet::new();
        let mut refusals = JoinSet::new();
        let mode = self.mode.subscribe();
        let most = self.options.max_connections.min(descriptors::room());
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) if mode.borrow().refusing => drop(stream),
                    Ok((stream, peer)) if connections.len() < most => {
                        debug!(%peer, "connection accepted");
                        self.open(stream, &mut connections);
                    }
                    Ok((stream, peer)) => turn_away(stream, peer, most, &mut refusals),
                    Err(error) => {
                        if let Some(times) = FAILED.due(Instant::now()) {
                            warn!(%error, times, "cannot accept a connection; trying again");
                        }
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = connections.join_next() => {
                    ended.context("a bug: a connection's task panicked")?;
                }
                Some(_) = refusals.join_next() => {}
                () = &mut shutdown => break,
            }
        }
        info!(connections = connections.len(), "stopping");
        refusals.shutdown().await;
        connections.shutdown().await;
        Ok(())
    }

    /// Puts files into a node that runs, but that nobody has written to or waits at: each as if it
    /// had been set at its own revision, and the node at revision `at` (or its next one, if that
    /// has passed) with everything before it discarded. So a state is back at once that would
    /// otherwise take a write for every revision.
    ///
    /// # Errors
    /// The first file that cannot be there, and why; or that no revision is left at `at`. The node
    /// must not be used then.
    pub fn load(
        &self,
        files: impl IntoIterator<Item = (String, Revision, Bytes)>,
        at: Revision,
    ) -> anyhow::Result<()> {
        let loaded = self.hub.with(|hub| hub.store.load(files, at));
        loaded.map_err(|(path, refusal)| anyhow::anyhow!("{path}: {refusal}"))
    }

    /// Has the node write what a fresh node writes about itself, so that it can be used by way of
    /// [`Server::local`] before anybody is served. `address`: where it is reached, unless the
    /// options say so.
    ///
    /// # Panics
    /// If it has begun before.
    pub fn begin(&self, address: &str) {
        let address = self.options.advertise.as_deref().unwrap_or(address);
        self.hub.with(|hub| {
            assert_eq!(hub.store.revision(), Revision(0), "a node begins once");
            write_preamble(&mut hub.store, &self.name, address);
            if let Some(start) = self.options.start_revision {
                hub.store.jump_to(Revision(start));
            }
        });
    }

    /// A session of this process, without a socket between.
    #[must_use]
    pub fn local(&self) -> Local {
        let (hub, options) = (Arc::clone(&self.hub), Arc::clone(&self.options));
        Local::new(hub, options, self.mode.subscribe())
    }

    fn open(&self, stream: TcpStream, connections: &mut JoinSet<()>) {
        // Answers are coalesced here; the kernel need not try as well.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "cannot turn off Nagle's algorithm");
        }
        let node = NodeHandle {
            hub: Arc::clone(&self.hub),
            options: Arc::clone(&self.options),
            mode: self.mode.subscribe(),
            arriving: Arc::clone(&self.arriving),
        };
        let connection = Connection::new(stream, node);
        connections.spawn(async move {
            if let Err(error) = connection.serve().await {
                log_end(&error);
            }
        });
    }
}

fn turn_away(stream: TcpStream, peer: SocketAddr, limit: usize, refusals: &mut JoinSet<()>) {
    if let Some(refused) = REFUSED.due(Instant::now()) {
        warn!(%peer, limit, refused, "too many connections: refusing");
    }
    if refusals.len() < MAX_REFUSALS {
        refusals.spawn(refuse(stream, limit));
    }
}

fn address_of(listener: &TcpListener) -> anyhow::Result<SocketAddr> {
    let address = listener.local_addr();
    address.context("the listener has no address")
}

/// A peer that goes away is its own business.
fn log_end(error: &io::Error) {
    debug!(%error, "connection lost");
}

/// Serves with default options until `shutdown` is ready.
///
/// # Errors
/// As [`Server::run`].
pub async fn run(listener: TcpListener, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    run_with(listener, Options::default(), shutdown).await
}

/// Serves until `shutdown` is ready.
///
/// # Errors
/// If the options make no sense, and as [`Server::run`].
pub async fn run_with(
    listener: TcpListener,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    Server::new(options)?.run(listener, shutdown).await
}
