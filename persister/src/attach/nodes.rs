//! Whether all addresses lead to one cluster. Nothing but their names says so, where the engine has
//! no identity of its own: a node that was started anew may be a cluster by itself.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;

use crate::attach::sides::remote_cluster;
use crate::cluster::session::Cluster;
use crate::error::Error;
use crate::identity::decision::LocalHistory;
use crate::identity::lineage::Identity;

/// How long a node is asked. One that does not answer by then is passed over: it may be down.
const ASK: Duration = Duration::from_secs(2);

/// What the addresses that answer say of their cluster.
#[derive(Debug)]
pub(crate) struct Nodes(Vec<(String, Option<Identity>)>);

impl Nodes {
    /// Asks all of them at once; none if there is one address only.
    ///
    /// # Errors
    /// [`Error::SeveralClusters`] if two of them have different names.
    pub(crate) async fn ask<C: Cluster>(cluster: &C) -> Result<Self, Error> {
        let asked = cluster
            .nodes()
            .into_iter()
            .map(|(address, node)| async move {
                let look = async { remote_cluster(&node.open().await?).await };
                let (remote, _) = timeout(ASK, look).await.ok()?.ok()?;
                Some((address, remote.identity))
            });
        let nodes = Self(join_all(asked).await.into_iter().flatten().collect());
        let mut named = (nodes.0.iter()).filter_map(|(_, identity)| identity.as_ref());
        if let Some(first) = named.next()
            && named.any(|other| other.id != first.id)
        {
            return Err(nodes.are_several());
        }
        Ok(nodes)
    }

    /// Whether all that answer have this name, or none has one if it is `None`.
    pub(crate) fn all_are(&self, id: Option<&str>) -> bool {
        let name = |(_, identity): &(String, Option<Identity>)| {
            identity.as_ref().map(|identity| identity.id.clone())
        };
        (self.0.iter()).all(|node| name(node).as_deref() == id)
    }

    /// A node of the very cluster that the journal follows, or of one that was restored from it:
    /// then it is not lost.
    pub(crate) fn living(&self, local: &LocalHistory) -> Option<String> {
        let bound_to = local.bound_to.as_ref()?;
        let lives = |identity: &Identity| {
            let is_ours = identity.id == *bound_to || identity.descends_from(bound_to).is_some();
            is_ours && !identity.is_unfinished()
        };
        let (address, _) =
            (self.0.iter()).find(|(_, identity)| identity.as_ref().is_some_and(lives))?;
        Some(address.clone())
    }

    /// The error that says who is what.
    pub(crate) fn are_several(&self) -> Error {
        let say = |(address, identity): &(String, Option<Identity>)| match identity {
            Some(identity) => format!("{address} is cluster {}", identity.id),
            None => format!("{address} has no name"),
        };
        let all: Vec<String> = self.0.iter().map(say).collect();
        Error::SeveralClusters(all.join(", "))
    }
}
