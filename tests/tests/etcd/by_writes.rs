//! A lost cluster of etcd comes back by writes, as much as they can, where somebody asks for that.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cairn_etcd::Session;
use cairn_etcd::wire::{
    DeleteRangeRequest, KeyValue, LeaseGrantRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest,
    PutRequest, RangeRequest, TxnRequest,
};
use cairn_journal::{Journal, NewRecord, Options, Timestamp};
use cairn_tests::{Lite, goes_on, journaled, persister, program, restored, tree};
use serde_json::Value;

use crate::cluster::{Etcd, durable, live, put, restore_is_over, revision};

type Given = BTreeMap<String, Bytes>;

/// A lease that lives when everything is lost, and one that had ended.
const ALIVE: i64 = 0x51;
const ENDED: i64 = 0x52;

fn leased(key: &str, lease: i64) -> PutRequest {
    PutRequest {
        lease,
        ..PutRequest::new(key.to_owned(), "leased")
    }
}

/// Some history of a living cluster. Returns the revision before the lease ended, and the last.
async fn write(session: &Session) -> Result<(i64, i64)> {
    for (id, ttl) in [(ALIVE, 600), (ENDED, 500)] {
        session.call(LeaseGrantRequest { ttl, id }).await?;
    }
    for at in 0..30 {
        let key = |n: i32| Bytes::from(vec![b'k', u8::try_from((at + n) % 9).unwrap_or(0), 0xff]);
        let puts = (0..3).map(|n| PutRequest::new(key(n), at.to_string()).into());
        let txn = TxnRequest {
            success: puts.collect(),
            ..TxnRequest::default()
        };
        session.call(txn).await?;
    }
    session.call(leased("alive", ALIVE)).await?;
    let before = revision(session.call(leased("ended", ENDED)).await?.header)?;
    session.call(LeaseRevokeRequest { id: ENDED }).await?;
    session
        .call(DeleteRangeRequest::key(&b"k\x03\xff"[..]))
        .await?;
    Ok((before, put(session, "last", "one").await?))
}

/// What writes give back of a key.
fn given(keys: &[KeyValue]) -> Vec<(Bytes, i64, Bytes, i64)> {
    let given = keys.iter();
    given
        .map(|key| {
            (
                key.key.clone(),
                key.mod_revision,
                key.value.clone(),
                key.lease,
            )
        })
        .collect()
}

fn restore(journal: &Path, uri: &str, args: &[&str]) -> Result<Output> {
    Ok(Command::new(program("persister")?)
        .args(["restore", "--json", "-a", uri, "-j"])
        .arg(journal)
        .args(args)
        .output()?)
}

fn reported(output: &Output) -> Result<Value> {
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).with_context(|| said.into_owned())
}

/// `-r` alone leaves an empty cluster as it is and says what to do; `-r api` fills it, its leases
/// and the revisions of several keys among it; and an older state comes without what had ended.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_cluster_is_filled_by_writes_only_where_that_is_asked_for() -> Result<()> {
    let mut etcd = Etcd::start(1)?;
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let mut process = etcd.persister(1, &journal, &[])?;
    let session = etcd.session().await?;
    let (older, last) = write(&session).await?;
    durable(&session, 1, last)
        .await
        .with_context(|| process.log())?;
    let before = live(&session).await?;
    process.end_in_order()?;
    // What has become of leases is told a while later: not before the persister's end, perhaps.
    let (open, _) = Journal::open(&journal, Options::default())?;
    for (id, ttl) in [(ALIVE, Some(600)), (ENDED, None)] {
        let at = open.end().revision;
        open.append(NewRecord::lease(at, id, ttl, Timestamp::now()))?;
    }
    open.close()?;

    etcd.wipe()?;
    etcd.start_again()?;
    let mut process = etcd.persister(1, &journal, &["-r"])?;
    let status = process.wait()?;
    let log = process.log();
    ensure!(status.code() == Some(26), "{status}: {log}");
    ensure!(
        log.contains("persister restore -j") && log.contains("-r api"),
        "{log}"
    );
    let session = etcd.session().await?;
    let untouched = session.call(RangeRequest::all()).await?;
    ensure!(untouched.kvs.is_empty(), "{untouched:?}");

    let output = restore(&journal, &etcd.uri, &["--dry-run"])?;
    let report = reported(&output)?;
    ensure!(output.status.success(), "{report}");
    ensure!(
        report["outcome"] == "would-restore" && report["leases"].as_u64() >= Some(1),
        "{report}"
    );
    ensure!(report["forecast"]["skipped"] == 0, "{report}");

    let mut process = etcd.persister(1, &journal, &["-r", "api", "--restore-wait", "0s"])?;
    restore_is_over(&session, &process).await?;
    let now = live(&session).await?;
    ensure!(given(&now) == given(&before), "{now:?} and not {before:?}");
    let left = LeaseTimeToLiveRequest {
        id: ALIVE,
        keys: true,
    };
    let left = session.call(left).await?;
    ensure!(
        left.granted_ttl == 600 && left.keys == ["alive"],
        "{left:?}"
    );
    let next = put(&session, "after", "x").await?;
    ensure!(next > last);
    durable(&session, 1, next)
        .await
        .with_context(|| process.log())?;
    process.end_in_order()?;
    ensure!(
        process
            .log()
            .contains("Create revisions and versions begin anew"),
        "{}",
        process.log()
    );

    // The living cluster, and what its lease took along.
    let at = older.to_string();
    let args = ["--merge", "--prefix", "ended", "--at-revision", &at];
    let output = restore(&journal, &etcd.uri, &args)?;
    let report = reported(&output)?;
    ensure!(output.status.success(), "{report}");
    ensure!(
        report["outcome"] == "merged" && report["detached-keys"][0] == "ended",
        "{report}"
    );
    let ended = session.call(RangeRequest::key("ended")).await?;
    ensure!(ended.kvs.len() == 1 && ended.kvs[0].lease == 0, "{ended:?}");
    Ok(())
}

/// A journal of etcd restores into doozer, follows it, and restores into etcd again. Before the
/// first write it is said what does not fit.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_one_engine_restores_into_the_other() -> Result<()> {
    let mut etcd = Etcd::start(1)?;
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let mut process = etcd.persister(1, &journal, &[])?;
    let session = etcd.session().await?;
    // A fresh doozer has some revisions of its own.
    for at in 0..80 {
        put(&session, "/app/often", &at.to_string()).await?;
    }
    for at in 0..10 {
        put(&session, &format!("/app/{at}"), &at.to_string()).await?;
    }
    let (id, ttl) = (ALIVE, 600);
    session.call(LeaseGrantRequest { ttl, id }).await?;
    session.call(leased("/app/leased", ALIVE)).await?;
    let odd = put(&session, "no path", "x").await?;
    durable(&session, 1, odd)
        .await
        .with_context(|| process.log())?;

    let lite = Lite::start()?;
    let [address] = &lite.uri.addresses[..] else {
        anyhow::bail!("one address: {:?}", lite.uri);
    };
    let uri = format!("doozer:?ca={address}");
    let output = restore(&journal, &uri, &[])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(27), "{said}");
    ensure!(
        said.contains("no path") && said.contains("Nothing was written"),
        "{said}"
    );
    let client = lite.client().await?;
    ensure!(tree(&client).await?.is_empty(), "nothing was written");

    let deleted = session.call(DeleteRangeRequest::key("no path")).await?;
    durable(&session, 1, revision(deleted.header)?)
        .await
        .with_context(|| process.log())?;
    process.end_in_order()?;
    let before = values(&live(&session).await?);
    etcd.wipe()?;
    let report = reported(&restore(&journal, &uri, &["--dry-run"])?)?;
    ensure!(report["detached-keys"][0] == "/app/leased", "{report}");

    let mut process = persister(1, &lite.uri, &journal, &["-r", "--restore-wait", "0s"])?;
    restored(&client).await.with_context(|| process.log())?;
    let there = tree(&client).await?.into_iter();
    let there: Given = there.map(|(path, (_, value))| (path, value)).collect();
    ensure!(there == before, "{there:?} and not {before:?}");
    goes_on(&process, &client, "/app/of-doozer").await?;
    process.end_in_order()?;
    let before = journaled(&journal)?.into_iter();
    let before: Given = before.map(|(path, (_, value))| (path, value)).collect();
    drop(lite);

    etcd.start_again()?;
    let mut process = etcd.persister(1, &journal, &["-r", "api", "--restore-wait", "0s"])?;
    let session = etcd.session().await?;
    restore_is_over(&session, &process).await?;
    let there = values(&live(&session).await?);
    ensure!(there == before, "{there:?} and not {before:?}");
    let next = put(&session, "/app/of-etcd", "x").await?;
    durable(&session, 1, next)
        .await
        .with_context(|| process.log())?;
    process.end_in_order()
}

fn values(keys: &[KeyValue]) -> Given {
    let keys = keys.iter();
    keys.map(|key| {
        (
            String::from_utf8_lossy(&key.key).into_owned(),
            key.value.clone(),
        )
    })
    .collect()
}
