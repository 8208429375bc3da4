//! The cluster that lives in this process, and when it may be talked to.
//!
//! Promise: the public address answers nobody before the journal's state is back, so that no client
//! reads or writes a half-restored cluster, and before the persister follows; and nobody any more
//! once it is asked to end. So every write that was answered is followed, and journaled before the
//! end.

use std::net::SocketAddr;

use anyhow::Context as _;
use cairn_lite::{Options, Server};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cluster::control::Id;
use crate::cluster::in_process::InProcess;
use crate::cluster::session::Cluster;
use crate::host_port::HostPort;

/// What an embedded node may be told: its secrets and limits.
pub type NodeOptions = cairn_lite::Options;
/// Options that cannot work.
pub type NodeOptionsError = cairn_lite::OptionsError;

/// Raises the soft limit of descriptors as far as the process may, for programs that embed a node.
pub fn raise_limit() {
    cairn_lite::raise_limit();
}

/// A running node.
pub struct EmbeddedNode {
    server: Server,
    public: std::sync::Mutex<Option<TcpListener>>,
    address: SocketAddr,
}

impl EmbeddedNode {
    /// Starts one that will listen at `address`. The address is taken at once, and answers later.
    pub(crate) async fn start(listen: &HostPort, options: Options) -> anyhow::Result<Self> {
        let public = listen.listen().await.with_context(|| {
            format!(
                "cannot listen on {listen}; is another cluster running there? Choose another \
                 address with -l HOST:PORT"
            )
        })?;
        let address = public.local_addr().context("the address of a listener")?;
        let server = Server::new(options)?;
        server.begin(&address.to_string());
        Ok(Self {
            server,
            public: std::sync::Mutex::new(Some(public)),
            address,
        })
    }

    /// The cluster that consists of it, for the persister `id`.
    pub(crate) fn cluster(&self, id: Id) -> impl Cluster {
        InProcess::new(self.server.clone(), id)
    }

    /// Answers the public once `following` is cancelled and until `cancel` is, then cancels
    /// `closed`.
    pub(crate) fn open_between(
        &self,
        following: CancellationToken,
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
                () = following.cancelled() => {}
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
}
