//! The main job on etcd: what was acknowledged survives the loss of every member.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cairn_etcd::Session;
use cairn_etcd::wire::{
    DeleteRangeRequest, LeaseGrantRequest, PutRequest, TxnRequest, TxnResponse, WatchCreateRequest,
    request_op, response_op,
};
use cairn_sync_client::Durability;
use cairn_sync_client::etcd::Client;
use cairn_tests::{files_below, program, seeded, setting};
use futures::StreamExt as _;

use crate::cluster::{
    Changes, Etcd, History, connect, durable, journaled, live, put, restore_is_over, revision,
    same, take_in,
};

const WRITERS: u8 = 8;

/// How many writes are acknowledged before everything is killed.
const ACKNOWLEDGED: usize = 400;

/// Keys of a range that is deleted at once: more than one message has.
const RANGE: usize = 10_000;

/// What the sync client said is on disk: by revision, what it did.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<History>>);

impl Ledger {
    fn note(&self, at: i64, changes: Changes) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(at, changes);
    }

    fn len(&self) -> usize {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.len()
    }

    fn taken(&self) -> History {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.clone()
    }
}

/// What a transaction of puts and deletes of single keys did.
fn changes(txn: &TxnRequest, answer: &TxnResponse) -> Changes {
    let each = txn.success.iter().zip(&answer.responses);
    let change = each.filter_map(
        |(asked, answered)| match (&asked.request, &answered.response) {
            (Some(request_op::Request::Put(put)), _) => {
                Some((put.key.clone(), Some(put.value.clone())))
            }
            (
                Some(request_op::Request::DeleteRange(delete)),
                Some(response_op::Response::DeleteRange(answer)),
            ) => (answer.deleted > 0).then(|| (delete.key.clone(), None)),
            _ => None,
        },
    );
    change.collect()
}

/// Puts its share of the files; then puts, changes and deletes keys of its own, one revision of one
/// to five keys at a time, until the cluster dies under it.
async fn write(
    client: Client,
    number: u8,
    mut random: fastrand::Rng,
    files: Vec<(String, Bytes)>,
    ledger: Ledger,
) -> Result<()> {
    for (path, content) in files {
        let answer = client
            .put(PutRequest::new(path.clone(), content.clone()))
            .await?;
        ledger.note(revision(answer.header)?, vec![(path.into(), Some(content))]);
    }
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
        let Ok(answer) = client.txn(txn.clone()).await else {
            return Ok(());
        };
        if answer.changed() {
            ledger.note(revision(answer.header)?, changes(&txn, &answer));
        }
    }
}

/// What no writer does at random.
async fn write_large_things(client: &Client, ledger: &Ledger) -> Result<()> {
    let large = Bytes::from(vec![7; 1_400_000]);
    let answer = client.put(PutRequest::new("large", large.clone())).await?;
    ledger.note(
        revision(answer.header)?,
        vec![("large".into(), Some(large))],
    );
    let lease = client.grant(LeaseGrantRequest { ttl: 60, id: 0 }).await?.id;
    let mut at = 0;
    for number in 0..20 {
        let leased = PutRequest {
            lease,
            ..PutRequest::new(format!("leased/{number:02}"), "x")
        };
        at = revision(client.put(leased).await?.header)?;
    }
    client.revoke(lease).await?;
    // Its keys in their order, all at once; nobody else writes yet, but the persister.
    let gone = (0..20).map(|number| (format!("leased/{number:02}").into(), None));
    let mut watch = client
        .watch(WatchCreateRequest::key("leased/00", at + 1))
        .await?;
    let event = watch.next().await.context("the watch ended")??.events.pop();
    let ended = event.and_then(|event| event.kv).context("the key went")?;
    ledger.note(ended.mod_revision, gone.collect());

    let key = |at| Bytes::from(format!("range/{at:0>60}"));
    for first in (0..RANGE).step_by(100) {
        let puts = (first..first + 100).map(|at| PutRequest::new(key(at), "").into());
        let txn = TxnRequest {
            success: puts.collect(),
            ..TxnRequest::default()
        };
        let answer = client.txn(txn.clone()).await?;
        ledger.note(revision(answer.header)?, changes(&txn, &answer));
    }
    let deleted = client.delete(DeleteRangeRequest::prefix("range/")).await?;
    ensure!(usize::try_from(deleted.deleted)? == RANGE, "{deleted:?}");
    let gone = (0..RANGE).map(|at| (key(at), None));
    ledger.note(revision(deleted.header)?, gone.collect());
    Ok(())
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
    let connect = || connect(&etcd.uri, Durability::new([1], 1));
    let ledger = Ledger::default();
    write_large_things(&connect().await?, &ledger)
        .await
        .with_context(|| process.log())?;
    let large = *ledger.taken().keys().next_back().context("nothing")?;
    let files = files_below(Path::new("/etc"));
    ensure!(
        files.len() >= 50,
        "a machine with so few files shows nothing"
    );
    let before = ledger.len() + files.len();
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        let share = files.iter().skip(number.into()).step_by(WRITERS.into());
        writers.push(tokio::spawn(write(
            connect().await?,
            number,
            random.fork(),
            share.cloned().collect(),
            ledger.clone(),
        )));
    }
    let enough = before + setting("CAIRN_ACKNOWLEDGED", ACKNOWLEDGED)?;
    cairn_tests::eventually("enough is acknowledged", || async {
        Ok((ledger.len() >= enough).then_some(()))
    })
    .await
    .with_context(|| process.log())?;
    etcd.wipe()?;
    // What they were told is in the ledger; what they wait for will not come.
    writers.iter().for_each(tokio::task::JoinHandle::abort);
    for writer in writers {
        match writer.await {
            Err(error) if error.is_cancelled() => {}
            ended => ended??,
        }
    }
    process.end_in_order()?;

    let (told, acknowledged) = (listening.await??, ledger.taken());
    let newest = *acknowledged.keys().next_back().context("nothing")?;
    let found = journaled(&journal)?;
    // What the members had not sent yet when they were killed, nobody was told; what of it was
    // acknowledged is in the ledger.
    let heard = *told.keys().next_back().context("nothing")?;
    ensure!(
        heard >= large,
        "the listener fell behind: {heard} of {newest}"
    );
    same(&told, &found, 2, newest.min(heard))?;
    for (at, changes) in &acknowledged {
        ensure!(
            found.get(at) == Some(changes),
            "revision {at} was acknowledged, and is not in the journal"
        );
    }
    let largest = found.values().map(Vec::len).max();
    ensure!(largest >= Some(RANGE), "{largest:?} keys at once");
    println!(
        "{} files, {newest} revisions, {} with changes, {} acknowledged",
        files.len(),
        found.len(),
        acknowledged.len()
    );

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

/// Each key with its revision and value.
async fn state(session: &Session) -> Result<Vec<(Bytes, i64, Bytes)>> {
    let live = live(session).await?.into_iter();
    let state = live.map(|key| (key.key, key.mod_revision, key.value));
    Ok(state.collect())
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
    let before = state(&session).await?;
    process.end_in_order()?;
    etcd.wipe()?;
    etcd.start_again()?;
    let mut process = etcd.persister(1, &journal, &["-r", "api"])?;
    let session = etcd.session().await?;
    let is_back = || async { Ok((state(&session).await? == before).then_some(())) };
    cairn_tests::eventually("the state is back", is_back)
        .await
        .with_context(|| process.log())?;
    // What is put while the restore still compares is not in the journal, and ends it.
    restore_is_over(&session, &process).await?;
    let at = put(&session, "after", "x").await;
    // It goes on with what it has brought back.
    durable(&session, 1, at?)
        .await
        .with_context(|| process.log())?;
    process.end_in_order()
}
