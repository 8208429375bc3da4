//! The commands of `docs/protocol.md`, as they stand there: others may wait for persisters and act
//! as one, too, with `etcdctl` alone.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cairn_etcd::wire::{DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest};
use cairn_protocol::keys;
use cairn_sync_client::Durability;
use cairn_tests::{DEADLINE, Process, eventually};

use crate::cluster::{Etcd, connect, journaled, put, watermark};

/// The commands below a heading.
fn commands(heading: &str) -> Result<String> {
    const TEXT: &str = include_str!("../../../docs/protocol.md");
    let below = TEXT.split(&format!("\n### {heading}\n")).nth(1);
    let block = below.and_then(|below| below.split("\n```sh\n").nth(1));
    let block = block.and_then(|block| block.split("\n```\n").next());
    let block = block.with_context(|| format!("no commands below {heading:?}"))?;
    Ok(block.to_owned())
}

/// Starts them, as in a shell of somebody who works with this cluster.
fn shell(etcd: &Etcd, heading: &str, directory: &Path) -> Result<Process> {
    let mut command = Command::new("sh");
    command.arg("-c").arg(commands(heading)?);
    command.current_dir(directory);
    command.env("ETCDCTL_API", "3");
    let endpoint = format!("127.0.0.1:{}", etcd.members[0].port());
    command.env("ETCDCTL_ENDPOINTS", endpoint);
    if let Some(programs) = std::env::var_os("CAIRN_ETCD") {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(programs.into()).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(all)?);
    }
    Process::spawn("sh", &command)
}

const WAITING: &str = "Waiting, with `etcdctl`";
const PERSISTER: &str = "A persister, with `etcdctl`";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shell_waits_for_a_persister() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let etcd = Etcd::start(1)?;
    let mut process = etcd.persister(1, &journal, &[])?;
    let session = etcd.session().await?;
    put(&session, "first", "x").await?;
    eventually("the persister is there", || async {
        Ok(watermark(&session, 1).await?.map(drop))
    })
    .await?;
    let mut waiting = shell(&etcd, WAITING, scratch.path())?;
    let said = waiting.line_on_stdout()?;
    waiting.ends_with(0)?;
    let at: i64 = said.trim().rsplit(' ').next().context("a word")?.parse()?;
    process.kill()?;
    let found = journaled(&journal)?;
    ensure!(
        found.get(&at) == Some(&vec![("/users/7".into(), Some("Ada".into()))]),
        "{said}"
    );

    // Nobody confirms the next one; and once the cluster is another one, nobody can.
    let mut waiting = shell(&etcd, WAITING, scratch.path())?;
    eventually("it is put again", || async {
        let found = session.call(RangeRequest::key("/users/7")).await?.kvs;
        Ok((found[0].mod_revision > at).then_some(()))
    })
    .await?;
    ensure!(waiting.ended()?.is_none(), "{}", waiting.log());
    let newest = session.call(RangeRequest::key("/users/7")).await?.kvs[0].mod_revision;
    let another = TxnRequest {
        success: vec![
            PutRequest::new(keys::IDENTITY, "another").into(),
            PutRequest::new(keys::watermark(1), newest.to_string()).into(),
        ],
        ..TxnRequest::default()
    };
    session.call(another).await?;
    waiting.ends_with(1)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shell_is_a_persister() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let etcd = Etcd::start(1)?;
    let mut persister = shell(&etcd, PERSISTER, scratch.path())?;
    let policy = Durability {
        timeout: DEADLINE,
        ..Durability::new([7], 1)
    };
    let client = connect(&etcd.uri, policy).await?;
    let confirmed = async {
        for at in 0..5 {
            client.put(PutRequest::new(format!("k{at}"), "v")).await?;
        }
        client.delete(DeleteRangeRequest::prefix("k")).await
    };
    let deleted = confirmed.await.with_context(|| persister.log())?;
    ensure!(deleted.deleted == 5);
    persister.kill()?;
    let journal = std::fs::read_to_string(scratch.path().join("journal-7"))?;
    // k0 to k4 in base64, put and deleted.
    for key in ["azA=", "azE=", "azI=", "azM=", "azQ="] {
        ensure!(journal.matches(key).count() == 2, "{key}: {journal}");
    }
    // Its lease goes with it: nobody renews it any more.
    let session = etcd.session().await?;
    let wait = tokio::time::timeout(DEADLINE, async {
        loop {
            let owner = session.call(RangeRequest::key(keys::owner(7))).await?;
            if owner.kvs.is_empty() {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    wait.await.context("its owner key stays")?
}
