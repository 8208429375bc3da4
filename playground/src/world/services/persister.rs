//! A persister, beside a cluster or with one of its own.

use std::path::PathBuf;

use crate::world::error::Result;
use crate::world::ports::Port;
use crate::world::process::Launch;
use crate::world::services::probe::answers_http;
use crate::world::services::program::Program;
use crate::world::services::service::{Look, Place, Service};

/// Which cluster a persister follows.
#[derive(Clone, Debug)]
pub enum Cluster {
    /// The one in its own process, which listens at this port.
    Embedded(Port),
    /// The nodes at these ports.
    Nodes(Vec<Port>),
    /// The members of etcd at these ports; the first is asked first.
    Etcd(Vec<Port>),
    /// Whatever this URI says.
    Uri(String),
}

impl Cluster {
    /// Where clients find it.
    #[must_use]
    pub fn uri(&self) -> String {
        let nodes = |ports: &[Port]| {
            let nodes: Vec<String> = ports
                .iter()
                .map(|port| format!("ca={}", port.address()))
                .collect();
            format!("doozer:?{}", nodes.join("&"))
        };
        match self {
            Self::Embedded(port) => nodes(std::slice::from_ref(port)),
            Self::Nodes(ports) => nodes(ports),
            Self::Etcd(ports) => {
                let members: Vec<String> = ports.iter().map(Port::address).collect();
                format!("etcd://{}", members.join(","))
            }
            Self::Uri(uri) => uri.clone(),
        }
    }
}

/// A persister. Its journal is `journal` in its directory.
#[derive(Clone, Debug)]
pub struct Persister {
    /// How to call it.
    pub program: Program,
    /// Its number.
    pub id: u32,
    /// What it follows.
    pub cluster: Cluster,
    /// Where it serves metrics and health.
    pub observe: Port,
    /// Further arguments.
    pub args: Vec<String>,
}

impl Persister {
    /// The journal's directory.
    #[must_use]
    pub fn journal(place: &Place) -> PathBuf {
        place.directory.join("journal")
    }
}

impl Service for Persister {
    fn name(&self) -> &'static str {
        "persister"
    }

    fn launch(&self, place: &Place) -> Result<Launch> {
        let launch = self.program.launch(self.name(), place);
        let launch = launch.args(["--id", &self.id.to_string()]);
        let launch = match &self.cluster {
            Cluster::Embedded(port) => launch.args(["--embedded", "-l", &port.address()]),
            beside => launch.args(["-a", &beside.uri()]),
        };
        let launch = launch.args(["-j".into(), Self::journal(place).into_os_string()]);
        Ok(launch
            .args(["--listen", &self.observe.address()])
            .args(&self.args))
    }

    fn is_ready(&self) -> Look<'_> {
        Box::pin(async { answers_http(&self.observe.address(), "/readyz").await })
    }

    fn ports(&self) -> Vec<&Port> {
        let embedded = match &self.cluster {
            Cluster::Embedded(port) => Some(port),
            _ => None,
        };
        embedded.into_iter().chain([&self.observe]).collect()
    }
}
