//! The sync client's promise: what it says is durable is on disk, whatever becomes of the cluster,
//! of its members, of the persisters, and of the connection.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use cairn_etcd::Options;
use cairn_etcd::wire::{
    Compare, DeleteRangeRequest, LeaseGrantRequest, PutRequest, PutResponse, RangeRequest,
    TxnRequest, WatchCreateRequest,
};
use cairn_protocol::keys;
use cairn_sync_client::Durability;
use cairn_sync_client::etcd::{Client, Error, Reason, Unconfirmed, Written};
use cairn_tests::eventually;
use futures::StreamExt as _;
use rustix::process::Signal;
use tokio::task::JoinHandle;

use crate::cluster::{
    Changes, Etcd, History, connect, connect_with, copy, durable, journaled, put, revision,
    watermark,
};
use crate::relay::Relay;

/// Longer than anything takes here: what waits so long has failed.
const LONG: Duration = cairn_tests::DEADLINE;

/// Long enough for a persister that has nothing else to do.
const SHORT: Duration = Duration::from_secs(1);

fn policy(persisters: &[u32], required: usize, timeout: Duration) -> Durability {
    Durability {
        timeout,
        ..Durability::new(persisters, required)
    }
}

/// How a write ended that was to end unconfirmed.
fn unconfirmed<T: std::fmt::Debug>(ended: Result<T, Error>) -> Result<Unconfirmed> {
    match ended {
        Err(Error::Unconfirmed(it)) => Ok(*it),
        other => bail!("it ended otherwise: {other:?}"),
    }
}

/// Puts a key for which nobody confirms anything in time.
async fn unconfirmed_put(hasty: &Client, key: &'static str) -> Result<Written> {
    Ok(unconfirmed(hasty.put(PutRequest::new(key, "ours")).await)?.written)
}

/// Waits for a write in the background.
fn wait_for(client: &Client, written: &Written) -> JoinHandle<Result<(), Error>> {
    let (client, written) = (client.clone(), written.clone());
    tokio::spawn(async move { client.wait_for(&written).await })
}

/// A put that is under way, and that the cluster has. Its answer has come, or will be lost.
async fn put_under_way(
    client: &Client,
    etcd: &Etcd,
    key: &'static str,
) -> Result<JoinHandle<Result<PutResponse, Error>>> {
    let task = tokio::spawn({
        let client = client.clone();
        async move { client.put(PutRequest::new(key, "ours")).await }
    });
    let session = etcd.session().await?;
    eventually("the cluster has it", || async {
        let found = session.call(RangeRequest::key(key)).await?.kvs;
        Ok(found.first().map(drop))
    })
    .await?;
    client.get(RangeRequest::key(key)).await?;
    Ok(task)
}

/// Fails if a write is said to be durable, or not to have happened.
fn not_durable<T: std::fmt::Debug>(ended: Result<T, Error>) -> Result<Option<Reason>> {
    match ended {
        Err(Error::Unconfirmed(it)) => Ok(Some(it.reason)),
        Err(error) if error.may_have_happened() => Ok(None),
        other => bail!("it ended otherwise: {other:?}"),
    }
}

/// Each acknowledged write is in the journal, at its revision and whole.
fn judge(ledger: &History, journal: &Path) -> Result<()> {
    let found = journaled(journal)?;
    for (at, changes) in ledger {
        ensure!(
            found.get(at) == Some(changes),
            "revision {at} was acknowledged, and is not in the journal"
        );
    }
    Ok(())
}

/// One write of each kind, each acknowledged. What they did, by revision.
async fn write_all_kinds(client: &Client, round: usize) -> Result<History> {
    let mut ledger = History::new();
    let mut acknowledged = |at, changes: Changes| ledger.insert(at, changes);
    let key = |name: &str| Bytes::from(format!("{name}/{round}\0\u{ff}"));
    let value = |text: &str| Some(Bytes::from(text.to_owned()));

    let answer = client.put(PutRequest::new(key("put"), "1")).await?;
    acknowledged(revision(answer.header)?, vec![(key("put"), value("1"))]);

    let txn = TxnRequest {
        compare: vec![Compare::value(key("put"), "1")],
        success: vec![
            DeleteRangeRequest::key(key("put")).into(),
            PutRequest::new(key("txn"), "2").into(),
        ],
        ..TxnRequest::default()
    };
    let answer = client.txn(txn).await?;
    let changes = vec![(key("put"), None), (key("txn"), value("2"))];
    acknowledged(revision(answer.header)?, changes);

    let answer = client.delete(DeleteRangeRequest::key(key("txn"))).await?;
    acknowledged(revision(answer.header)?, vec![(key("txn"), None)]);

    let lease = client.grant(LeaseGrantRequest { ttl: 60, id: 0 }).await?.id;
    let leased = PutRequest {
        lease,
        ..PutRequest::new(key("leased"), "3")
    };
    let answer = client.put(leased).await?;
    let at = revision(answer.header)?;
    acknowledged(at, vec![(key("leased"), value("3"))]);
    let ended = revision(client.revoke(lease).await?.header)?;
    ensure!(ended > at, "the end of the lease took no revision");
    // The revision of its answer may be a later one: that of the delete is found by what it did.
    let mut watch = client
        .watch(WatchCreateRequest::key(key("leased"), at + 1))
        .await?;
    let gone = watch.next().await.context("the watch ended")??.events;
    let gone = gone.first().and_then(|event| event.kv.clone());
    let gone = gone.context("the key went")?.mod_revision;
    acknowledged(gone, vec![(key("leased"), None)]);
    Ok(ledger)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_returned_is_in_the_journal_when_everything_is_killed_at_that_moment() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let mut etcd = Etcd::start(1)?;
    let mut process = etcd.persister(1, &journal, &[])?;
    let client = connect(&etcd.uri, policy(&[1], 1, LONG)).await?;
    let mut ledger = History::new();
    for round in 0..20 {
        ledger.extend(write_all_kinds(&client, round).await?);
    }
    etcd.wipe()?;
    process.kill()?;
    ensure!(ledger.len() == 100, "{} acknowledged", ledger.len());
    judge(&ledger, &journal)
}

/// Says that everything is on disk, and has none.
async fn lie(session: cairn_etcd::Session) -> Result<()> {
    let mut watch = session.watch(WatchCreateRequest::all(1)).await?;
    while let Some(Ok(batch)) = watch.next().await {
        let data = |key: &Bytes| !key.starts_with(keys::FLAT_ROOT.as_bytes());
        let changed = batch.events.iter().filter_map(|event| event.kv.as_ref());
        let changed = changed.filter(|kv| data(&kv.key)).map(|kv| kv.mod_revision);
        if let Some(newest) = changed.max() {
            let said = PutRequest::new(keys::watermark(1), newest.to_string());
            session.call(said).await?;
        }
    }
    Ok(())
}

/// The judge of the test above finds what is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persister_that_lies_is_found_out() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let etcd = Etcd::start(1)?;
    let mut process = etcd.persister(1, &journal, &[])?;
    let client = connect(&etcd.uri, policy(&[1], 1, LONG)).await?;
    let honest = write_all_kinds(&client, 0).await?;
    process.end_in_order()?;
    let liar = tokio::spawn(lie(etcd.session().await?));
    let told = write_all_kinds(&client, 1).await?;
    liar.abort();
    judge(&honest, &journal)?;
    ensure!(judge(&told, &journal).is_err(), "nothing was found");
    Ok(())
}

/// Nobody is there who could confirm anything, ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_nothing_waits_for_nobody() -> Result<()> {
    let etcd = Etcd::start(1)?;
    let client = connect(&etcd.uri, policy(&[1], 1, LONG)).await?;
    let nothing = client.delete(DeleteRangeRequest::prefix("none/")).await?;
    ensure!(nothing.deleted == 0);
    let failed = client
        .txn(TxnRequest {
            compare: vec![Compare::value("none", "x")],
            success: vec![PutRequest::new("a", "x").into()],
            failure: vec![
                RangeRequest::key("none").into(),
                DeleteRangeRequest::key("none").into(),
            ],
        })
        .await?;
    ensure!(!failed.succeeded && !failed.changed());
    for own in [keys::IDENTITY.to_owned(), keys::watermark(1)] {
        let refused = client.put(PutRequest::new(own, "7")).await;
        let refused = refused.expect_err("no persister publishes for this");
        ensure!(
            matches!(refused, Error::Durability(_)) && !refused.may_have_happened(),
            "{refused}"
        );
    }
    let all = client.delete(DeleteRangeRequest::prefix("")).await;
    ensure!(matches!(all, Err(Error::Durability(_))), "{all:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_halted_persister_leaves_a_write_unconfirmed_at_its_revision() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let etcd = Etcd::start(1)?;
    let process = etcd.persister(1, &scratch.path().join("journal"), &[])?;
    let client = connect(&etcd.uri, policy(&[1], 1, LONG)).await?;
    client.put(PutRequest::new("a", "before")).await?;
    process.halt()?;
    let hasty = connect(&etcd.uri, policy(&[1], 1, SHORT)).await?;
    let it = unconfirmed(hasty.put(PutRequest::new("a", "after")).await)?;
    let found = client.get(RangeRequest::key("a")).await?.kvs;
    ensure!(found[0].value == "after" && found[0].mod_revision == it.written.revision());
    ensure!(
        it.reason == Reason::Late && it.confirmed_by.is_empty(),
        "{it}"
    );
    ensure!(it.behind.len() == 1 && it.behind[0].persister == 1, "{it}");
    ensure!(
        it.behind[0].durable_to < Some(it.written.revision()),
        "{it}"
    );
    process.resume()?;
    client.wait_for(&it.written).await?;
    client.wait_durable(it.written.revision()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_are_enough_and_one_is_not() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let etcd = Etcd::start(1)?;
    let start = |id: u32| etcd.persister(id, &scratch.path().join(id.to_string()), &[]);
    let (mut first, mut second, mut third) = (start(1)?, start(2)?, start(3)?);
    let client = connect(&etcd.uri, policy(&[1, 2, 3], 2, LONG)).await?;
    let hasty = connect(&etcd.uri, policy(&[1, 2, 3], 2, SHORT)).await?;
    client.put(PutRequest::new("a", "x")).await?;
    second.kill()?;
    for _ in 0..10 {
        client.put(PutRequest::new("a", "y")).await?;
    }
    third.kill()?;
    let it = unconfirmed(hasty.put(PutRequest::new("a", "z")).await)?;
    let behind: Vec<u32> = it.behind.iter().map(|one| one.persister).collect();
    ensure!(it.confirmed_by == [1] && behind == [2, 3], "{it}");
    let mut third = start(3)?;
    client.wait_for(&it.written).await?;
    first.end_in_order()?;
    third.end_in_order()
}

/// A number of the cluster's that is none of a change's: no watermark will ever say it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_present_revision_of_an_idle_cluster_can_be_waited_for() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let etcd = Etcd::start(1)?;
    let start = |id: u32| etcd.persister(id, &scratch.path().join(id.to_string()), &[]);
    let (_first, _second) = (start(1)?, start(2)?);
    let client = connect(&etcd.uri, policy(&[1, 2], 2, LONG)).await?;
    let at = revision(client.put(PutRequest::new("a", "x")).await?.header)?;
    for client in [client, connect(&etcd.uri, policy(&[1, 2], 2, LONG)).await?] {
        let now = revision(client.get(RangeRequest::key("a")).await?.header)?;
        ensure!(now > at, "nobody wrote a watermark");
        client.wait_durable(now).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_writes_are_under_way_than_may_be() -> Result<()> {
    let etcd = Etcd::start(1)?;
    let options = Options {
        max_in_flight: 2,
        request_timeout: SHORT,
        ..Options::default()
    };
    let client = connect_with(&etcd.uri, policy(&[1], 1, LONG), options).await?;
    let waiting = [
        put_under_way(&client, &etcd, "a").await?,
        put_under_way(&client, &etcd, "b").await?,
    ];
    let third = client.put(PutRequest::new("c", "x")).await;
    ensure!(
        matches!(third, Err(Error::Busy { under_way: 2 })),
        "{third:?}"
    );
    let found = client.get(RangeRequest::key("c")).await?.kvs;
    ensure!(found.is_empty(), "it was sent");
    waiting.iter().for_each(JoinHandle::abort);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_persister_costs_time_and_no_write() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let etcd = Etcd::start(1)?;
    let mut process = etcd.persister(1, &journal, &[])?;
    let client = connect(&etcd.uri, policy(&[1], 1, LONG)).await?;
    let mut ledger = write_all_kinds(&client, 0).await?;
    for round in 1..4 {
        process.kill()?;
        let client = client.clone();
        let writing = tokio::spawn(async move { write_all_kinds(&client, round).await });
        process = etcd.persister(1, &journal, &[])?;
        ledger.extend(writing.await??);
    }
    process.kill()?;
    judge(&ledger, &journal)
}

/// A cluster with a persister's name and no persister: what is written waits.
async fn named(scratch: &Path) -> Result<Etcd> {
    let etcd = Etcd::start(1)?;
    let mut process = etcd.persister(1, &scratch.join("journal"), &[])?;
    let session = etcd.session().await?;
    let mut at = 0;
    for round in 0..5 {
        at = put(&session, "kept", &round.to_string()).await?;
    }
    durable(&session, 1, at)
        .await
        .with_context(|| process.log())?;
    process.end_in_order()?;
    Ok(etcd)
}

/// The same flags, so the same cluster number; and its new persister soon has what the write waits
/// for, by the number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wipe_while_a_write_waits_confirms_nothing() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let mut etcd = named(scratch.path()).await?;
    let way = Relay::to(etcd.members[0].port()).await?;
    let uri = format!("etcd://127.0.0.1:{}", way.port);
    let client = connect(&uri, policy(&[1], 1, LONG)).await?;
    let hasty = connect(&etcd.uri, policy(&[1], 1, SHORT)).await?;
    let written = unconfirmed_put(&hasty, "a").await?;
    let (waiting, at) = (wait_for(&client, &written), written.revision());
    let putting = put_under_way(&client, &etcd, "b").await?;
    way.cut();
    etcd.wipe()?;
    etcd.start_again()?;
    let mut process = etcd.persister(1, &scratch.path().join("fresh"), &[])?;
    let session = etcd.session().await?;
    while put(&session, "a", "ours").await? < at + 5 {}
    durable(&session, 1, at + 1)
        .await
        .with_context(|| process.log())?;
    way.mend();
    let it = unconfirmed(waiting.await?)?;
    ensure!(matches!(it.reason, Reason::OtherCluster { .. }), "{it}");
    ensure!(it.written.revision() == at, "{it}");
    let reason = not_durable(putting.await?)?;
    ensure!(
        matches!(reason, None | Some(Reason::OtherCluster { .. })),
        "{reason:?}"
    );
    // What is written from now on is the new cluster's; a number of before proves nothing.
    client.put(PutRequest::new("b", "x")).await?;
    if reason.is_some() {
        let old = unconfirmed(client.wait_durable(at).await)?;
        ensure!(matches!(old.reason, Reason::Unverifiable { .. }), "{old}");
    }
    process.end_in_order()
}

/// Identity, cluster and member are those of before, and the number means something else by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roll_back_while_a_write_waits_confirms_nothing() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let aside = scratch.path().join("aside");
    let mut etcd = named(scratch.path()).await?;
    etcd.kill();
    copy(&etcd.members[0].data(), &aside)?;
    etcd.start_again()?;
    let way = Relay::to(etcd.members[0].port()).await?;
    let uri = format!("etcd://127.0.0.1:{}", way.port);
    let client = connect(&uri, policy(&[1], 1, LONG)).await?;
    let hasty = connect(&etcd.uri, policy(&[1], 1, SHORT)).await?;
    let written = unconfirmed_put(&hasty, "a").await?;
    let (waiting, at) = (wait_for(&client, &written), written.revision());
    let putting = put_under_way(&client, &etcd, "b").await?;
    way.cut();
    etcd.wipe()?;
    copy(&aside, &etcd.members[0].data())?;
    etcd.start_again()?;
    // A persister with a fresh journal cannot know.
    let mut process = etcd.persister(1, &scratch.path().join("fresh"), &[])?;
    let session = etcd.session().await?;
    while put(&session, "a", "theirs").await? < at + 5 {}
    durable(&session, 1, at + 1)
        .await
        .with_context(|| process.log())?;
    way.mend();
    let it = unconfirmed(waiting.await?)?;
    ensure!(it.reason == Reason::WentBack, "{it}");
    let reason = not_durable(putting.await?)?;
    ensure!(
        matches!(reason, None | Some(Reason::WentBack)),
        "{reason:?}"
    );
    client.put(PutRequest::new("b", "x")).await?;
    process.end_in_order()
}

/// The same connections lost, and nothing else: the write is found, and waits on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_member_while_writes_wait_loses_none_of_them() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let mut etcd = named(scratch.path()).await?;
    let client = connect(&etcd.uri, policy(&[1], 1, LONG)).await?;
    let hasty = connect(&etcd.uri, policy(&[1], 1, SHORT)).await?;
    let put = unconfirmed_put(&hasty, "a").await?;
    let txn = TxnRequest {
        success: vec![
            DeleteRangeRequest::prefix("k").into(),
            PutRequest::new("b", "x").into(),
        ],
        ..TxnRequest::default()
    };
    let txn = unconfirmed(hasty.txn(txn).await)?.written;
    let waiting = [wait_for(&client, &put), wait_for(&client, &txn)];
    etcd.kill();
    etcd.start_again()?;
    let mut process = etcd.persister(1, &scratch.path().join("journal"), &[])?;
    for task in waiting {
        task.await??;
    }
    process.end_in_order()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_halted_member_is_left_and_the_write_is_found_over_another() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let mut etcd = Etcd::start(3)?;
    // The client begins with the first member, the persister with the second.
    let client_uri = etcd.uri.clone();
    let ports = [etcd.members[1].port(), etcd.members[2].port()];
    etcd.uri = format!("etcd://127.0.0.1:{},127.0.0.1:{}", ports[0], ports[1]);
    let process = etcd.persister(1, &journal, &[])?;
    let options = Options {
        keepalive_timeout: SHORT,
        ..Options::default()
    };
    let client = connect_with(&client_uri, policy(&[1], 1, LONG), options).await?;
    client.put(PutRequest::new("a", "x")).await?;
    let before = client.session().await?;
    ensure!(
        before
            .endpoint()
            .authority()
            .ends_with(&etcd.members[0].port().to_string())
    );
    process.halt()?;
    let hasty = connect(&etcd.uri, policy(&[1], 1, SHORT)).await?;
    let written = unconfirmed_put(&hasty, "b").await?;
    let (waiting, at) = (wait_for(&client, &written), written.revision());
    etcd.members[0].signal(Signal::STOP)?;
    before.ended().await;
    process.resume()?;
    waiting.await??;
    let now = client.session().await?;
    ensure!(
        now.member_id() != before.member_id(),
        "the member was not left"
    );
    let mut ledger = History::new();
    ledger.insert(at, vec![("b".into(), Some("ours".into()))]);
    etcd.kill();
    judge(&ledger, &journal)
}

/// What a restore, or a loss that was accepted, does to a cluster under a living connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watermark_of_a_cluster_that_became_another_confirms_nothing() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let etcd = named(scratch.path()).await?;
    let client = connect(&etcd.uri, policy(&[1], 1, LONG)).await?;
    let task = put_under_way(&client, &etcd, "a").await?;
    let session = etcd.session().await?;
    let at = session.call(RangeRequest::key("a")).await?.kvs[0].mod_revision;
    let renamed = TxnRequest {
        success: vec![
            PutRequest::new(keys::watermark(1), at.to_string()).into(),
            PutRequest::new(keys::IDENTITY, "new from old at 1 shifted").into(),
        ],
        ..TxnRequest::default()
    };
    session.call(renamed).await?;
    let reason = not_durable(task.await?)?;
    ensure!(
        matches!(reason, None | Some(Reason::OtherCluster { .. })),
        "{reason:?}"
    );
    Ok(())
}

/// As of a persister whose last word reaches a cluster that has gone back meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watermark_that_is_not_before_itself_confirms_nothing() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let etcd = named(scratch.path()).await?;
    let session = etcd.session().await?;
    put(&session, &keys::watermark(1), "1000000").await?;
    let client = connect(&etcd.uri, policy(&[1], 1, LONG)).await?;
    let hasty = connect(&etcd.uri, policy(&[1], 1, SHORT)).await?;
    let it = unconfirmed(hasty.put(PutRequest::new("a", "x")).await)?;
    ensure!(it.reason == Reason::Late, "{it}");
    let at = it.written.revision();
    put(&session, &keys::watermark(1), "1000000").await?;
    unconfirmed(hasty.wait_for(&it.written).await)?;
    put(&session, &keys::watermark(1), &at.to_string()).await?;
    client.wait_for(&it.written).await?;
    ensure!(watermark(&session, 1).await? == Some(at));
    Ok(())
}
