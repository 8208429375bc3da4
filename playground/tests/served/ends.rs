//! However the program ends, nothing of it lives on.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::processes::processes_in;
use crate::program::{DEADLINE, Playground, cairn};

#[test]
fn an_orderly_end_leaves_no_process_and_no_directory() -> Result<()> {
    for signal in ["-INT", "-TERM"] {
        let (mut playground, page) = Playground::ready()?;
        ensure!(playground.children()?.len() == 3);
        // An open stream holds nothing up.
        playground.signal(signal)?;
        let status = playground.ended()?;
        ensure!(status.code() == Some(0), "{signal}: {status}");
        ensure!(playground.children()?.is_empty(), "{signal}");
        let runs = std::fs::read_dir(playground.cache.path().join("cairn/playground"))?;
        let runs: Vec<_> = runs.flatten().map(|run| run.file_name()).collect();
        ensure!(runs == ["lock"], "{signal}: {runs:?}");
        drop(page);
    }
    Ok(())
}

#[test]
fn killed_it_leaves_no_process() -> Result<()> {
    let (mut playground, _page) = Playground::ready()?;
    let directory = playground.cache.path().canonicalize()?;
    ensure!(processes_in(&directory)?.len() == 3);
    // A stopped process dies as any other.
    let stopped = processes_in(&directory)?[0].to_string();
    ensure!(
        Command::new("kill")
            .args(["-STOP", &stopped])
            .status()?
            .success()
    );
    playground.child.kill()?;
    playground.child.wait()?;
    let begun = Instant::now();
    while !processes_in(&directory)?.is_empty() {
        ensure!(begun.elapsed() < DEADLINE, "something lives on");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

#[test]
fn a_taken_port_is_passed_over_and_the_world_is_not_listened_to() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let playground = Playground::start_with(&["--listen", &taken.local_addr()?.to_string()])?;
    ensure!(playground.address != taken.local_addr()?.to_string());
    let refused = Command::new(cairn())
        .args(["playground", "--no-open", "--listen", "0.0.0.0:8047"])
        .env("XDG_CACHE_HOME", playground.cache.path())
        .output()?;
    let says = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(2), "{says}");
    ensure!(says.contains("ssh -L"), "{says}");
    Ok(())
}
