//! Members of an etcd cluster.
//!
//! Only processes here. That a member which lost its disk must be removed and added again is for
//! those who drive the cluster: they change [`EtcdCluster`] before the next start.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::world::error::Result;
use crate::world::ports::Port;
use crate::world::process::Launch;
use crate::world::services::probe::answers_http;
use crate::world::services::program::Program;
use crate::world::services::service::{Look, Place, Service};

/// How a member of an empty cluster may take until there is a majority.
const START_LIMIT: Duration = Duration::from_secs(30);

/// What a member is told about its cluster. Clones are the same; a change counts from the next
/// start on.
#[derive(Clone, Debug)]
pub struct EtcdCluster(Arc<Mutex<Told>>);

#[derive(Debug)]
struct Told {
    token: String,
    existing: bool,
    members: Vec<(String, Port)>,
}

impl EtcdCluster {
    /// A new cluster of these members: name and peer port of each. Another token makes another
    /// cluster.
    #[must_use]
    pub fn new(token: &str, members: Vec<(String, Port)>) -> Self {
        Self(Arc::new(Mutex::new(Told {
            token: token.to_owned(),
            existing: false,
            members,
        })))
    }

    /// From the next start on, a member joins a cluster that exists, of these members.
    pub fn joins(&self, members: Vec<(String, Port)>) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.existing = true;
        told.members = members;
    }

    /// From the next start on, these members, with empty disks, form a new cluster.
    pub fn begins_anew(&self, token: &str, members: Vec<(String, Port)>) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *told = Told {
            token: token.to_owned(),
            existing: false,
            members,
        };
    }

    fn args(&self) -> [String; 6] {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let members = told.members.iter();
        let members = members.map(|(name, peer)| format!("{name}=http://{}", peer.address()));
        let state = if told.existing { "existing" } else { "new" };
        [
            "--initial-cluster".to_owned(),
            members.collect::<Vec<_>>().join(","),
            "--initial-cluster-state".to_owned(),
            state.to_owned(),
            "--initial-cluster-token".to_owned(),
            told.token.clone(),
        ]
    }
}

/// A member.
#[derive(Clone, Debug)]
pub struct EtcdMember {
    /// How to call etcd.
    pub program: Program,
    /// Its name in the cluster.
    pub name: String,
    /// Where clients reach it.
    pub client: Port,
    /// Where the other members reach it.
    pub peer: Port,
    /// Where it listens to them, if something that can be cut stands between.
    pub behind: Option<Port>,
    /// What it is told about the cluster.
    pub cluster: EtcdCluster,
    /// Further arguments.
    pub args: Vec<String>,
}

impl EtcdMember {
    /// The installed etcd.
    ///
    /// # Errors
    /// If there is none.
    pub fn installed() -> Result<Program> {
        Program::installed("etcd", "on Debian and Ubuntu: apt install etcd-server")
    }

    /// Where its data are.
    #[must_use]
    pub fn data(directory: &Path) -> PathBuf {
        directory.join("data")
    }

    fn listens(&self) -> &Port {
        self.behind.as_ref().unwrap_or(&self.peer)
    }
}

impl Service for EtcdMember {
    fn name(&self) -> &'static str {
        "etcd"
    }

    fn launch(&self, place: &Place) -> Result<Launch> {
        let client = format!("http://{}", self.client.address());
        let listens = format!("http://{}", self.listens().address());
        let peer = format!("http://{}", self.peer.address());
        let launch = self.program.launch(self.name(), place);
        let launch = launch.args(["--name", &self.name]);
        let launch = launch.args([
            "--data-dir".into(),
            Self::data(&place.directory).into_os_string(),
        ]);
        let launch = launch.args([
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
        ]);
        let launch = launch.args([
            "--listen-peer-urls",
            &listens,
            "--initial-advertise-peer-urls",
            &peer,
        ]);
        Ok(launch.args(self.cluster.args()).args(&self.args))
    }

    /// Ready when its cluster has a leader: so members of a new cluster are started side by side.
    fn is_ready(&self) -> Look<'_> {
        Box::pin(async { answers_http(&self.client.address(), "/health").await })
    }

    fn ports(&self) -> Vec<&Port> {
        vec![&self.client, self.listens()]
    }

    fn start_limit(&self) -> Duration {
        START_LIMIT
    }
}
