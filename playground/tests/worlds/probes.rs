//! What a probe sees of a cluster that is broken under it.

use std::process::Command as Std;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cairn_playground::probe::{Options, Seen, probe};
use cairn_playground::programs::Programs;
use cairn_playground::world::services::{Cluster, Persister};
use cairn_playground::world::{Command, Machine, World};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{cairn, world};

/// A durable cluster in one process.
pub(crate) fn cluster(world: &mut World) -> Result<(Arc<Machine>, String)> {
    let cluster = Cluster::Embedded(world.port()?);
    let uri = cluster.uri();
    let persister = Persister {
        program: Programs::within(cairn()).persister,
        id: 1,
        cluster,
        observe: world.port()?,
        args: Vec::new(),
    };
    Ok((world.machine("one", vec![Box::new(persister)]), uri))
}

fn start(uri: &str) -> (JoinHandle<Result<Seen>>, CancellationToken) {
    let stop = CancellationToken::new();
    let options = Options {
        uri: uri.to_owned(),
        every: Duration::from_millis(2),
        timeout: Duration::from_secs(5),
        prefix: "/probe".to_owned(),
        tell: false,
    };
    let stopped = stop.clone();
    (
        tokio::spawn(async move { probe(&options, stopped).await }),
        stop,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_sees_an_outage_and_that_it_is_over() -> Result<()> {
    let (mut world, _scratch) = world()?;
    let (machine, uri) = cluster(&mut world)?;
    machine.run(Command::Start).await?;
    let (probing, stop) = start(&uri);
    tokio::time::sleep(Duration::from_millis(300)).await;
    machine.run(Command::Kill).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    machine.run(Command::Start).await?;
    tokio::time::sleep(Duration::from_millis(700)).await;
    stop.cancel();
    let seen = probing.await??;
    println!("{seen}");
    ensure!(seen.longest_outage_s >= 0.3, "{seen}");
    ensure!(
        seen.longest_wait_s >= 0.25 || !seen.is_well(),
        "a request waited, or failed: {seen}"
    );
    ensure!(seen.durable.writes > 10 && seen.reads_wrong == 0, "{seen}");

    // It has left nothing behind, and sees nothing where nothing is broken.
    let (probing, stop) = start(&uri);
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.cancel();
    let seen = probing.await??;
    ensure!(seen.is_well(), "{seen}");
    let engine = cairn_playground::engine::Engine::connect(&uri, Duration::from_secs(5)).await?;
    let left = engine.everything().await?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_probes_too_and_its_exit_status_tells() -> Result<()> {
    let (mut world, _scratch) = world()?;
    let (machine, uri) = cluster(&mut world)?;
    machine.run(Command::Start).await?;
    let args = ["probe", &uri, "--for", "300ms", "--every", "5ms"];
    let run = |args: Vec<String>| {
        tokio::task::spawn_blocking(move || Std::new(cairn()).args(args).output())
    };
    let args = |more: &[&str]| args.iter().chain(more).map(|&arg| arg.to_owned()).collect();
    let output = run(args(&["--json"])).await??;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(0), "{}: {said}", output.status);
    let seen: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    ensure!(
        seen["durable"]["writes"].as_u64().context("a number")? > 3,
        "{seen}"
    );
    // Nobody confirms what waits for a persister that is not there.
    let nobody = vec![
        "probe".to_owned(),
        format!("{uri}&persist=7"),
        "--for".into(),
        "200ms".into(),
        "--timeout".into(),
        "300ms".into(),
    ];
    let output = run(nobody).await??;
    ensure!(output.status.code() == Some(1), "{}", output.status);
    ensure!(String::from_utf8_lossy(&output.stderr).contains("not confirmed durable"));
    machine.run(Command::Kill).await?;
    let output = run(args(&["--timeout", "300ms"])).await??;
    ensure!(output.status.code() == Some(2), "{}", output.status);
    ensure!(String::from_utf8_lossy(&output.stderr).starts_with("cairn: cannot begin"));
    Ok(())
}
