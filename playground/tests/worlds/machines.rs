//! Machines that do not do as they are told, and people who tell them two things at once.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command as Std;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cairn_playground::world::Condition;
use cairn_playground::world::{Command, Error, Launch, Machine, Process, What};

use crate::{Shell, cairn, eventually, world};

fn condition(machine: &Machine) -> Condition {
    machine.about()[0].condition
}

/// Sends a signal from outside, as an operator with a shell would.
fn signal(machine: &Machine, name: &str) -> Result<()> {
    let pid = machine.about()[0].pid.context("it runs")?.to_string();
    ensure!(Std::new("kill").args([name, &pid]).status()?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_lives_through_everything_that_can_be_done_to_it() -> Result<()> {
    let (mut world, _scratch) = world()?;
    let script = "echo x >> disk; touch ready; while :; do sleep 0.05; done";
    let shell = Shell::with_file(&world, "one", script);
    let machine = world.machine("one", vec![Box::new(shell)]);
    let directory = machine
        .directory_of("shell")
        .context("it has one")?
        .to_owned();
    let disk = || std::fs::read_to_string(directory.join("disk")).unwrap_or_default();
    for (command, is, starts) in [
        (Command::Start, Condition::Up, 1),
        (Command::Halt, Condition::Halted, 1),
        (Command::Resume, Condition::Up, 1),
        (Command::Kill, Condition::Down, 1),
        (Command::Start, Condition::Up, 2),
        (Command::Restart, Condition::Up, 3),
        (Command::Terminate, Condition::Down, 3),
        (Command::Start, Condition::Up, 4),
        (Command::Halt, Condition::Halted, 4),
        (Command::Terminate, Condition::Down, 4),
        (Command::Start, Condition::Up, 5),
        (Command::Interrupt, Condition::Down, 5),
        (Command::Start, Condition::Up, 6),
        (Command::Replace, Condition::Up, 1),
        (Command::Wipe, Condition::Down, 0),
    ] {
        machine
            .run(command)
            .await
            .with_context(|| command.to_string())?;
        ensure!(
            condition(&machine) == is,
            "{command}: {:?}",
            condition(&machine)
        );
        // Its file says that it is ready, also from the time before; so its disk may follow.
        let written = || Ok(disk().lines().count() == starts);
        eventually(&format!("{command}: the disk of {starts} starts"), written)?;
    }
    let refused = machine.run(Command::Kill).await;
    ensure!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_is_asked_two_things_at_once_does_one_and_says_so() -> Result<()> {
    let (mut world, _scratch) = world()?;
    let shell = Shell::with_file(
        &world,
        "slow",
        "until [ -e go ]; do sleep 0.02; done; touch ready; sleep 1000",
    );
    let machine = world.machine("slow", vec![Box::new(shell)]);
    let starting = tokio::spawn({
        let machine = Arc::clone(&machine);
        async move { machine.run(Command::Start).await }
    });
    eventually("it runs", || Ok(condition(&machine) == Condition::Up))?;
    let asked = Instant::now();
    let second = machine.run(Command::Kill).await;
    let Err(
        error @ Error::Busy {
            doing: Command::Start,
            ..
        },
    ) = second
    else {
        anyhow::bail!("{second:?}");
    };
    ensure!(
        error.to_string() == "slow is busy (start); try again when that is over",
        "{error}"
    );
    ensure!(
        asked.elapsed() < Duration::from_secs(5),
        "it was refused, not queued"
    );
    std::fs::write(
        machine
            .directory_of("shell")
            .context("it has one")?
            .join("go"),
        "",
    )?;
    starting.await??;
    machine.run(Command::Kill).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_given_up_half_way_leaves_a_machine_that_obeys() -> Result<()> {
    let (mut world, _scratch) = world()?;
    let shell = Shell::with_file(&world, "never", "sleep 1000");
    let machine = world.machine("never", vec![Box::new(shell)]);
    let given_up =
        tokio::time::timeout(Duration::from_millis(100), machine.run(Command::Start)).await;
    ensure!(given_up.is_err(), "it never is ready");
    ensure!(condition(&machine) == Condition::Up, "and it was started");
    machine.run(Command::Kill).await?;
    ensure!(condition(&machine) == Condition::Down);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_that_fails_says_which_and_shows_the_log() -> Result<()> {
    let (mut world, _scratch) = world()?;
    let deaf = world.machine(
        "deaf",
        vec![Box::new(Shell::new(
            "trap '' TERM; echo I am deaf; while :; do sleep 0.05; done",
        ))],
    );
    deaf.run(Command::Start).await?;
    eventually("it has set its trap", || {
        let log = std::fs::read_to_string(&deaf.about()[0].log)?;
        Ok(log.contains("deaf"))
    })?;
    let error = deaf
        .run(Command::Terminate)
        .await
        .err()
        .context("it does not end")?
        .to_string();
    ensure!(
        error.starts_with("deaf/shell: its end took longer than 400ms"),
        "{error}"
    );
    ensure!(error.contains("I am deaf"), "{error}");
    ensure!(
        condition(&deaf) == Condition::Up,
        "what is believed is what is so"
    );
    deaf.run(Command::Kill).await?;

    let slow = Shell {
        is_ready: |_| false,
        ..Shell::new("echo not yet; sleep 1000")
    };
    let slow = world.machine("slow", vec![Box::new(slow)]);
    let error = slow
        .run(Command::Start)
        .await
        .err()
        .context("it is never ready")?
        .to_string();
    ensure!(
        error.starts_with("slow/shell: getting ready took longer than 400ms"),
        "{error}"
    );
    ensure!(error.contains("not yet"), "{error}");

    let brief = Shell {
        is_ready: |_| false,
        ..Shell::new("echo no disk; exit 13")
    };
    let brief = world.machine("brief", vec![Box::new(brief)]);
    let error = brief
        .run(Command::Start)
        .await
        .err()
        .context("it ends")?
        .to_string();
    ensure!(
        error.starts_with("brief/shell ended (exit status: 13) before it was ready"),
        "{error}"
    );
    ensure!(error.contains("no disk"), "{error}");

    let told = world.feed().since(0);
    let failed = told
        .iter()
        .filter(|event| matches!(event.what, What::Failed { .. }))
        .count();
    ensure!(failed == 3, "{told:#?}");
    ensure!(
        told.windows(2)
            .all(|pair| pair[1].number == pair[0].number + 1)
    );
    Ok(())
}

#[test]
fn a_program_that_is_not_there_is_named() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let launch = Launch::new("ghost", "/nonexistent/ghost", scratch.path().join("log"));
    let process = Process::start(&launch, &cairn())?;
    let status = process.wait(crate::DEADLINE)?;
    ensure!(status.code() == Some(127), "{status}");
    ensure!(
        process
            .log()
            .contains("cannot start /nonexistent/ghost: No such file"),
        "{}",
        process.log()
    );
    let error = Process::start(&launch, "/nonexistent/cairn".as_ref())
        .err()
        .context("no guard")?;
    ensure!(
        error
            .to_string()
            .starts_with("cannot start ghost (/nonexistent/cairn): No such file"),
        "{error}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_behind_its_back_is_seen() -> Result<()> {
    let (mut world, _scratch) = world()?;
    let machine = world.machine("one", vec![Box::new(Shell::new("sleep 1000"))]);
    let mut feed = world.feed().listen();
    machine.run(Command::Start).await?;
    signal(&machine, "-STOP")?;
    eventually("it is halted", || {
        Ok(condition(&machine) == Condition::Halted)
    })?;
    machine.run(Command::Resume).await?;
    signal(&machine, "-KILL")?;
    eventually("it is down", || Ok(condition(&machine) == Condition::Down))?;
    ensure!(machine.about()[0].ended.and_then(|status| status.signal()) == Some(9));
    let told = async {
        loop {
            if let What::Ended { status } = feed.recv().await?.what {
                return anyhow::Ok(status);
            }
        }
    };
    let status = tokio::time::timeout(crate::DEADLINE, told).await??;
    ensure!(status == "signal: 9 (SIGKILL)", "{status}");
    machine.run(Command::Start).await?;
    Ok(())
}

/// The story: a process id is another process's once its own has been waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commands_race_with_processes_that_end_by_themselves() -> Result<()> {
    let (mut world, _scratch) = world()?;
    let mut racing = tokio::task::JoinSet::new();
    for n in 0..4 {
        let machine = world.machine(&format!("m{n}"), vec![Box::new(Shell::new("sleep 0.01"))]);
        racing.spawn(async move {
            for round in 0..30_u64 {
                match machine.run(Command::Start).await {
                    Ok(()) | Err(Error::EndedEarly { .. } | Error::Refused { .. }) => {}
                    Err(error) => return Err(error),
                }
                tokio::time::sleep(Duration::from_millis(5 + round % 10)).await;
                match machine.run(Command::Kill).await {
                    Ok(()) | Err(Error::Refused { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        });
    }
    while let Some(raced) = racing.join_next().await {
        raced??;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_of_one_machine_die_together_and_can_be_told_apart() -> Result<()> {
    let (mut world, _scratch) = world()?;
    let other = Shell {
        name: "other",
        ..Shell::new("sleep 1000")
    };
    let services: Vec<Box<dyn cairn_playground::world::Service>> =
        vec![Box::new(Shell::new("sleep 1000")), Box::new(other)];
    let machine = world.machine("two", services);
    machine.run(Command::Start).await?;
    let is = || {
        machine
            .about()
            .iter()
            .map(|about| about.condition)
            .collect::<Vec<_>>()
    };
    machine.run_on(Command::Kill, Some("other")).await?;
    ensure!(is() == [Condition::Up, Condition::Down]);
    machine.run(Command::Start).await?;
    ensure!(
        is() == [Condition::Up, Condition::Up],
        "only what was down is started"
    );
    machine.run(Command::Kill).await?;
    ensure!(is() == [Condition::Down, Condition::Down]);
    let refused = machine.run_on(Command::Start, Some("none")).await;
    ensure!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    Ok(())
}
