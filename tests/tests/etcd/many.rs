//! States and backlogs that are large.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use cairn_etcd::Session;
use cairn_etcd::wire::{CompactionRequest, PutRequest, TxnRequest};
use cairn_tests::{Process, eventually, program, records};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::cluster::{Etcd, durable, journaled, put, revision, same, told};

/// More than what is worth a snapshot.
const MANY: usize = 10_200;

/// How many puts are under way at once.
const IN_FLIGHT: usize = 64;

/// That many keys, a hundred a revision.
async fn put_keys(session: &Session) -> Result<i64> {
    let mut newest = 0;
    for first in (0..MANY).step_by(100) {
        let puts =
            (first..first + 100).map(|at| PutRequest::new(format!("state/{at}"), "x").into());
        let txn = TxnRequest {
            success: puts.collect(),
            ..TxnRequest::default()
        };
        newest = revision(session.call(txn).await?.header)?;
    }
    Ok(newest)
}

/// That many revisions, a key each.
async fn put_revisions(session: &Session) -> Result<i64> {
    let puts = stream::iter(0..MANY).map(|at| async move {
        let put = PutRequest::new(format!("backlog/{}", at % 97), at.to_string());
        revision(session.call(put).await?.header)
    });
    let newest = puts.buffer_unordered(IN_FLIGHT);
    newest
        .try_fold(0, async |newest, at| Ok(at.max(newest)))
        .await
}

async fn compact(session: &Session, at: i64) -> Result<()> {
    let compaction = CompactionRequest {
        revision: at,
        physical: true,
    };
    session.call(compaction).await?;
    Ok(())
}

/// The journal's newest state has these keys.
fn keys_of(journal: &std::path::Path) -> Result<usize> {
    let state = cairn_journal::Reader::open(journal)?.state(None)?;
    Ok(state.files.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_state_and_a_long_backlog_are_read_from_snapshots() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let etcd = Etcd::start(1)?;
    let session = etcd.session().await?;
    let at = put_keys(&session).await?;
    compact(&session, at).await?;
    let mut process = etcd.persister(1, &journal, &[])?;
    durable(&session, 1, at)
        .await
        .with_context(|| process.log())?;
    let log = process.log();
    ensure!(log.contains("reading the state from a snapshot"), "{log}");
    ensure!(keys_of(&journal)? == MANY, "{} keys", keys_of(&journal)?);
    process.end_in_order()?;

    let first = put(&session, "first", "x").await?;
    let last = put_revisions(&session).await?;
    let mut process = etcd.persister(1, &journal, &[])?;
    durable(&session, 1, last)
        .await
        .with_context(|| process.log())?;
    let log = process.log();
    ensure!(log.contains("the backlog is read"), "{log}");
    let now = put(&session, "now", "x").await?;
    durable(&session, 1, now).await?;
    process.end_in_order()?;
    same(
        &told(&session, first, now).await?,
        &journaled(&journal)?,
        first,
        now,
    )?;
    let left: Vec<_> = std::fs::read_dir(&journal)?.collect::<Result<_, _>>()?;
    let strange = left
        .iter()
        .find(|entry| entry.file_name().to_string_lossy().contains("tmp"));
    ensure!(strange.is_none(), "{strange:?}");
    Ok(())
}

/// A persister with the rights of `docs/etcd.md` may read everything, and no snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_a_snapshot_everything_is_read_all_the_same() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let etcd = Etcd::start(1)?;
    let session = etcd.session().await?;
    let at = put_keys(&session).await?;
    compact(&session, at).await?;
    let member = &etcd.members[0];
    member.ask_for_users(&[])?;
    let as_root = |words: &[&str]| member.etcdctl(&[&["--user", "root:hush"], words].concat());
    as_root(&["user", "add", "cairn:secret"])?;
    let page = include_str!("../../../docs/etcd.md").lines();
    let commands = page.filter_map(|line| line.strip_prefix("etcdctl "));
    let rights: Vec<&str> = commands
        .filter(|it| it.starts_with("role ") || it.ends_with("cairn persister"))
        .collect();
    ensure!(rights.len() == 4, "{rights:?}");
    for command in rights {
        let words = command.split(' ').map(|word| word.trim_matches('\''));
        as_root(&words.collect::<Vec<_>>()).context(command)?;
    }
    let mut command = Command::new(program("persister")?);
    command
        .args(["--id", "1", "-a", &etcd.uri, "-j"])
        .arg(&journal);
    command.env("ETCDCTL_USER", "cairn:secret");
    let mut process = Process::spawn("persister", &command)?;
    let has_all = || async { Ok((keys_of(&journal).ok() == Some(MANY)).then_some(())) };
    eventually("the whole state", has_all)
        .await
        .with_context(|| process.log())?;
    let log = process.log();
    ensure!(log.contains("permission denied"), "{log}");
    as_root(&["put", "now", "x"])?;
    let followed = || async { Ok((keys_of(&journal)? == MANY + 1).then_some(())) };
    eventually("what follows", followed)
        .await
        .with_context(|| process.log())?;
    process.end_in_order()?;
    ensure!(!records(&journal)?.is_empty(), "it has records");

    // Without any right, it says what it needs.
    let mut process = etcd.persister(2, &scratch.path().join("other"), &[])?;
    let said = process.ends_with(22)?;
    ensure!(said.contains("a persister's role reads all keys"), "{said}");
    Ok(())
}
