//! The main job on etcd: what was acknowledged survives the loss of every member.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cairn_etcd::Session;
use cairn_etcd::wire::{
    DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RangeRequest,
    TxnRequest, WatchCreateRequest,
};
use cairn_protocol::keys;
use cairn_tests::{program, seeded, setting};
use futures::StreamExt as _;

use crate::cluster::{Etcd, History, durable, journaled, put, revision, same, take_in};

const WRITERS: u8 = 8;

/// How many writes are acknowledged before everything is killed.
const ACKNOWLEDGED: usize = 400;

/// Keys of a range that is deleted at once: more than one message has.
const RANGE: usize = 10_000;

/// Puts, changes and deletes keys of its own, one revision of one to five keys at a time, until the
/// cluster dies under it. `newest` is told each revision whose durability was seen.
async fn write(
    session: Session,
    number: u8,
    mut random: fastrand::Rng,
    acknowledged: Arc<AtomicUsize>,
    newest: Arc<AtomicI64>,
) -> Result<()> {
    loop {
        let first = random.u8(..);
        let operation = |at: u8, random: &mut fastrand::Rng| {
            // Any bytes.
            let key = Bytes::from(vec![number, first.wrapping_add(at), 0, 0xff]);
            if random.u8(..4) == 0 {
                return DeleteRangeRequest::key(key).into();
            }
            let length = random.usize(..2_000);
            let value: Bytes = (0..length).map(|_| random.u8(..)).collect();
            PutRequest::new(key, value).into()
        };
        let count = random.u8(1..=5);
        let txn = TxnRequest {
            success: (0..count).map(|at| operation(at, &mut random)).collect(),
            ..TxnRequest::default()
        };
        let Ok(answer) = session.call(txn).await else {
            return Ok(());
        };
        // A transaction that changed nothing has no revision to wait for.
        if answer.changed() {
            let at = revision(answer.header)?;
            if durable(&session, 1, at).await.is_err() {
                return Ok(());
            }
            newest.fetch_max(at, Ordering::AcqRel);
        }
        acknowledged.fetch_add(1, Ordering::AcqRel);
    }
}

/// What no writer does at random.
async fn write_large_things(session: &Session) -> Result<i64> {
    let large = Bytes::from(vec![7; 1_400_000]);
    session.call(PutRequest::new("large", large)).await?;
    let granted = session.call(LeaseGrantRequest { ttl: 60, id: 0 }).await?;
    for at in 0..20 {
        let leased = PutRequest {
            lease: granted.id,
            ..PutRequest::new(format!("leased/{at}"), "x")
        };
        session.call(leased).await?;
    }
    session.call(LeaseRevokeRequest { id: granted.id }).await?;
    for first in (0..RANGE).step_by(100) {
        let key = |at| format!("range/{at:0>60}");
        let puts = (first..first + 100).map(|at| PutRequest::new(key(at), "").into());
        let txn = TxnRequest {
            success: puts.collect(),
            ..TxnRequest::default()
        };
        session.call(txn).await?;
    }
    let deleted = session.call(DeleteRangeRequest::prefix("range/")).await?;
    ensure!(usize::try_from(deleted.deleted)? == RANGE, "{deleted:?}");
    revision(deleted.header)
}

/// Everything that happens, until the cluster dies.
async fn listen(session: Session) -> Result<History> {
    let mut history = History::new();
    let mut watch = session.watch(WatchCreateRequest::all(2)).await?;
    while let Some(Ok(batch)) = watch.next().await {
        for event in batch.events {
            take_in(&mut history, event)?;
        }
    }
    Ok(history)
}

async fn lose_everything(members: usize) -> Result<()> {
    let mut random = seeded("the loss of every member")?;
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let mut etcd = Etcd::start(members)?;
    let mut process = etcd.persister(1, &journal, &[])?;
    let session = etcd.session().await?;
    let first = put(&session, "first", "x").await?;
    durable(&session, 1, first)
        .await
        .with_context(|| process.log())?;
    let listening = tokio::spawn(listen(etcd.session().await?));

    let large = write_large_things(&session).await?;
    durable(&session, 1, large)
        .await
        .with_context(|| process.log())?;
    let (acknowledged, newest) = (Arc::default(), Arc::new(AtomicI64::new(large)));
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        let (acknowledged, newest) = (Arc::clone(&acknowledged), Arc::clone(&newest));
        let session = etcd.session().await?;
        writers.push(tokio::spawn(write(
            session,
            number,
            random.fork(),
            acknowledged,
            newest,
        )));
    }
    let enough = setting("CAIRN_ACKNOWLEDGED", ACKNOWLEDGED)?;
    cairn_tests::eventually("enough is acknowledged", || async {
        Ok((acknowledged.load(Ordering::Acquire) >= enough).then_some(()))
    })
    .await
    .with_context(|| process.log())?;
    etcd.wipe()?;
    for writer in writers {
        writer.await??;
    }
    process.end_in_order()?;

    let (told, newest) = (listening.await??, newest.load(Ordering::Acquire));
    let found = journaled(&journal)?;
    same(&told, &found, 2, newest)?;
    let largest = found.values().map(Vec::len).max();
    ensure!(largest >= Some(RANGE), "{largest:?} keys at once");
    println!("{newest} revisions, {} with changes", found.len());

    let output = Command::new(program("dumpjournal")?)
        .arg(&journal)
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        text.contains("leased/19"),
        "dumpjournal does not show what was journaled"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_member_is_lost_and_nothing_that_was_acknowledged() -> Result<()> {
    lose_everything(1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_are_lost_and_nothing_that_was_acknowledged() -> Result<()> {
    lose_everything(3).await
}

/// What lives outside the control area: each key with its revision and value.
async fn live(session: &Session) -> Result<Vec<(Bytes, i64, Bytes)>> {
    let all = session.call(RangeRequest::all()).await?.kvs.into_iter();
    let data = all.filter(|key| !key.key.starts_with(keys::FLAT_ROOT.as_bytes()));
    Ok(data
        .map(|key| (key.key, key.mod_revision, key.value))
        .collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_cluster_comes_back_with_each_key_at_its_revision() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let mut etcd = Etcd::start(3)?;
    let mut process = etcd.persister(1, &journal, &[])?;
    let session = etcd.session().await?;
    let mut last = 0;
    for at in 0..50 {
        last = put(&session, &format!("k/{}", at % 20), &at.to_string()).await?;
    }
    session.call(DeleteRangeRequest::key("k/7")).await?;
    durable(&session, 1, last + 1)
        .await
        .with_context(|| process.log())?;
    let before = live(&session).await?;
    process.end_in_order()?;
    etcd.wipe()?;
    etcd.start_again()?;
    let mut process = etcd.persister(1, &journal, &["-r", "api"])?;
    let session = etcd.session().await?;
    let is_back = || async { Ok((live(&session).await? == before).then_some(())) };
    cairn_tests::eventually("the state is back", is_back)
        .await
        .with_context(|| process.log())?;
    // What is put while the restore still compares is not in the journal, and ends it.
    let is_over = || async {
        let identity = session.call(RangeRequest::key(keys::IDENTITY)).await?.kvs;
        let text = identity.first().map(|key| &key.value);
        Ok(text
            .is_some_and(|text| String::from_utf8_lossy(text).contains(" kept"))
            .then_some(()))
    };
    cairn_tests::eventually("the restore is over", is_over)
        .await
        .with_context(|| process.log())?;
    let at = put(&session, "after", "x").await;
    // It goes on with what it has brought back.
    durable(&session, 1, at?)
        .await
        .with_context(|| process.log())?;
    process.end_in_order()
}
