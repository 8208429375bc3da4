//! What the suite needs of an engine besides its sessions.

use std::future::Future;
use std::time::Duration;

use cairn_journal::Revision;
use futures::{Stream, StreamExt};

use crate::cluster::control::Id;
use crate::cluster::session::Cluster;

/// One running cluster that nobody has written to, and what only somebody outside can do to it.
pub(crate) trait Rig: Sized + Send + Sync + 'static {
    /// The engine.
    type Cluster: Cluster;

    /// The cluster, as persister `id` follows it.
    fn cluster(&self, id: Id) -> Self::Cluster;

    /// Makes the cluster forget every revision before its newest.
    fn forget(&self) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Ends all connections. New ones are taken.
    fn cut(&self) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Puts the cluster back to what it was at `to`, as its own operator could. Only for engines
    /// that [may roll back](crate::cluster::capabilities::Capabilities::may_roll_back).
    fn roll_back(&self, to: Revision) -> impl Future<Output = anyhow::Result<()>> + Send {
        let _ = to;
        async { anyhow::bail!("this engine cannot go back") }
    }
}

/// How long a property waits for what must come. Only a failure takes so long; three members elect
/// a leader more than once where they share a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The next item of a stream.
///
/// # Errors
/// The stream ended, or nothing came.
pub(crate) async fn next<T>(stream: &mut (impl Stream<Item = T> + Unpin)) -> anyhow::Result<T> {
    match tokio::time::timeout(PATIENCE, stream.next()).await {
        Ok(Some(item)) => Ok(item),
        Ok(None) => anyhow::bail!("the stream ended"),
        Err(_) => anyhow::bail!("nothing came within {PATIENCE:?}"),
    }
}
