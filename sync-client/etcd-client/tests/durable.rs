//! What the wrapper says is durable is so: each of these tries to get an `Ok` that is not true.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod played;

use std::future::Future;

use anyhow::{Context as _, Result, bail, ensure};
use cairn_etcd::wire::RangeRequest;
use cairn_etcd::{Options, Session};
use cairn_etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, DeleteOptions, Error, KvClientPrefix, PutOptions,
    Txn, TxnOp, cause, may_have_happened, unconfirmed,
};
use cairn_etcd_member::Member;
use cairn_protocol::keys;
use cairn_sync_client::etcd::{Client as SyncClient, Reason};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::played::{BRIEF, LONG, endpoint, hand, open, play, target, within, write};

type Ended = Result<(), Error>;

/// A member whose cluster has a name, and no persister.
async fn start() -> Result<(Member, Session)> {
    let member = Member::start(&["--unsafe-no-fsync"])?;
    let hand = hand(&member).await?;
    write(&hand, keys::IDENTITY, "u").await?;
    Ok((member, hand))
}

async fn connect(member: &Member, timeout: std::time::Duration) -> Result<Client, Error> {
    Client::connect_durable([endpoint(member)], None, within(timeout)).await
}

/// Asks until the answer is yes.
async fn eventually<F: Future<Output = Result<bool>>>(
    what: &str,
    ask: impl Fn() -> F,
) -> Result<()> {
    let begin = Instant::now();
    while !ask().await? {
        ensure!(begin.elapsed() < LONG, "not in time: {what}");
        sleep(std::time::Duration::from_millis(10)).await; // between looks
    }
    Ok(())
}

/// A change of the cluster, by everything that can make one.
fn changes(client: &Client, lease: i64) -> Vec<(&'static str, JoinHandle<Ended>)> {
    macro_rules! task {
        ($client:ident, $call:expr) => {{
            let mut $client = client.clone();
            tokio::spawn(async move { $call.await.map(drop) })
        }};
    }
    let put = || Txn::new().and_then([TxnOp::put("txn", "1", None)]);
    let mut kv = client.kv_client();
    let mut leases = client.lease_client();
    let mut space = KvClientPrefix::new(client.kv_client(), b"space/".to_vec());
    let mut very_type: etcd_client::Client = client.clone().into_inner();
    vec![
        ("put", task!(client, client.put("put", "1", None))),
        ("delete", task!(client, client.delete("old", None))),
        ("txn", task!(client, client.txn(put()))),
        (
            "kv",
            tokio::spawn(async move { kv.put("kv", "1", None).await.map(drop) }),
        ),
        (
            "revoke",
            tokio::spawn(async move { leases.revoke(lease).await.map(drop) }),
        ),
        (
            "space",
            tokio::spawn(async move { space.put("a", "1", None).await.map(drop) }),
        ),
        (
            "inner",
            tokio::spawn(async move { very_type.put("inner", "1", None).await.map(drop) }),
        ),
    ]
}

/// How often the cluster has been changed by [`changes`].
async fn changed(hand: &Session) -> Result<usize> {
    let mut count = 0;
    for (key, there) in [
        ("put", 1),
        ("old", 0),
        ("txn", 1),
        ("kv", 1),
        ("leased", 0),
        ("space/a", 1),
        ("inner", 1),
    ] {
        count += usize::from(hand.call(RangeRequest::key(key)).await?.count == there);
    }
    Ok(count)
}

/// What [`changes`] need.
async fn prepare(hand: &Session, member: &Member) -> Result<i64> {
    write(hand, "old", "1").await?;
    let mut regular = etcd_client::Client::connect([endpoint(member)], None).await?;
    let lease = regular.lease_grant(600, None).await?.id();
    let leased = PutOptions::new().with_lease(lease);
    regular.put("leased", "1", Some(leased)).await?;
    Ok(lease)
}

/// Why a write is not known to be durable; `None`: its answer was lost.
fn not_durable(ended: Ended) -> Result<Option<Reason>> {
    match &ended {
        Err(error) if may_have_happened(error) => {
            Ok(unconfirmed(error).map(|it| it.reason.clone()))
        }
        _ => bail!("it ended otherwise: {ended:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_write_by_each_way_waits_for_the_persister() -> Result<()> {
    let (member, hand) = start().await?;
    let lease = prepare(&hand, &member).await?;
    let client = connect(&member, LONG).await?;
    let tasks = changes(&client, lease);
    eventually("all of them are applied", || async {
        Ok(changed(&hand).await? == 7)
    })
    .await?;
    for (which, task) in &tasks {
        ensure!(!task.is_finished(), "{which} has not waited");
    }
    let newest = write(&hand, "later", "1").await?;
    write(&hand, &keys::watermark(1), &newest.to_string()).await?;
    for (which, task) in tasks {
        task.await?.context(which)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_persister_a_write_ends_unconfirmed_and_can_be_waited_for() -> Result<()> {
    let (member, hand) = start().await?;
    let mut client = connect(&member, BRIEF).await?;
    let error = client
        .put("a", "1", None)
        .await
        .err()
        .context("nobody confirmed it")?;
    let Error::GRpcStatus(status) = &error else {
        bail!("{error}")
    };
    ensure!(status.code() == tonic::Code::DeadlineExceeded, "{error}");
    let it = unconfirmed(&error).context("it says so")?;
    ensure!(it.reason == Reason::Late && it.behind.len() == 1, "{it}");
    ensure!(may_have_happened(&error), "{error}");

    let patient = connect(&member, LONG).await?;
    let (durable, written) = (patient.durable().clone(), it.written.clone());
    let waiting = tokio::spawn(async move { durable.wait_for(&written).await });
    let watermark = it.written.revision().to_string();
    write(&hand, &keys::watermark(1), &watermark).await?;
    waiting.await??;

    let own = keys::watermark(1);
    let txn = Txn::new().and_then([TxnOp::put(own.clone(), "9", None)]);
    let everything = Some(DeleteOptions::new().with_all_keys());
    for refused in [
        client.put(own, "9", None).await.err(),
        client.txn(txn).await.err(),
        client.delete("", everything).await.err(),
    ] {
        let error = refused.context("it was done")?;
        ensure!(error.to_string().contains("persisters' own"), "{error}");
        ensure!(
            cause(&error).is_some() && !may_have_happened(&error),
            "{error}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_wrote_nothing_waits_for_nobody() -> Result<()> {
    let (member, _hand) = start().await?;
    let mut client = connect(&member, BRIEF).await?;
    ensure!(client.delete("none", None).await?.deleted() == 0);
    let never = || Txn::new().when([Compare::version("none", CompareOp::Greater, 0)]);
    let put = || [TxnOp::put("a", "1", None)];
    ensure!(!client.txn(never().and_then(put())).await?.succeeded());
    let reads = [TxnOp::get("none", None), TxnOp::delete("none", None)];
    ensure!(
        !client
            .txn(never().and_then(put()).or_else(reads))
            .await?
            .succeeded()
    );
    let within = TxnOp::txn(never().and_then(put()));
    ensure!(client.txn(Txn::new().and_then([within])).await?.succeeded());
    // A client that waited would end each of these unconfirmed, as it ends this one.
    let written = client.txn(never().or_else(put())).await.map(drop);
    ensure!(not_durable(written)? == Some(Reason::Late));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_high_watermark_of_another_cluster_at_the_endpoints_confirms_nothing() -> Result<()> {
    let (ours, at_ours) = start().await?;
    let (theirs, at_theirs) = start().await?;
    let lease = prepare(&at_ours, &ours).await?;
    let mut revision = 0;
    while revision < 100 {
        revision = write(&at_theirs, "x", "1").await?;
    }
    let newest = write(&at_theirs, &keys::watermark(1), &revision.to_string()).await?;
    let durable = SyncClient::connect_to(target(&ours)?, within(BRIEF), Options::default()).await?;
    let mut client = Client::connect_with([endpoint(&theirs)], None, durable).await?;
    // What is no write goes there.
    ensure!(client.get("x", None).await?.count() == 1);
    for (which, task) in changes(&client, lease) {
        let reason = not_durable(task.await?).context(which)?;
        ensure!(reason == Some(Reason::Late), "{which}: {reason:?}");
    }
    ensure!(changed(&at_ours).await? == 7, "the writes are with us");
    let now = client.get("x", None).await?;
    let now = now.header().context("an answer has a header")?.revision();
    ensure!(now == newest, "something was written there");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_wiped_behind_the_answer_confirms_nothing() -> Result<()> {
    let (mut member, at_first) = start().await?;
    let lease = prepare(&at_first, &member).await?;
    let client = connect(&member, LONG).await?;
    let tasks = changes(&client, lease);
    eventually("all of them are applied", || async {
        Ok(changed(&at_first).await? == 7)
    })
    .await?;
    // This comes behind their answers over the same connection, if not behind each of them.
    client.durable().get(RangeRequest::key("put")).await?;

    member.wipe()?;
    ensure!(member.restart()?, "it does not start again");
    // With the same flags, and so with the same cluster id; with the name of before; and further.
    let at_second = hand(&member).await?;
    ensure!(
        at_second.cluster_id() == at_first.cluster_id(),
        "the flags are the same"
    );
    write(&at_second, keys::IDENTITY, "u").await?;
    let mut revision = 0;
    while revision < 100 {
        revision = write(&at_second, "x", "1").await?;
    }
    write(&at_second, &keys::watermark(1), &revision.to_string()).await?;
    for (which, task) in tasks {
        let reason = not_durable(task.await?).context(which)?;
        ensure!(reason != Some(Reason::Late), "{which}: {reason:?}");
    }
    // Meanwhile `etcd_client` has connected again, and says nothing of it.
    let is_there = || async {
        let found = client.clone().get("x", None).await;
        Ok(found.is_ok_and(|found| found.count() == 1))
    };
    eventually("it reads there", is_there).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_outlives_its_member_if_another_one_has_it() -> Result<()> {
    let mut members = Member::cluster(3, &["--unsafe-no-fsync"])?;
    let at_last = hand(&members[2]).await?;
    write(&at_last, keys::IDENTITY, "u").await?;
    let endpoints = || members[..2].iter().map(endpoint).collect::<Vec<_>>();
    let mut hasty = Client::connect_durable(endpoints(), None, within(BRIEF)).await?;
    let mut client = Client::connect_durable(endpoints(), None, within(LONG)).await?;
    let port = hasty.durable().session().await?.endpoint().authority();
    let at = members.iter().position(|member| endpoint(member) == port);
    let at = at.context("it is connected to one of them")?;
    let ended = hasty.put("a", "1", None).await.err();
    let ended = ended.context("nobody confirmed it")?;
    let written = unconfirmed(&ended).context("it says so")?.written.clone();
    members[at].kill();
    let waiting = tokio::spawn({
        let durable = client.durable().clone();
        async move { durable.wait_for(&written).await }
    });
    // Another member has the write, at its revision; and only the persister's word ends the wait.
    let reads = || async { Ok(client.durable().get(RangeRequest::key("a")).await.is_ok()) };
    eventually("there is another connection", reads).await?;
    ensure!(!waiting.is_finished(), "it has not waited");
    let target = target(&members[2])?;
    let playing = tokio::spawn(async move {
        loop {
            // It ends where the cluster is without a leader.
            if let Ok(hand) = open(target.clone()).await {
                let _ended = play(hand).await;
            }
            sleep(BRIEF).await;
        }
    });
    waiting.await??;
    client.put("b", "1", None).await?;
    playing.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_user_of_the_options_writes_and_nobody_else() -> Result<()> {
    let (member, _hand) = start().await?;
    member.ask_for_users(&[])?;
    let login = |name, password| {
        let options = ConnectOptions::new().with_user(name, password);
        Client::connect_durable([endpoint(&member)], Some(options), within(BRIEF))
    };
    let mut ada = login("ada", "secret").await?;
    not_durable(ada.put("app/a", "1", None).await.map(drop))?;
    ensure!(ada.get("app/a", None).await?.count() == 1);
    let Err(Error::GRpcStatus(denied)) = ada.put("theirs", "1", None).await else {
        bail!("it was let in");
    };
    ensure!(denied.code() == tonic::Code::PermissionDenied, "{denied}");
    let stranger = login("ada", "guessed")
        .await
        .err()
        .context("it was let in")?;
    ensure!(!stranger.to_string().contains("guessed"), "{stranger}");
    let nobody = connect(&member, BRIEF)
        .await
        .err()
        .context("it was let in")?;
    ensure!(cause(&nobody).is_some(), "{nobody}");
    Ok(())
}
