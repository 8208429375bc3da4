//! What a drill's machines are made of.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::drill::deal::Deal;
use crate::drill::options::Shape;
use crate::world::services::etcd::EtcdMember;
use crate::world::services::program::Program;

/// What a drill's machines are made of.
pub(super) struct Plan<'a> {
    pub(super) shape: Shape,
    /// Members of each cluster of etcd.
    pub(super) nodes: u32,
    /// How clients are dealt out, and to how many clusters.
    pub(super) deal: Deal,
    /// Proxies before the members of etcd, and one more before those.
    pub(super) proxies: u32,
    /// Whether machines will be cut off from each other.
    pub(super) cuts: bool,
    /// The directory of another etcd than the installed one.
    pub(super) etcd: Option<&'a Path>,
    pub(super) persisters: u32,
    pub(super) timeout: Duration,
    /// How often servers are checked.
    pub(super) every: Duration,
    pub(super) writers: u32,
    pub(super) keys: usize,
    /// Whether clients wait for one more persister, and that lies.
    pub(super) liar: bool,
    pub(super) keep: Option<&'a Path>,
}

impl Plan<'_> {
    /// How many honest persisters there are.
    pub(super) fn persisters(&self) -> u32 {
        match self.shape {
            Shape::Embedded => 1,
            Shape::Lite | Shape::Etcd => self.persisters,
        }
    }

    /// For which persisters a client waits, as a URI says it.
    pub(super) fn durability(&self, client: u32) -> String {
        let (last, policy) = (self.persisters(), self.deal.policy(client));
        let (ids, require) = match self.liar {
            true => ((last + 1).to_string(), 1),
            false => {
                let ids: Vec<String> = (1..=last.min(policy.of)).map(|id| id.to_string()).collect();
                (ids.join(","), policy.require.min(last))
            }
        };
        let begin = if self.shape == Shape::Etcd { '?' } else { '&' };
        format!("{begin}persist={ids}&require={require}")
    }
}

/// What a service is called on a machine that runs one of its kind for each cluster.
pub(super) fn called(kind: &str, cluster: usize) -> String {
    match cluster {
        0 => kind.to_owned(),
        n => format!("{kind}-{}", n + 1),
    }
}

/// The server, and the tool that makes members from snapshots, which is `etcdutl` from 3.5 on.
pub(super) fn etcd_programs(directory: Option<&Path>) -> Result<(Program, Program)> {
    let Some(directory) = directory else {
        let hint = "on Debian and Ubuntu: apt install etcd-client";
        let tool = Program::installed("etcdutl", hint);
        let tool = tool.or_else(|_| Program::installed("etcdctl", hint))?;
        return Ok((EtcdMember::installed()?, tool));
    };
    let directory = std::path::absolute(directory)?;
    let find = |names: &[&str]| -> Result<Program> {
        let at = directory.display();
        let mut paths = names.iter().map(|name| directory.join(name));
        let found: Option<PathBuf> = paths.find(|path| path.is_file());
        let none = || format!("there is no {} in {at}", names.join(" or "));
        Ok(Program::at(found.with_context(none)?))
    };
    Ok((find(&["etcd"])?, find(&["etcdutl", "etcdctl"])?))
}
