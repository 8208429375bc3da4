//! What runs on machines: how each program is started, and when it is ready.

mod etcd;
mod haproxy;
mod node;
mod persister;
mod probe;

use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

pub use etcd::{EtcdCluster, EtcdMember};
pub use haproxy::Haproxy;
pub use node::Lite;
pub use persister::{Cluster, Persister};
pub use probe::{answers_http, http_body, listens};

use super::error::{Error, Result};
use super::ports::Port;
use super::process::{Launch, Process};

/// How long a service may take to become ready, unless it says otherwise.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long a service may take to end, unless it says otherwise.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Where a service of a machine lives.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its disk, and its working directory: what a wipe deletes.
    pub directory: PathBuf,
    /// Its log, which survives a wipe.
    pub log: PathBuf,
}

/// A future in a box, so that services of different kinds stand in one list.
pub type Look<'a> = Pin<Box<dyn Future<Output = bool> + std::marker::Send + 'a>>;

/// A program that a machine runs.
pub trait Service: fmt::Debug + std::marker::Send + Sync {
    /// Its name within its machine; a part of file names.
    fn name(&self) -> &str;

    /// How to start it now. The working directory and the name are set by the machine.
    ///
    /// # Errors
    /// What cannot be prepared.
    fn launch(&self, place: &Place) -> Result<Launch>;

    /// Told of each new process, before it is waited for: the moment to take its pipes.
    fn launched(&self, _process: &Process) {}

    /// Whether it serves. Looked again and again, so it must not take long.
    fn is_ready(&self) -> Look<'_>;

    /// The ports that it listens on: others after it was replaced.
    fn ports(&self) -> Vec<&Port>;

    /// How long it may take to become ready.
    fn start_limit(&self) -> Duration {
        START_LIMIT
    }

    /// How long it may take to end once it was signalled. After SIGKILL that is for the kernel alone.
    fn end_limit(&self) -> Duration {
        END_LIMIT
    }
}

/// How to call a program: its path, and the first arguments where it is one of several in a binary.
#[derive(Clone, Debug)]
pub struct Program {
    /// The executable.
    pub path: OsString,
    /// Its first arguments.
    pub args: Vec<OsString>,
}

impl Program {
    /// An executable of its own.
    pub fn at(path: impl Into<OsString>) -> Self {
        Self {
            path: path.into(),
            args: Vec::new(),
        }
    }

    /// A hidden subcommand of an executable.
    pub fn within(path: impl Into<OsString>, subcommand: &str) -> Self {
        Self {
            path: path.into(),
            args: vec![subcommand.into()],
        }
    }

    /// An executable of this name in a directory of `PATH`, or where Debian keeps servers.
    ///
    /// # Errors
    /// [`Error::NotInstalled`], with how to install it.
    pub fn installed(name: &str, hint: &'static str) -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let servers = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
        let found = std::env::split_paths(&path)
            .chain(servers)
            .map(|directory| directory.join(name))
            .find(|program| program.is_file());
        let not = || Error::NotInstalled {
            program: name.to_owned(),
            hint,
        };
        Ok(Self::at(found.ok_or_else(not)?))
    }

    pub(super) fn launch(&self, name: &str, place: &Place) -> Launch {
        Launch::new(name, &self.path, &place.log).args(self.args.iter().cloned())
    }
}
