//! However the program ends, nothing of it lives on, and nobody else is in its way.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use cairn_playground::world::{Launch, Process};

use crate::processes::processes_in;
use crate::{cairn, eventually, world};

/// How often the program is killed, unless `CAIRN_PLAYGROUND_KILLS` says otherwise.
const KILLS: usize = 6;

fn drill(shape: &str, directory: &Path) -> Result<Child> {
    let mut command = Command::new(cairn());
    command
        .args([
            "drill",
            "run",
            "power-cut",
            "--shape",
            shape,
            "--rounds",
            "1000",
            "--keep",
        ])
        .arg(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ok(command.spawn()?)
}

/// The ports that processes were told to listen on.
fn ports_of(pids: &[u32]) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    for pid in pids {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let named = line.split("127.0.0.1:").skip(1);
        ports.extend(named.filter_map(|rest| {
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse::<u16>().ok()
        }));
    }
    ports
}

#[test]
fn killed_at_any_moment_the_program_leaves_no_process_and_no_taken_port() -> Result<()> {
    let seed = std::env::var("CAIRN_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("kills of the program: CAIRN_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let kills = std::env::var("CAIRN_PLAYGROUND_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok());
    let (mut children, mut all_ports) = (0, 0);
    for kill in 0..kills.unwrap_or(KILLS) {
        let scratch = tempfile::tempdir()?;
        let directory = scratch.path().canonicalize()?.join("kept");
        // Some while the first children are being started, some in the midst of a power cut.
        let (shape, longest) = [("embedded", 100), ("lite", 200), ("embedded", 2_500)][kill % 3];
        let mut program = drill(shape, &directory)?;
        let wait = random.u64(..longest);
        std::thread::sleep(Duration::from_millis(wait));
        let before = processes_in(&directory)?;
        let ports = ports_of(&before);
        ensure!(program.try_wait()?.is_none(), "it ended by itself");
        program.kill()?;
        program.wait()?;
        eventually("nothing of it lives", || {
            Ok(processes_in(&directory)?.is_empty())
        })?;
        // The last thread of a dying process closes its sockets, a moment after the first one has
        // gone.
        for &port in &ports {
            let is_free = || Ok(TcpListener::bind(("127.0.0.1", port)).is_ok());
            eventually(&format!("port {port} is free"), is_free)?;
        }
        children += before.len();
        all_ports += ports.len();
        println!(
            "killed after {wait} ms: {} children, {} ports",
            before.len(),
            ports.len()
        );
    }
    println!("{children} children and {all_ports} ports in all; none is left");
    ensure!(children > 0, "there was nobody to outlive it");
    Ok(())
}

/// The story: the kernel's promise is about the thread that starts a child. Runtimes end idle
/// threads.
#[test]
fn a_child_outlives_the_thread_that_asked_for_it() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let launch = Launch::new("sleep", "sleep", scratch.path().join("log")).args(["1000"]);
    let started = std::thread::spawn(move || Process::start(&launch, &cairn()));
    let process = started
        .join()
        .map_err(|_| anyhow::anyhow!("it panicked"))??;
    std::thread::sleep(Duration::from_millis(100));
    ensure!(process.ended()?.is_none(), "it died with the thread");
    process.kill();
    process.wait(crate::DEADLINE)?;
    Ok(())
}

#[test]
fn an_interrupt_ends_everything_and_leaves_no_directory() -> Result<()> {
    for signal in ["-INT", "-TERM", "-HUP"] {
        let scratch = tempfile::tempdir()?;
        let cache = scratch.path().canonicalize()?;
        let mut program = Command::new(cairn())
            .args(["drill", "run", "power-cut", "--rounds", "1000"])
            .env("XDG_CACHE_HOME", &cache)
            .stderr(Stdio::null())
            .spawn()?;
        eventually("it has children", || Ok(processes_in(&cache)?.len() >= 5))?;
        let pid = program.id().to_string();
        ensure!(
            Command::new("kill")
                .args([signal, &pid])
                .status()?
                .success()
        );
        let status = program.wait()?;
        ensure!(status.code() == Some(130), "{signal}: {status}");
        ensure!(processes_in(&cache)?.is_empty(), "{signal}");
        let runs = std::fs::read_dir(cache.join("cairn/playground"))?;
        let left: Vec<_> = runs
            .map(|run| Ok(run?.file_name()))
            .collect::<Result<_>>()?;
        ensure!(left == ["lock"], "{signal}: {left:?}");
    }
    Ok(())
}

#[test]
fn what_a_killed_program_left_is_removed_by_the_next_one() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let cache = scratch.path().canonicalize()?;
    let drill = |rounds: &str| {
        let mut command = Command::new(cairn());
        command
            .args(["drill", "run", "power-cut", "--rounds", rounds])
            .env("XDG_CACHE_HOME", &cache)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    let runs = || -> Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(cache.join("cairn/playground"))?;
        let paths = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<_>>>()?;
        Ok(paths.into_iter().filter(|path| path.is_dir()).collect())
    };
    let mut first = drill("1000").spawn()?;
    eventually("it has children", || Ok(processes_in(&cache)?.len() >= 5))?;
    first.kill()?;
    first.wait()?;
    eventually("nothing of it lives", || {
        Ok(processes_in(&cache)?.is_empty())
    })?;
    ensure!(runs()?.len() == 1, "its directory is left: {:?}", runs()?);
    let mut living = drill("1000").spawn()?;
    eventually("it has children", || Ok(processes_in(&cache)?.len() >= 5))?;
    ensure!(drill("1").status()?.success());
    let left = runs()?;
    let still = living.try_wait()?.is_none();
    living.kill()?;
    living.wait()?;
    ensure!(
        still && left.len() == 1,
        "that of a living one is left alone: {left:?}"
    );
    Ok(())
}

#[test]
fn two_programs_do_not_share_a_directory() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let directory = scratch.path().canonicalize()?.join("kept");
    let mut first = drill("embedded", &directory)?;
    eventually("the first has it", || {
        Ok(!processes_in(&directory)?.is_empty())
    })?;
    let second = Command::new(cairn())
        .args(["drill", "run", "power-cut", "--keep"])
        .arg(&directory)
        .output()?;
    let said = String::from_utf8_lossy(&second.stderr);
    let pid = first.id();
    first.kill()?;
    first.wait()?;
    ensure!(second.status.code() == Some(2), "{}", second.status);
    ensure!(
        said.contains(&format!("is in use by another cairn (process {pid})")),
        "{said}"
    );
    // The first has left things there: they are not another drill's to mix with.
    let third = Command::new(cairn())
        .args(["drill", "run", "power-cut", "--keep"])
        .arg(&directory)
        .output()?;
    let said = String::from_utf8_lossy(&third.stderr);
    ensure!(
        third.status.code() == Some(2) && said.contains("it already holds"),
        "{said}"
    );
    Ok(())
}

#[test]
fn too_few_descriptors_are_an_error_that_says_so_and_not_a_failed_drill() -> Result<()> {
    for limit in [8, 16, 24] {
        let scratch = tempfile::tempdir()?;
        let script = format!("ulimit -n {limit}; exec \"$0\" drill run power-cut --rounds 2");
        let output = Command::new("sh")
            .args(["-c", &script])
            .arg(cairn())
            .env("XDG_CACHE_HOME", scratch.path())
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(2),
            "{limit}: {}: {said}",
            output.status
        );
        ensure!(
            said.contains("ulimit -n") || said.contains("Too many open files"),
            "{limit}: {said}"
        );
        eventually("nothing lives", || {
            Ok(processes_in(scratch.path())?.is_empty())
        })?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_world_that_is_dropped_in_the_midst_of_work_leaves_nothing() -> Result<()> {
    let (mut world, _scratch) = world()?;
    let directory = world.directory().to_owned();
    // It forks as fast as it can, and its children are in its process group.
    let busy = crate::Shell::new("while :; do (sleep 1000) & sleep 0.01; done");
    let machine = world.machine("busy", vec![Box::new(busy)]);
    machine.run(cairn_playground::world::Command::Start).await?;
    eventually("it has children of its own", || {
        Ok(processes_in(&directory)?.len() > 3)
    })?;
    drop(world);
    eventually("nothing lives", || Ok(processes_in(&directory)?.is_empty()))?;
    ensure!(!directory.exists(), "its directory is gone");
    Ok(())
}
