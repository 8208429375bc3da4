//! What a playground's nodes are, and what follows from that.

use clap::ValueEnum;

use crate::world::ports::Port;
use crate::world::services::persister::Cluster;

/// What the nodes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// One node that keeps everything in memory; nothing has to be installed
    DoozerLite,
    /// Members of etcd, which has to be installed
    Etcd,
}

impl Engine {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::DoozerLite => "doozer-lite",
            Self::Etcd => "etcd",
        }
    }

    /// The nodes that listen here, as a cluster.
    pub(super) fn cluster(self, nodes: &[&Port]) -> Cluster {
        let nodes = nodes.iter().map(|port| (*port).clone()).collect();
        match self {
            Self::DoozerLite => Cluster::Nodes(nodes),
            Self::Etcd => Cluster::Etcd(nodes),
        }
    }

    /// A command that writes there.
    pub(super) fn client_command(self, nodes: &[&Port]) -> String {
        let uri = self.cluster(nodes).uri();
        match self {
            Self::DoozerLite => format!("printf hello | doozer -a '{uri}' set /by-hand -1"),
            Self::Etcd => {
                let endpoints: Vec<String> = nodes.iter().map(|port| port.address()).collect();
                let endpoints = endpoints.join(",");
                format!("ETCDCTL_API=3 etcdctl --endpoints {endpoints} put /by-hand hello")
            }
        }
    }
}
