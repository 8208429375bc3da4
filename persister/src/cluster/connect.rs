//! The one place that decides from an address which engine a cluster has.

use std::future::Future;
use std::path::Path;

use crate::cluster::address::{Address, Engine};
use crate::cluster::control::Id;
use crate::cluster::doozer::Doozer;
use crate::cluster::etcd::Etcd;
use crate::cluster::session::Cluster;

/// Work that is done with a cluster, whichever engine it has.
///
/// A trait rather than a closure because the work is generic: the compiler makes one version of it
/// for each engine, so no call of a session goes through a table.
pub trait Task {
    /// What the work comes to.
    type Output;

    /// Does it.
    fn run<C: Cluster>(self, cluster: C) -> impl Future<Output = Self::Output> + Send;
}

/// Does `task` with the cluster at `address`. Its followers report the owner key of persister `id`;
/// a task that follows nothing may give any. An engine may put what it cannot hold in memory into
/// `spool`, a directory that is there by the time that a session is opened.
pub async fn connect<T: Task>(
    address: &Address,
    id: Id,
    spool: Option<&Path>,
    task: T,
) -> T::Output {
    match address.engine() {
        Engine::Doozer(uri) => task.run(Doozer::new(uri.clone(), id)).await,
        Engine::Etcd(_, target) => {
            let spool = spool.map(Path::to_owned);
            task.run(Etcd::new(target.clone(), id, spool)).await
        }
    }
}
