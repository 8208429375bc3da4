//! `persister status` and `persister wait` beside a real cluster.

use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use cairn_tests::{eventually, program};

use crate::cluster::{Etcd, durable, put};

fn run(etcd: &Etcd, args: &[&str]) -> Result<Output> {
    let mut command = Command::new(program("persister")?);
    Ok(command.args(args).args(["-a", &etcd.uri]).output()?)
}

/// What `persister status` says of a persister: its state, and the revision of its watermark.
fn state(etcd: &Etcd, id: u64) -> Result<(String, Option<i64>)> {
    let output = run(etcd, &["status", "--json"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let all = report["persisters"].as_array().context("a list")?;
    let seen = all.iter().find(|seen| seen["id"] == id);
    let seen = seen.context("it has said something")?;
    let state = seen["state"].as_str().context("a state")?;
    Ok((state.to_owned(), seen["watermark"].as_i64()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alive_silent_and_absent_are_told_apart_by_the_lease() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let etcd = Etcd::start(1)?;
    let mut process = etcd.persister(1, &scratch.path().join("journal"), &[])?;
    let session = etcd.session().await?;
    let at = put(&session, "k", "x").await?;
    durable(&session, 1, at).await?;
    let becomes = async |wanted: &str| {
        let is = || async { Ok((state(&etcd, 1)?.0 == wanted).then_some(())) };
        eventually(wanted, is).await
    };
    becomes("alive").await?;
    process.halt()?;
    becomes("silent").await?;
    becomes("absent").await?;
    ensure!(state(&etcd, 1)?.1 == Some(at), "its watermark is not told");
    // It finds that its lease has ended, and begins anew.
    process.resume()?;
    becomes("alive").await?;
    process.end_in_order()?;
    becomes("absent").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_is_waited_for_until_it_is_on_enough_disks() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let etcd = Etcd::start(1)?;
    let session = etcd.session().await?;
    let journal = |id: u32| scratch.path().join(id.to_string());
    let mut first = etcd.persister(1, &journal(1), &[])?;
    let at = put(&session, "k", "x").await?;
    let wait = |at: i64, args: &[&str]| {
        let at = at.to_string();
        run(&etcd, &[&["wait", "--revision", &at], args].concat())
    };
    let output = wait(at, &[])?;
    ensure!(output.status.success(), "{output:?}\n{}", first.log());

    // One of two is there, and that is enough for one, and not for both.
    let two = ["--persist", "1,2", "--timeout", "1s"];
    let output = wait(at, &two)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(31), "{output:?}");
    ensure!(said.contains("2 has said nothing"), "{said}");
    let output = wait(at, &[&two[..], &["--require", "1", "--json"]].concat())?;
    ensure!(output.status.success(), "{output:?}");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    ensure!(told["durable"] == true, "{told}");
    let mut second = etcd.persister(2, &journal(2), &[])?;
    let output = wait(at, &["--persist", "1,2"])?;
    ensure!(output.status.success(), "{output:?}\n{}", second.log());

    // The newest revision is a watermark's, so no watermark will ever say it.
    let header = session
        .call(cairn_etcd::wire::RangeRequest::key("k"))
        .await?
        .header;
    let newest = crate::cluster::revision(header)?;
    ensure!(newest > at, "nothing was written by the persisters");
    let output = wait(newest, &["--persist", "1,2"])?;
    ensure!(output.status.success(), "{output:?}");

    // One that is not there yet.
    let output = wait(newest + 100, &["--timeout", "1s"])?;
    ensure!(output.status.code() == Some(31), "{output:?}");
    first.end_in_order()?;
    second.end_in_order()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_outlives_its_cluster_promises_nothing() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let mut etcd = Etcd::start(1)?;
    let mut process = etcd.persister(1, &scratch.path().join("1"), &[])?;
    let session = etcd.session().await?;
    let at = put(&session, "k", "x").await?;
    durable(&session, 1, at).await?;
    let far = (at + 1_000_000).to_string();
    let args = ["wait", "--revision", &far, "--timeout", "10min"];
    let mut waiting =
        cairn_tests::Process::start("persister", [&args[..], &["-v", "-a", &etcd.uri]].concat())?;
    let has_seen = || async {
        let log = waiting.log();
        Ok(log
            .contains("waiting for persisters of this cluster")
            .then_some(()))
    };
    eventually("it has seen the first cluster", has_seen).await?;
    process.end_in_order()?;
    etcd.wipe()?;
    etcd.start_again()?;
    let said = waiting.ends_with(20)?;
    ensure!(said.contains("may mean something else"), "{said}");
    Ok(())
}
