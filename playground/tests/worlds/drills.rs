//! The drill passes where nothing lies, fails where something does, and says which.

use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::cairn;

/// How often each is shown, unless `CAIRN_DRILL_ROUNDS` says otherwise.
const ROUNDS: u32 = 3;

fn rounds() -> u32 {
    let rounds = std::env::var("CAIRN_DRILL_ROUNDS").ok();
    rounds
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(ROUNDS)
}

fn run(args: &[&str]) -> Result<(Output, Value)> {
    let cache = tempfile::tempdir()?;
    let output = Command::new(cairn())
        .args(["drill", "run", "power-cut", "--json"])
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
        let (output, report) = run(&["--shape", shape, "--rounds", &rounds])?;
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
fn a_persister_that_lies_is_caught_every_time() -> Result<()> {
    for _ in 0..rounds() {
        let (output, report) = run(&["--liar", "--rounds", "1"])?;
        ensure!(output.status.code() == Some(1), "{report:#}");
        ensure!(report["passed"] == false, "{report:#}");
        let told = &report["audit"]["told"][0];
        ensure!(
            told["kind"] == "lost" && told["key"].is_string(),
            "{report:#}"
        );
        println!(
            "caught: {} keys, the first {told}",
            report["audit"]["faults"]
        );
    }
    Ok(())
}

#[test]
fn what_is_kept_can_be_looked_at_afterwards() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let directory = scratch.path().join("kept");
    let path = directory.to_str().context("UTF-8")?;
    let (output, report) = run(&["--rounds", "1", "--keep", path])?;
    ensure!(output.status.code() == Some(0), "{report:#}");
    let journal = directory.join("persister-1/persister/journal");
    let segments = std::fs::read_dir(&journal)?.count();
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
        (&["probe", "--help"], &["persist=1,2", "--for"]),
        (&["drill", "list"], &["power-cut"]),
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
