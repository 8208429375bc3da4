//! The cluster that lives in this process, and when it may be talked to.
//!
//! Promise: the public address answers nobody before the journal's state is back, so that no client
//! reads or writes a half-restored cluster; and nobody any more once the persister is asked to end,
//! so that every write which was answered is followed and journaled before it does end. The
//! persister itself talks to the node over an address of its own.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use cairn_client::Uri;
use cairn_lite::{Options, Server};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cluster::control::Id;
use crate::cluster::doozer::Doozer;
use crate::cluster::session::Cluster;

/// A running node.
pub struct EmbeddedNode {
    server: Server,
    public: std::sync::Mutex<Option<TcpListener>>,
    address: SocketAddr,
    uri: Uri,
    private: JoinHandle<anyhow::Result<()>>,
    stop: CancellationToken,
}

impl EmbeddedNode {
    /// Starts one that will listen at `address`. The address is taken at once, and answers later.
    pub(crate) async fn start(address: SocketAddr) -> anyhow::Result<Self> {
        let public = TcpListener::bind(address).await.with_context(|| {
            format!(
                "cannot listen on {address}; is another cluster running there? Choose another \
                 address with -l HOST:PORT"
            )
        })?;
        let address = public.local_addr().context("the address of a listener")?;
        let private = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("cannot listen on a port of our own")?;
        let uri = Uri::from_address(&private.local_addr().context("our own address")?.to_string())?;
        let server = Server::new(Options {
            advertise: Some(address.to_string()),
            ..Options::default()
        })?;
        let stop = CancellationToken::new();
        let serving = server.clone().run(private, stop.clone().cancelled_owned());
        Ok(Self {
            server,
            public: std::sync::Mutex::new(Some(public)),
            address,
            uri,
            private: tokio::spawn(serving),
            stop,
        })
    }

    /// The cluster that consists of it, for the persister `id`.
    pub(crate) fn cluster(&self, id: Id) -> impl Cluster {
        Doozer::in_process(self.server.clone(), self.uri.clone(), id)
    }

    /// Answers the public from `restored` on until `cancel`, then cancels `closed`.
    pub(crate) fn open_between(
        &self,
        restored: CancellationToken,
        cancel: CancellationToken,
        closed: CancellationToken,
    ) -> JoinHandle<()> {
        let public = self.public.lock().expect("nothing panics with it").take();
        let public = public.expect("it is opened once");
        let (server, address) = (self.server.clone(), self.address);
        tokio::spawn(async move {
            // However this ends, the persister ends with it.
            let _closed = closed.drop_guard();
            tokio::select! {
                () = restored.cancelled() => {}
                () = cancel.cancelled() => return,
            }
            tracing::info!(
                "embedded cluster listening on {address}: DOOZER_URI='doozer:?ca={address}'"
            );
            if let Err(error) = server.run_also(public, cancel.cancelled_owned()).await {
                tracing::error!("the embedded cluster: {error:#}");
            }
        })
    }

    /// Stops it; its state is gone then.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        match self.private.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("the embedded cluster: {error:#}"),
            Err(panic) => tracing::error!("the embedded cluster: {panic}"),
        }
    }
}
