//! `--mirror none`: nothing at all is written into the cluster, and it is known by its keys.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use cairn_etcd::Session;
use cairn_etcd::wire::{CompactionRequest, LeaseLeasesRequest, RangeRequest};
use cairn_journal::Reader;
use cairn_tests::{Process, eventually, program, served_at};

use crate::cluster::{
    Etcd, History, NOT_OUR_CLUSTER, WENT_BACK, journaled, put, put_many, revision, same, told,
};

const NONE: &[&str] = &["--mirror", "none"];

/// Waits until the journal covers `at`.
pub(crate) async fn covered(journal: &Path, at: i64, process: &Process) -> Result<()> {
    let covered = || async {
        // Until it has begun, there is no journal.
        let state = Reader::open(journal).and_then(|reader| reader.state(None));
        Ok(state
            .is_ok_and(|state| state.revision.0 >= at)
            .then_some(()))
    };
    let covered = eventually("the journal has it", covered).await;
    covered.with_context(|| process.log())
}

async fn now(session: &Session) -> Result<i64> {
    revision(session.call(RangeRequest::key("k")).await?.header)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_journaled_whole_and_nothing_is_written_into_it() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let mut etcd = Etcd::start(3)?;
    let session = etcd.session().await?;
    put(&session, "before", "x").await?;
    let before = now(&session).await?;
    let mut process = etcd.persister(1, &journal, NONE)?;
    covered(&journal, before, &process).await?;
    let first = put_many(&session, "first", 20).await?;
    covered(&journal, first, &process).await?;
    process.kill()?;
    let missed = put_many(&session, "missed", 20).await?;
    let mut process = etcd.persister(1, &journal, NONE)?;
    covered(&journal, missed, &process).await?;
    // Its member dies, and it finds another one.
    etcd.members[0].kill();
    let session = etcd.session().await?;
    let last = eventually("a put", || async {
        Ok(put(&session, "last", "x").await.ok())
    })
    .await?;
    covered(&journal, last, &process).await?;
    process.end_in_order()?;

    // Every revision is a put of ours. One whose member died under it may have come late.
    let after = now(&session).await?;
    let (told, found): (History, History) = (told(&session, 2, after).await?, journaled(&journal)?);
    same(&told, &found, 2, last)?;
    let stranger = (2..=after).find(|at| !told.contains_key(at));
    ensure!(stranger.is_none(), "somebody else wrote {stranger:?}");
    let leases = session.call(LeaseLeasesRequest {}).await?.leases;
    ensure!(leases.is_empty(), "it has granted {leases:?}");
    Ok(())
}

/// `persister wait`, by what the persisters serve.
fn wait(at: i64, args: &[&str]) -> Result<Output> {
    let at = at.to_string();
    let mut command = Command::new(program("persister")?);
    command
        .args(["wait", "--json", "--revision", &at])
        .args(args);
    Ok(command.output()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_of_an_observed_cluster_are_waited_for_by_what_the_persister_serves() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let mut etcd = Etcd::start(1)?;
    let session = etcd.session().await?;
    let serves = [NONE, &["--listen", "127.0.0.1:0"]].concat();
    let mut process = etcd.persister(1, &journal, &serves)?;
    let at = served_at(&process).await?;
    for _ in 0..5 {
        let newest = put_many(&session, "x", 10).await?;
        let output = wait(newest, &["--status", &at])?;
        ensure!(output.status.success(), "{output:?}\n{}", process.log());
        let state = Reader::open(&journal)?.state(None)?;
        ensure!(state.revision.0 >= newest, "it is at {}", state.revision);
    }
    let newest = now(&session).await?;
    // Not yet; somebody else; one of two that does not answer.
    let short = ["--timeout", "200ms", "--status", &at];
    let output = wait(newest + 1, &short)?;
    ensure!(output.status.code() == Some(31), "{output:?}");
    let output = wait(newest, &[&short[..], &["--persist", "2"]].concat())?;
    ensure!(output.status.code() == Some(22), "{output:?}");
    let nobody = format!("{at},127.0.0.1:1");
    let two = [
        "--timeout",
        "200ms",
        "--persist",
        "1,2",
        "--status",
        &nobody,
    ];
    let output = wait(newest, &two)?;
    ensure!(output.status.code() == Some(31), "{output:?}");
    let output = wait(newest, &[&two[..], &["--require", "1"]].concat())?;
    ensure!(output.status.success(), "{output:?}");
    // While it is not attached, it says nothing that counts.
    etcd.kill();
    let is_alone = || async {
        let output = wait(newest, &short)?;
        Ok((output.status.code() == Some(31)).then_some(()))
    };
    eventually("it counts no more", is_alone).await?;
    process.end_in_order()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observed_cluster_that_was_compacted_is_known_by_its_keys() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let mut etcd = Etcd::start(1)?;
    let session = etcd.session().await?;
    put(&session, "static", "x").await?;
    let at = put_many(&session, "x", 10).await?;
    let mut process = etcd.persister(1, &journal, NONE)?;
    covered(&journal, at, &process).await?;
    process.end_in_order()?;
    let at = put_many(&session, "y", 10).await?;
    let compaction = CompactionRequest {
        revision: at,
        physical: true,
    };
    session.call(compaction).await?;
    let mut process = etcd.persister(1, &journal, NONE)?;
    covered(&journal, at, &process).await?;
    let log = process.log();
    ensure!(log.contains("cannot be followed one by one"), "{log}");
    process.end_in_order()?;
    let before = now(&session).await?;
    ensure!(before == at, "it has written: {before}, and not {at}");

    // The same flags, and other keys: also where the history is compacted, and the counter further.
    etcd.wipe()?;
    etcd.start_again()?;
    let session = etcd.session().await?;
    let mut process = etcd.persister(1, &journal, NONE)?;
    let said = process.ends_with(NOT_OUR_CLUSTER)?;
    ensure!(said.contains("nothing that this cluster has"), "{said}");
    put(&session, "static", "y").await?;
    let at = put_many(&session, "other", 50).await?;
    let compaction = CompactionRequest {
        revision: at,
        physical: true,
    };
    session.call(compaction).await?;
    let said = etcd
        .persister(1, &journal, NONE)?
        .ends_with(NOT_OUR_CLUSTER)?;
    ensure!(
        said.contains("it was reset, or it is another one"),
        "{said}"
    );
    ensure!(now(&session).await? == at, "it has written");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observed_cluster_that_went_back_is_not_followed() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (journal, snapshot) = (scratch.path().join("journal"), scratch.path().join("db"));
    let mut etcd = Etcd::start(1)?;
    let session = etcd.session().await?;
    put_many(&session, "kept", 10).await?;
    let file = snapshot.to_str().context("a test directory is UTF-8")?;
    etcd.members[0].etcdctl(&["snapshot", "save", file])?;
    let mut process = etcd.persister(1, &journal, NONE)?;
    let lost = put_many(&session, "lost", 10).await?;
    covered(&journal, lost, &process).await?;
    etcd.members[0].restore(&snapshot)?;
    etcd.start_again()?;
    // The one that runs notices; nothing was written since, and then more than was lost.
    let said = process.ends_with(WENT_BACK)?;
    ensure!(said.contains("went back"), "{said}");
    let session = etcd.session().await?;
    let newest = put_many(&session, "other", 30).await?;
    let said = etcd.persister(1, &journal, NONE)?.ends_with(WENT_BACK)?;
    ensure!(said.contains("went back"), "{said}");
    // Accepted, it is followed as it is, under a name that is the journal's alone.
    let accepted = [NONE, &["--accept-loss"]].concat();
    let mut process = etcd.persister(1, &journal, &accepted)?;
    covered(&journal, newest, &process).await?;
    let at = put(&session, "after", "x").await?;
    covered(&journal, at, &process).await?;
    let state = Reader::open(&journal)?.state(None)?;
    let value = |key: &str| state.files.get(key.as_bytes()).map(|kv| kv.value.clone());
    ensure!(
        value("k/0").is_some_and(|value| value == "other"),
        "{state:?}"
    );
    process.end_in_order()?;
    ensure!(now(&session).await? == at, "it has written");
    Ok(())
}
