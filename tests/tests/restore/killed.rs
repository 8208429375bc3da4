//! A restore that is killed anywhere is completed by the next one.

use anyhow::{Context, Result, ensure};
use cairn_client::Client;
use cairn_sync_client::keys;
use cairn_tests::{Lite, Process, eventually, seeded, setting, tree};

use crate::history::History;

fn start(lite: &Lite, journal: &std::path::Path, in_flight: &str) -> Result<Process> {
    let address = format!("doozer:?ca={}", lite.uri.addresses[0]);
    let journal = journal.to_str().context("a test directory is UTF-8")?;
    let args = [
        "restore",
        "-a",
        &address,
        "-j",
        journal,
        "--restore-wait",
        "0s",
    ];
    Process::start(
        "persister",
        [&args[..], &["--in-flight", in_flight]].concat(),
    )
}

async fn finished(client: &Client) -> Result<bool> {
    let identity = client.get(keys::IDENTITY, None).await?;
    Ok(identity.is_some_and(|file| file.value.ends_with(b" kept")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_restore_is_completed_by_the_next() -> Result<()> {
    let mut random = seeded("killed restores")?;
    let rounds = setting("CAIRN_KILLS", 8)?;
    let scratch = tempfile::tempdir()?;
    let history = History::random(&mut random, 4000, 2);
    let newest = history.newest();
    let journal = scratch.path().join("journal");
    history.write(&journal, newest)?;
    let expected = history.state(newest);
    let (mut midway, mut kills) = (0, 0);
    for round in 0..rounds {
        let lite = Lite::start()?;
        let client = lite.client().await?;
        // Killed once or twice: also while it completes what another has left.
        for _ in 0..=random.usize(..2) {
            let in_flight = ["1", "64"][random.usize(..2)];
            let mut restorer = start(&lite, &journal, in_flight)?;
            let at = random.i64(58..=newest + 2);
            eventually("the restore has come so far", || async {
                Ok((client.rev().await?.0 >= at).then_some(()))
            })
            .await
            .with_context(|| restorer.log())?;
            restorer.kill()?;
            kills += 1;
            midway += usize::from(!finished(&client).await?);
            if finished(&client).await? {
                break;
            }
        }
        let mut restorer = start(&lite, &journal, "64")?;
        let status = restorer.wait()?;
        ensure!(
            status.success(),
            "round {round}: {status}: {}",
            restorer.log()
        );
        ensure!(
            finished(&client).await?,
            "round {round}: {}",
            restorer.log()
        );
        ensure!(tree(&client).await? == expected, "round {round} differs");
        ensure!(client.rev().await?.0 >= newest);
    }
    println!("{rounds} clusters, {kills} kills, {midway} of them before the restore was finished");
    ensure!(midway > 0 || rounds < 4, "none was killed midway");
    Ok(())
}
