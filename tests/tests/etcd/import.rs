//! A journal from a backup: what etcd saved is what a persister would have seen.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use cairn_etcd::Session;
use cairn_etcd::wire::{
    CompactionRequest, DeleteRangeRequest, HashKvRequest, LeaseGrantRequest, PutRequest, TxnRequest,
};
use cairn_journal::Reader;
use cairn_tests::program;
use serde_json::Value;

use crate::cluster::{Etcd, durable, journaled, put, revision, same, told};

fn run(name: &str, args: &[&str], paths: &[&Path]) -> Result<Output> {
    let mut command = Command::new(program(name)?);
    Ok(command.args(args).args(paths).output()?)
}

/// What a command says, which must end with `code`.
fn said(name: &str, args: &[&str], paths: &[&Path], code: i32) -> Result<String> {
    let output = run(name, args, paths)?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(code),
        "{name} {args:?}: {told}"
    );
    Ok(format!("{}{told}", String::from_utf8_lossy(&output.stdout)))
}

fn saved(etcd: &Etcd, file: PathBuf) -> Result<PathBuf> {
    let path = file.to_str().context("a test directory is UTF-8")?;
    etcd.members[0].etcdctl(&["snapshot", "save", path])?;
    Ok(file)
}

/// Transactions, deletes, leases, and a compaction in the middle. Returns the compacted revision.
async fn write(session: &Session) -> Result<i64> {
    let (id, ttl) = (0x42, 700);
    session.call(LeaseGrantRequest { ttl, id }).await?;
    let mut compacted = 0;
    for n in 0..60 {
        let key = |at: i32| PutRequest {
            lease: i64::from(at % 2) * id,
            ..PutRequest::new(format!("k{}", (n + at) % 7), n.to_string())
        };
        let txn = TxnRequest {
            success: vec![key(0).into(), key(3).into(), key(5).into()],
            ..TxnRequest::default()
        };
        let at = revision(session.call(txn).await?.header)?;
        if n % 9 == 0 {
            let key = DeleteRangeRequest::key(format!("k{}", n % 7));
            session.call(key).await?;
        }
        if n == 30 {
            compacted = at;
        }
    }
    let compaction = CompactionRequest {
        revision: compacted,
        physical: true,
    };
    session.call(compaction).await?;
    Ok(compacted)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_becomes_the_journal_that_a_persister_would_have_written() -> Result<()> {
    let etcd = Etcd::start(1)?;
    let scratch = tempfile::tempdir()?;
    let (own, imported) = (scratch.path().join("own"), scratch.path().join("imported"));
    let mut persister = etcd.persister(1, &own, &[])?;
    let session = etcd.session().await?;
    // It must be there before anything is compacted.
    let first = put(&session, "first", "one").await?;
    durable(&session, 1, first)
        .await
        .with_context(|| persister.log())?;
    let compacted = write(&session).await?;
    let last = put(&session, "last", "one").await?;
    durable(&session, 1, last)
        .await
        .with_context(|| persister.log())?;
    persister.end_in_order()?;
    let newest = put(&session, "after", "x").await?;
    let file = saved(&etcd, scratch.path().join("backup.db"))?;
    let lost = session.call(HashKvRequest { revision: newest }).await?.hash;

    let args = ["import", "--json", "-j"];
    let report = said("persister", &args, &[&imported, &file], 0)?;
    let report: Value = serde_json::from_str(report.lines().next().unwrap_or_default())?;
    ensure!(
        report["history-from"] == compacted && report["newest"] == newest,
        "{report}"
    );
    ensure!(
        report["leases"] == 1 && report["identity"].is_string(),
        "{report}"
    );
    // What is there is not touched.
    said("persister", &args, &[&imported, &file], 2)?;
    same(
        &journaled(&own)?,
        &journaled(&imported)?,
        compacted + 1,
        last,
    )?;
    for (a, b) in [(&own, &file), (&own, &imported), (&file, &imported)] {
        said("diffjournal", &[], &[a, b], 0)?;
        said("diffjournal", &["--state"], &[a, b], 0)?;
    }
    let dumped = |path: &Path| {
        said(
            "dumpjournal",
            &["--state", "--json", "--control"],
            &[path],
            0,
        )
    };
    ensure!(
        dumped(&file)? == dumped(&imported)?,
        "the same state, attributes and leases"
    );
    let checked = said("dumpjournal", &["--check"], &[&file], 0)?;
    ensure!(
        checked.contains(&format!("the state at revision {compacted}")),
        "{checked}"
    );
    let older = (compacted - 1).to_string();
    let args = ["--state", "--at-revision", &older];
    ensure!(said("dumpjournal", &args, &[&file], 64)?.contains("is none of them"));

    // And back: what comes of it has the hash of the cluster that was saved.
    let back = scratch.path().join("back.db");
    let from = compacted.to_string();
    let args = [
        "restore",
        "--json",
        "--rehearsal",
        "--history-from",
        &from,
        "-j",
    ];
    let mut command = Command::new(program("persister")?);
    command
        .args(args)
        .arg(&imported)
        .arg("--to-snapshot")
        .arg(&back);
    let output = command.output()?;
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    ensure!(
        report["hash-kv-at-newest"] == lost && report["unnumbered"] == 0,
        "the cluster said {lost}: {report}"
    );
    ensure!(
        report["assumed-leases"]
            .as_array()
            .is_some_and(Vec::is_empty),
        "{report}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_takes_the_history_of_a_backup_and_goes_on() -> Result<()> {
    let etcd = Etcd::start(1)?;
    let scratch = tempfile::tempdir()?;
    let session = etcd.session().await?;
    let compacted = write(&session).await?;
    put(&session, "stays", "x").await?;
    // Another cluster with as many revisions.
    let other = Etcd::start(1)?;
    let elsewhere = other.session().await?;
    write(&elsewhere).await?;
    put(&elsewhere, "stays", "y").await?;
    let theirs = saved(&other, scratch.path().join("theirs.db"))?;
    let file = saved(&etcd, scratch.path().join("backup.db"))?;
    let journal = scratch.path().join("journal");
    let with = |file: &Path| ["--base".to_owned(), file.display().to_string()];

    let [flag, path] = with(&theirs);
    let mut persister = etcd.persister(1, &journal, &[&flag, &path])?;
    let log = persister.ends_with(20)?;
    ensure!(log.contains("is no base for this cluster"), "{log}");
    ensure!(!journal.exists(), "nothing was written");

    let [flag, path] = with(&file);
    let last = put(&session, "since", "x").await?;
    let mut persister = etcd.persister(1, &journal, &[&flag, &path])?;
    durable(&session, 1, last)
        .await
        .with_context(|| persister.log())?;
    persister.end_in_order()?;
    let log = persister.log();
    ensure!(
        log.contains("the journal begins with the history of"),
        "{log}"
    );
    ensure!(!log.contains("one by one"), "{log}");
    let cluster = told(&session, compacted + 1, last).await?;
    same(&cluster, &journaled(&journal)?, compacted + 1, last)?;
    let state = Reader::open(&journal)?.state(None)?;
    ensure!(state.open_gap.is_none() && state.files.contains_key(&b"stays"[..]));
    // Later starts need no base, and are not kept by one.
    let mut persister = etcd.persister(1, &journal, &[&flag, &path])?;
    let next = put(&session, "next", "x").await?;
    durable(&session, 1, next)
        .await
        .with_context(|| persister.log())?;
    persister.end_in_order()
}
