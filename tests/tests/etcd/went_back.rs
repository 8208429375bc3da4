//! Clusters that are not what they were: wiped, restored by their operator, or without their last
//! seconds; and members that only lag.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use cairn_etcd::wire::CompactionRequest;
use cairn_journal::{GapReason, Journal, NewRecord, Options, Revision, Timestamp};
use cairn_protocol::keys;
use cairn_tests::{Process, eventually};

use crate::cluster::{
    Etcd, NOT_OUR_CLUSTER, WENT_BACK, copy, durable, journaled, put, put_many, same, told,
    watermark,
};

/// Its number is that of before: only the identity tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_cluster_with_the_same_flags_is_a_reset_one() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let mut etcd = Etcd::start(1)?;
    let mut process = etcd.persister(1, &journal, &[])?;
    let session = etcd.session().await?;
    let at = put_many(&session, "x", 10).await?;
    durable(&session, 1, at).await?;
    let (number, before) = (session.cluster_id(), journaled(&journal)?);
    etcd.wipe()?;
    etcd.start_again()?;
    let session = etcd.session().await?;
    ensure!(session.cluster_id() == number, "it got another number");
    put_many(&session, "other", 50).await?;
    // The one that ran notices, and so does the next.
    let said = process.ends_with(NOT_OUR_CLUSTER)?;
    ensure!(said.contains("it was reset"), "{said}");
    let said = etcd
        .persister(1, &journal, &[])?
        .ends_with(NOT_OUR_CLUSTER)?;
    ensure!(said.contains("it was reset"), "{said}");
    ensure!(journaled(&journal)? == before, "something was journaled");
    ensure!(
        watermark(&session, 1).await?.is_none(),
        "something was said"
    );
    Ok(())
}

/// As after a power cut without fsync: identity, cluster and member are those of before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lost_its_last_seconds_went_back() -> Result<()> {
    for written_since in [0, 100] {
        let scratch = tempfile::tempdir()?;
        let (journal, aside) = (scratch.path().join("journal"), scratch.path().join("aside"));
        let mut etcd = Etcd::start(1)?;
        let mut process = etcd.persister(1, &journal, &[])?;
        let session = etcd.session().await?;
        let kept = put_many(&session, "kept", 10).await?;
        durable(&session, 1, kept).await?;
        process.end_in_order()?;
        etcd.kill();
        copy(&etcd.members[0].data(), &aside)?;
        etcd.start_again()?;
        let mut process = etcd.persister(1, &journal, &[])?;
        let session = etcd.session().await?;
        let lost = put_many(&session, "lost", 30).await?;
        durable(&session, 1, lost).await?;
        process.end_in_order()?;
        let before = journaled(&journal)?;
        etcd.wipe()?;
        copy(&aside, &etcd.members[0].data())?;
        etcd.start_again()?;
        let session = etcd.session().await?;
        put_many(&session, "other", written_since).await?;

        let said = etcd.persister(1, &journal, &[])?.ends_with(WENT_BACK)?;
        ensure!(
            said.contains("went back") && said.contains("--accept-loss"),
            "{said}"
        );
        ensure!(journaled(&journal)? == before, "something was journaled");

        // Accepted, it is followed under another name.
        let mut process = etcd.persister(1, &journal, &["--accept-loss"])?;
        let at = put(&session, "after", "x").await?;
        durable(&session, 1, at)
            .await
            .with_context(|| process.log())?;
        let identity = session
            .call(cairn_etcd::wire::RangeRequest::key(keys::IDENTITY))
            .await?;
        let identity = String::from_utf8_lossy(&identity.kvs[0].value).into_owned();
        ensure!(identity.contains(" shifted"), "{identity}");
        process.end_in_order()?;
    }
    Ok(())
}

/// Members, a persister that has everything, and a snapshot from before the last ten revisions.
async fn with_an_old_snapshot(
    members: usize,
    journal: &Path,
    snapshot: &Path,
) -> Result<(Etcd, Process)> {
    let etcd = Etcd::start(members)?;
    let process = etcd.persister(1, journal, &[])?;
    let session = etcd.session().await?;
    let kept = put_many(&session, "kept", 10).await?;
    durable(&session, 1, kept).await?;
    let file = snapshot.to_str().context("a test directory is UTF-8")?;
    etcd.members[0].etcdctl(&["snapshot", "save", file])?;
    let lost = put_many(&session, "lost", 10).await?;
    durable(&session, 1, lost).await?;
    Ok((etcd, process))
}

/// The identity lies in the snapshot, so it comes back with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_their_operator_restored_went_back() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (journal, snapshot) = (scratch.path().join("journal"), scratch.path().join("db"));
    let (mut etcd, mut process) = with_an_old_snapshot(3, &journal, &snapshot).await?;
    for member in &mut etcd.members {
        member.restore(&snapshot)?;
    }
    etcd.start_again()?;
    let session = etcd.session().await?;
    put_many(&session, "other", 100).await?;
    // The one that ran notices when it has found the new members, and so does the next.
    let said = process.ends_with(WENT_BACK)?;
    ensure!(said.contains("went back"), "{said}");
    let said = etcd.persister(1, &journal, &[])?.ends_with(WENT_BACK)?;
    ensure!(said.contains("went back"), "{said}");
    Ok(())
}

/// It is past the journal's end again, and no revision can be compared: the cluster was compacted
/// past that end, or what the journal has last is a state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_went_back_is_known_by_its_keys_where_no_revision_is_left() -> Result<()> {
    for is_compacted in [true, false] {
        let scratch = tempfile::tempdir()?;
        let (journal, snapshot) = (scratch.path().join("journal"), scratch.path().join("db"));
        let (mut etcd, mut process) = with_an_old_snapshot(1, &journal, &snapshot).await?;
        process.end_in_order()?;
        if !is_compacted {
            let (open, _) = Journal::open(&journal, Options::default())?;
            let (first, reason) = (open.end().revision.next(), GapReason::HistoryDiscarded);
            let last = Revision(first.0 + 5);
            let now = Timestamp::now();
            open.append(NewRecord::gap_opened(first, last, reason, now))?;
            open.append(NewRecord::gap_closed(first, last, reason, now))?;
            open.close()?;
        }
        let before = journaled(&journal)?;
        etcd.members[0].restore(&snapshot)?;
        etcd.start_again()?;
        let session = etcd.session().await?;
        put(&session, "other", "x").await?;
        let revision = put_many(&session, "other", 60).await?;
        if is_compacted {
            let physical = true;
            session
                .call(CompactionRequest { revision, physical })
                .await?;
        }
        let said = etcd.persister(1, &journal, &[])?.ends_with(WENT_BACK)?;
        ensure!(said.contains("went back"), "{said}");
        ensure!(journaled(&journal)? == before, "something was journaled");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lags_is_waited_for() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let mut etcd = Etcd::start(3)?;
    let mut process = etcd.persister(1, &journal, &[])?;
    let session = etcd.session().await?;
    let first = put_many(&session, "x", 10).await?;
    durable(&session, 1, first).await?;
    // One member misses what the others and the journal get.
    let mut others = Etcd {
        uri: etcd.uri.clone(),
        members: etcd.members.split_off(1),
    };
    etcd.kill();
    // They may have to elect a leader first.
    let session = eventually("the others take writes", || async {
        let session = others.session().await?;
        let put = put(&session, "k/0", "x").await;
        Ok(put.is_ok().then_some(session))
    })
    .await?;
    let at = put_many(&session, "x", 2_000).await?;
    durable(&session, 1, at)
        .await
        .with_context(|| process.log())?;
    process.end_in_order()?;
    etcd.start_again()?;
    etcd.uri = etcd.members[0].uri();
    let mut process = etcd.persister(1, &journal, &[])?;
    let at = put_many(&session, "y", 10).await?;
    durable(&session, 1, at)
        .await
        .with_context(|| process.log())?;
    process.end_in_order()?;
    same(&told(&session, 2, at).await?, &journaled(&journal)?, 2, at)?;
    others.kill();
    Ok(())
}
