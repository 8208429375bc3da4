//! A lost cluster of etcd comes back from one journal: `persister restore --to-snapshot` makes a
//! snapshot, and etcd's own tool makes members from it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::drill::cluster::Machines;
use crate::drill::plan::called;
use crate::tool;
use crate::world::machine::Machine;
use crate::world::process::Launch;

/// How long reading a journal, and writing a snapshot from it, may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What `persister restore --to-snapshot --json` prints, as far as it is of interest.
#[derive(Debug, Deserialize)]
struct Printed {
    newest: i64,
    revision: i64,
    keys: u64,
    hash: String,
}

/// Makes the data of all members from the journal that reaches farthest. Says what was done.
///
/// A cluster of another kind needs nothing: its persisters restore it when they are started.
pub(super) async fn restore(machines: &Machines, seamless: bool) -> Result<String> {
    let Some(etcd) = &machines.etcd else {
        return Ok("restore: persisters do it when they start".to_owned());
    };
    let mut done = Vec::new();
    for (cluster, members) in etcd.clusters.iter().enumerate() {
        let (file, says) = snapshot(machines, cluster, seamless).await?;
        let guard = &machines.programs.guard;
        members.restore(&file, &etcd.tool, guard).await?;
        done.push(says);
    }
    Ok(done.join("; "))
}

/// Makes a snapshot of a cluster, and says from what.
async fn snapshot(
    machines: &Machines,
    cluster: usize,
    seamless: bool,
) -> Result<(PathBuf, String)> {
    let mut farthest: Option<(i64, &Machine)> = None;
    for persister in machines.honest() {
        if !journal(persister, cluster).is_some_and(|journal| journal.exists()) {
            continue;
        }
        let file = machines.world.directory().join("dry-run.db");
        let newest = persister_restore(machines, persister, cluster, &file, &["--dry-run"]).await?;
        if farthest.is_none_or(|(revision, _)| revision < newest.newest) {
            farthest = Some((newest.newest, persister));
        }
    }
    let (_, persister) = farthest.context("no persister has a journal")?;
    let file = machines.world.directory().join("lost.db");
    if file.exists() {
        std::fs::remove_file(&file)?;
    }
    let how: &[&str] = if seamless { &["--seamless"] } else { &[] };
    let Printed {
        newest,
        revision,
        keys,
        hash,
    } = persister_restore(machines, persister, cluster, &file, how).await?;
    let says = format!(
        "restore from {}: {keys} keys, hash {hash}, up to revision {newest}; the cluster goes on \
         at {revision}",
        persister.name()
    );
    Ok((file, says))
}

pub(super) fn journal(machine: &Machine, cluster: usize) -> Option<PathBuf> {
    let directory = machine.directory_of(&called("persister", cluster))?;
    Some(directory.join("journal"))
}

async fn persister_restore(
    machines: &Machines,
    persister: &Machine,
    cluster: usize,
    file: &Path,
    how: &[&str],
) -> Result<Printed> {
    let journal = journal(persister, cluster).context("a persister has a journal")?;
    let name = persister.name();
    let log = machines
        .world
        .directory()
        .join(format!("{name}.restore.log"));
    let program = &machines.programs.persister;
    let launch = Launch::new("persister restore", &program.path, log)
        .args(program.args.iter().cloned())
        .args(["restore", "--json", "-j"])
        .args([
            journal.as_os_str(),
            "--to-snapshot".as_ref(),
            file.as_os_str(),
        ])
        .args(how);
    let printed = tool::run(launch, &machines.programs.guard, LIMIT).await?;
    ensure!(
        !printed.is_empty(),
        "persister restore of {name} said nothing"
    );
    serde_json::from_str(&printed).with_context(|| printed)
}
