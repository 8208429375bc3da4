//! Persisters that run with `-r` while their cluster is lost: what is decided at a start is decided
//! whenever a cluster is found.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use cairn_client::{Client, Revision, Uri};
use cairn_playground::world::{Port, Ports};
use cairn_sync_client::{Durability, keys};
use cairn_tests::{Lite, Process, attached, durable, eventually, journaled, persister, tree};

/// The exit status for "not the cluster that the journal followed", as `docs/operations.md` has it.
const NOT_OUR_CLUSTER: i32 = 20;

async fn identity(client: &Client) -> Result<Option<String>> {
    let file = client.get(keys::IDENTITY, None).await?;
    Ok(file.map(|file| String::from_utf8_lossy(&file.value).into_owned()))
}

/// An address at which one node after the other is started.
struct Place {
    port: Port,
    uri: Uri,
}

impl Place {
    fn take() -> Result<Self> {
        let port = Ports::default().port()?;
        let uri = Uri::from_address(&port.address())?;
        Ok(Self { port, uri })
    }

    /// A fresh, empty node.
    async fn node(&self) -> Result<(Lite, Client)> {
        let lite = Lite::start_at(&self.port.address())?;
        let client = lite.client().await?;
        Ok((lite, client))
    }
}

/// What the sync client was told to be on disk.
type Acknowledged = BTreeMap<String, (Revision, String)>;

async fn write(uri: &Uri, ids: &[u32], what: &str, told: &mut Acknowledged) -> Result<()> {
    let durability = Durability::new(ids, ids.len());
    let client = cairn_sync_client::Client::connect_durable(uri, durability).await?;
    for n in 0..40 {
        let (path, value) = (format!("/{what}/{}", n % 25), format!("{what} {n}"));
        let revision = client.set(&path, Revision::ANY, value.clone()).await?;
        told.insert(path, (revision, value));
    }
    Ok(())
}

fn logs(all: &[Process]) -> String {
    let logs: Vec<String> = all.iter().map(Process::log).collect();
    logs.join("\n---\n")
}

/// The story: all nodes died and came back empty while the persisters lived. Each ended with status
/// 20, advising `-r`, which it had, and its unit did not start it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_comes_back_empty_is_restored_by_those_that_run() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = |id: u32| scratch.path().join(id.to_string());
    let place = Place::take()?;
    let (mut lite, client) = place.node().await?;
    let mut told = Acknowledged::new();
    let mut all = Vec::new();
    for id in [1, 2, 3] {
        all.push(persister(id, &place.uri, &journal(id), &["-r"])?);
        attached(&client, id).await?;
    }
    write(&place.uri, &[1, 2, 3], "all", &mut told).await?;
    // Twice: also one that was restored is lost.
    for loss in ["first", "second"] {
        // One is held up, and sees it later than the others.
        all[1].halt()?;
        write(&place.uri, &[1, 3], loss, &mut told).await?;
        lite.process.kill()?;
        all[1].resume()?;
        let client;
        (lite, client) = place.node().await?;
        eventually("it is restored", || async {
            Ok(identity(&client).await?.filter(|now| now.contains(" kept")))
        })
        .await
        .with_context(|| logs(&all))?;
        let found = tree(&client).await?;
        ensure!(found.len() == told.len(), "{}", logs(&all));
        for (path, (revision, value)) in &told {
            let (now, body) = found.get(path).with_context(|| path.clone())?;
            ensure!(now == revision && body == value.as_bytes(), "{path}");
        }
        for id in [1, 2, 3] {
            attached(&client, id).await.with_context(|| logs(&all))?;
        }
        write(&place.uri, &[1, 2, 3], "after", &mut told).await?;
        for id in [1, 2, 3] {
            ensure!(journaled(&journal(id))? == tree(&client).await?);
        }
    }
    for process in &mut all {
        process.end_in_order()?;
    }
    Ok(())
}

/// The story that must not be: the address leads to another cluster by now, and that one is filled
/// with keys of ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_another_one_is_left_alone_by_those_that_run() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    for (n, (path, value)) in [
        // Somebody has just named it, and nobody has written to it.
        (keys::IDENTITY, "another"),
        // Somebody restores another one there.
        (
            keys::IDENTITY,
            "another from elsewhere at 9 bidding j for 60s",
        ),
        // Somebody uses it without persisters.
        ("/theirs", "x"),
    ]
    .into_iter()
    .enumerate()
    {
        let place = Place::take()?;
        let (mut lite, client) = place.node().await?;
        let journal = scratch.path().join(n.to_string());
        let mut process = persister(1, &place.uri, &journal, &["-r"])?;
        let mut last = Revision::MISSING;
        for n in 0..50 {
            last = client.set(&format!("/{n}"), Revision::ANY, "x").await?;
        }
        durable(&client, 1, last).await?;
        process.halt()?;
        lite.process.kill()?;
        let (_lite, client) = place.node().await?;
        let written = client.set(path, Revision::MISSING, value).await?;
        process.resume()?;
        process.ends_with(NOT_OUR_CLUSTER)?;
        ensure!(client.rev().await? == written, "{}", process.log());
    }
    Ok(())
}

/// The story that must not be: one of several nodes was started anew, as a cluster of its own, and
/// was filled while the cluster lived on the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_a_cluster_of_its_own_is_not_filled_while_others_live() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (place, other) = (Place::take()?, Place::take()?);
    let (mut lite, client) = place.node().await?;
    let both = format!(
        "doozer:?ca={}&ca={}",
        place.port.address(),
        other.port.address()
    );
    let journal = scratch.path().join("1");
    let journal = journal.to_str().context("a test directory is UTF-8")?;
    let args = ["--id", "1", "-a", &both, "-j", journal, "-r"];
    let mut process = Process::start("persister", args)?;
    attached(&client, 1).await?;
    let last = client.set("/a", Revision::ANY, "x").await?;
    durable(&client, 1, last).await?;
    let name = identity(&client).await?.context("it has a name")?;
    process.halt()?;
    lite.process.kill()?;
    // As far as anybody can tell, these are a node that lives and one that was started anew.
    let (_living, living) = other.node().await?;
    living.set(keys::IDENTITY, Revision::MISSING, name).await?;
    while living.rev().await? < Revision(last.0 + 50) {
        living.nop().await?;
    }
    let (_anew, anew) = place.node().await?;
    let before = anew.rev().await?;
    process.resume()?;
    attached(&living, 1).await.with_context(|| process.log())?;
    ensure!(anew.rev().await? == before, "{}", process.log());
    // Nor by one that is started now.
    process.end_in_order()?;
    let mut process = Process::start("persister", args)?;
    let written = living.set("/b", Revision::ANY, "x").await?;
    durable(&living, 1, written)
        .await
        .with_context(|| process.log())?;
    ensure!(anew.rev().await? == before, "{}", process.log());
    process.end_in_order()?;
    Ok(())
}

/// The story: two nodes that are no cluster were named, the persister gave the first a name, and
/// journaled the second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_of_several_clusters_are_refused() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (one, other) = (Place::take()?, Place::take()?);
    let ((_one, client), (_other, _)) = (one.node().await?, other.node().await?);
    let both = format!(
        "doozer:?ca={}&ca={}",
        one.port.address(),
        other.port.address()
    );
    let journal = scratch.path().join("1");
    let path = journal.to_str().context("a test directory is UTF-8")?;
    client.set("/a", Revision::ANY, "x").await?;
    let args = ["--id", "1", "-a", &both, "-j", path];
    let mut process = Process::start("persister", args)?;
    let said = process.ends_with(NOT_OUR_CLUSTER)?;
    ensure!(
        said.contains("do not lead to one cluster") && said.contains(&one.port.address()),
        "{said}"
    );
    ensure!(journaled(&journal)?.is_empty(), "it has journaled");
    Ok(())
}
