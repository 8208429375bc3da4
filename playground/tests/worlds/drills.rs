//! The drill passes where nothing lies, fails where something does, and says which.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cairn_playground::drill::{Named, Shape};
use cairn_playground::engine::Engine;
use cairn_playground::ledger::{Fault, FaultKind, Revisions};
use cairn_playground::programs::Programs;
use cairn_playground::world::Command::Start;
use cairn_playground::world::World;
use cairn_playground::writers::{Keys, Shared, Writer};
use serde_json::Value;

use crate::{cairn, eventually, world};

/// How often each is shown, unless `CAIRN_DRILL_ROUNDS` says otherwise.
const ROUNDS: u32 = 3;

fn rounds() -> u32 {
    let rounds = std::env::var("CAIRN_DRILL_ROUNDS").ok();
    rounds
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(ROUNDS)
}

fn run(drill: &str, args: &[&str]) -> Result<(Output, Value)> {
    let cache = tempfile::tempdir()?;
    let output = Command::new(cairn())
        .args(["drill", "run", drill, "--json"])
        .args(args)
        .env("XDG_CACHE_HOME", cache.path())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).with_context(|| said)?;
    Ok((output, report))
}

#[test]
fn a_power_cut_loses_nothing() -> Result<()> {
    let rounds = rounds().to_string();
    for shape in ["embedded", "lite"] {
        let (output, report) = run("power-cut", &["--shape", shape, "--rounds", &rounds])?;
        ensure!(output.status.code() == Some(0), "{report:#}");
        ensure!(
            report["passed"] == true && report["audit"]["faults"] == 0,
            "{report:#}"
        );
        let durable = report["audit"]["durable"]["writes"]
            .as_u64()
            .context("a number")?;
        ensure!(durable >= 20, "{report:#}");
        println!("{shape}: {rounds} power cuts, {durable} acknowledged writes, none lost");
    }
    Ok(())
}

#[test]
fn every_drill_passes_where_nothing_lies() -> Result<()> {
    for drill in Named::built_in()? {
        if !drill.script.shapes.contains(&Shape::Lite) {
            continue;
        }
        let (output, report) = run(&drill.name, &["--rounds", "1", "--shape", "lite"])?;
        ensure!(output.status.code() == Some(0), "{report:#}");
        let audit = &report["audit"];
        ensure!(
            report["passed"] == true && audit["faults"] == 0,
            "{report:#}"
        );
        let durable = audit["durable"]["writes"].as_u64().context("a number")?;
        ensure!(durable >= 20, "{report:#}");
        let unconfirmed = audit["applied"]["writes"].as_u64();
        if drill.name == "thresholds" {
            ensure!(unconfirmed >= Some(4), "{report:#}");
        }
        println!("{}: {durable} acknowledged writes, none lost", drill.name);
    }
    Ok(())
}

/// What a drill is run with on etcd: another one than the installed one if `CAIRN_ETCD` says so.
fn on_etcd(more: &[&str]) -> Vec<String> {
    let mut args = ["--shape", "etcd", "--rounds", "1"]
        .map(str::to_owned)
        .to_vec();
    args.extend(more.iter().map(|&arg| arg.to_owned()));
    if let Ok(directory) = std::env::var("CAIRN_ETCD") {
        args.extend(["--etcd".to_owned(), directory]);
    }
    args
}

fn run_on_etcd(drill: &str, more: &[&str]) -> Result<(Output, Value)> {
    let args = on_etcd(more);
    run(drill, &args.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Two at a time: each is several processes by itself.
#[test]
fn every_other_drill_of_etcd_passes_where_nothing_lies() -> Result<()> {
    drills_of_etcd_pass(0)
}

#[test]
fn the_drills_of_etcd_between_them_pass_where_nothing_lies() -> Result<()> {
    drills_of_etcd_pass(1)
}

fn drills_of_etcd_pass(first: usize) -> Result<()> {
    let mut drills = Named::built_in()?;
    drills.retain(|drill| drill.script.shapes.contains(&Shape::Etcd));
    for drill in drills.iter().skip(first).step_by(2) {
        let (output, report) = run_on_etcd(&drill.name, &[])?;
        ensure!(output.status.code() == Some(0), "{report:#}");
        let (audit, took) = (&report["audit"], &report["took_s"]);
        ensure!(
            report["passed"] == true && audit["faults"] == 0,
            "{report:#}"
        );
        let durable = audit["durable"]["writes"].as_u64().context("a number")?;
        ensure!(durable >= 20, "{report:#}");
        let requests = &report["requests"];
        ensure!(
            requests["failed_fraction"].as_f64() < Some(1.0)
                && requests["longest_wait_s"].as_f64() > Some(0.0),
            "{report:#}"
        );
        if drill.name == "any-machine" {
            // Each of three members was removed from both of its clusters, and another joined.
            let members = report["members"].as_array().context("it tells")?;
            ensure!(members.len() >= 6, "{members:?}");
        }
        if drill.name.starts_with("thresholds-f") {
            let story = report["story"].to_string();
            for says in [
                "all that was acknowledged",
                "alone gives its",
                "in effect but unconfirmed",
            ] {
                ensure!(story.contains(says), "{says}: {story}");
            }
        }
        if drill.name == "fire-drill" {
            let story = report["story"].to_string();
            for says in ["has 2 members", "has 3 members", "is in use again"] {
                ensure!(story.contains(says), "{says}: {story}");
            }
        }
        println!(
            "{}: {durable} acknowledged writes, none lost, {took} s",
            drill.name
        );
    }
    Ok(())
}

#[test]
fn a_persister_that_lies_beside_etcd_is_caught() -> Result<()> {
    let (output, report) = run_on_etcd("lose-everything", &["--liar"])?;
    ensure!(output.status.code() == Some(1), "{report:#}");
    let told = &report["audit"]["told"][0];
    ensure!(
        told["kind"] == "lost" && told["key"].is_string(),
        "{report:#}"
    );
    println!("caught: {told}");
    Ok(())
}

#[test]
fn a_persister_that_lies_is_caught_every_time() -> Result<()> {
    for round in 0..rounds() {
        for drill in Named::built_in()? {
            // Each of the others is caught in the same way, and once is enough.
            let is_once = drill.name != "power-cut" && round > 0;
            if is_once || !drill.script.shapes.contains(&Shape::Lite) {
                continue;
            }
            let (output, report) = run(&drill.name, &["--liar", "--rounds", "1"])?;
            ensure!(output.status.code() == Some(1), "{report:#}");
            ensure!(report["passed"] == false, "{report:#}");
            let told = &report["audit"]["told"][0];
            let is_lost = told["kind"] == "lost" && told["key"].is_string();
            // It confirms what two dead persisters cannot have, before anything is lost.
            let failed = report["failed"].as_str().unwrap_or_default();
            let is_early = drill.name == "thresholds" && failed.contains("cannot be on enough");
            ensure!(is_lost != is_early, "{report:#}");
            println!("{}: caught: {told} {failed}", drill.name);
        }
    }
    Ok(())
}

/// A drill of one's own, in which the second of two disks that must confirm is gone for good.
#[test]
fn a_step_that_cannot_be_done_fails_the_drill_and_is_named() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("mine.toml");
    let text = |rounds: &str| {
        format!(
            "about = \"mine\"\nshapes = [\"lite\"]\npersisters = 2\ntimeout = \"300ms\"\n\
             first = [\"start servers\", \"start clients\", \"write 5\"]\nround = [{rounds}]\n"
        )
    };
    let path = file.to_str().context("UTF-8")?;
    std::fs::write(
        &file,
        text(r#""kill persister-2", "left persister-2", "audit""#),
    )?;
    let (output, report) = run(path, &[])?;
    ensure!(output.status.code() == Some(1), "{report:#}");
    let failed = report["failed"].as_str().context("it says what failed")?;
    ensure!(
        failed.contains("round 1: left persister-2: ") && failed.contains("signal: 9"),
        "{failed}"
    );
    // While clients write, nobody can tell what has to be there.
    std::fs::write(&file, text(r#""audit""#))?;
    let (_, report) = run(path, &[])?;
    let failed = report["failed"].as_str().context("it says what failed")?;
    ensure!(failed.contains("end all clients before"), "{failed}");

    std::fs::write(&file, text(r#""kill persister-3", "audit""#))?;
    let output = Command::new(cairn())
        .args(["drill", "run", path])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(2) && said.contains("persister-3"),
        "{said}"
    );
    Ok(())
}

/// A proxy that is halted cannot be told that a member is out of use: the member is replaced when
/// the proxy has been.
#[test]
fn a_member_and_a_halted_proxy_before_it_are_replaced_together() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("mine.toml");
    let steps = [
        "start clients",
        "write 5",
        "guard servers",
        "halt proxy-1",
        "kill node-2",
        "recovered",
        "write 5",
        "terminate clients",
        "unguard",
        "kill nodes",
        "start nodes",
        "audit",
    ];
    let text = format!(
        "about = \"mine\"\nshapes = [\"etcd\"]\nproxies = 2\nwarden = \"300ms\"\n\
         first = [\"start servers\"]\nround = {steps:?}\n"
    );
    std::fs::write(&file, text)?;
    let (output, report) = run_on_etcd(file.to_str().context("UTF-8")?, &[])?;
    ensure!(output.status.code() == Some(0), "{report:#}");
    let story = report["story"].to_string();
    for name in ["node-2", "proxy-1"] {
        ensure!(
            story.contains(&format!("{name} is in use again")),
            "{story}"
        );
    }
    Ok(())
}

/// A canary of another kind: a disk that forgets what it was told to keep. The journal is put back
/// to how it was some writes ago, whole and without a mark; nothing but the ledger can tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_forgets_the_end_of_a_journal_is_caught() -> Result<()> {
    let (mut world, scratch) = world()?;
    let programs = Programs::within(cairn());
    let (machine, uri) = crate::probes::cluster(&mut world)?;
    let ledger = Shared::default();
    let keys = Keys::new(1, 10, fastrand::Rng::new());
    let persisted = format!("{uri}&persist=1");
    let (client, _writer) = Writer::new(
        programs.client,
        move || persisted.clone(),
        keys,
        Duration::from_secs(5),
        ledger.clone(),
    );
    let client = world.machine("client", vec![Box::new(client)]);
    let both = [machine.clone(), client.clone()];
    let write = async |more: usize| {
        machine.run(Start).await?;
        client.run(Start).await?;
        let goal = ledger.lock().points().len() + more;
        eventually("writes go on", || Ok(ledger.lock().points().len() >= goal))?;
        World::cut_power(&both).await?;
        anyhow::Ok(())
    };
    write(60).await?;
    let journal = machine
        .directory_of("persister")
        .context("it has one")?
        .join("journal");
    let before = scratch.path().join("before");
    let copy = |from: &Path, to: &Path| Command::new("cp").arg("-a").args([from, to]).status();
    ensure!(copy(&journal, &before)?.success());
    write(60).await?;

    // Honest so far: with the journal that it has, nothing is missing.
    let audit = async || {
        machine.run(Start).await?;
        let engine = Engine::connect(&uri, Duration::from_secs(5)).await?;
        let found = engine.everything().await?;
        let audit = ledger.lock().audit(&found, Revisions::Kept);
        World::cut_power(&both).await?;
        anyhow::Ok(audit)
    };
    let honest = audit().await?;
    ensure!(honest.passed(), "{honest:#?}");
    std::fs::remove_dir_all(&journal)?;
    ensure!(copy(&before, &journal)?.success());
    let forgetful = audit().await?;
    ensure!(
        !forgetful.passed() && forgetful.durable.gone() > 0,
        "{forgetful:#?}"
    );
    let lost = |fault: &Fault| fault.kind == FaultKind::Lost;
    ensure!(forgetful.told.iter().all(lost), "{forgetful:#?}");
    println!("caught: {}", forgetful.told[0].says);
    Ok(())
}

#[test]
fn what_is_kept_can_be_looked_at_afterwards() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let directory = scratch.path().join("kept");
    let path = directory.to_str().context("UTF-8")?;
    let page = scratch.path().join("report.html");
    let file = page.to_str().context("UTF-8")?;
    let args = ["--rounds", "1", "--keep", path, "--report", file];
    let (output, report) = run("power-cut", &args)?;
    ensure!(output.status.code() == Some(0), "{report:#}");
    let journal = directory.join("persister-1/persister/journal");
    let segments = std::fs::read_dir(&journal)?.count();
    let page = std::fs::read_to_string(page)?;
    ensure!(
        page.contains("power-cut") && page.contains("kill all: persister-1, client-1"),
        "{page}"
    );
    ensure!(
        page.contains("class=\"write durable\""),
        "no write is drawn: {page}"
    );
    ensure!(segments > 0 && directory.join("client-1.client.log").exists());
    Ok(())
}

/// The story: an fsync in memory is nothing, and a drill there shows less than it seems to.
#[test]
fn disks_in_memory_are_said_to_be() -> Result<()> {
    for (parent, in_memory) in [("/dev/shm", true), (env!("CARGO_TARGET_TMPDIR"), false)] {
        let scratch = tempfile::tempdir_in(parent)?;
        let output = Command::new(cairn())
            .args(["drill", "run", "power-cut", "--rounds", "1"])
            .env("XDG_CACHE_HOME", scratch.path())
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(
            said.contains("in memory, where an fsync is nothing") == in_memory,
            "{parent}: {said}"
        );
    }
    Ok(())
}

#[test]
fn help_teaches() -> Result<()> {
    for (args, words) in [
        (
            &["--help"][..],
            &["power-cut", "--liar", "probe", "no other"][..],
        ),
        (
            &["drill", "run", "--help"],
            &["Exit status", "--keep", "--seed"],
        ),
        (&["drill", "show", "thresholds"], &["require = 2", "audit"]),
        (&["probe", "--help"], &["persist=1,2", "--for"]),
        (&["drill", "list"], &["power-cut", "every disk but one"]),
    ] {
        let output = Command::new(cairn()).args(args).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{args:?}");
        for word in words {
            ensure!(said.contains(word), "{args:?} does not say {word}: {said}");
        }
        ensure!(!said.contains("__"), "{said}");
    }
    Ok(())
}
