//! Several persisters with `-r` on one empty cluster: the highest revision wins, whoever comes
//! first and whoever dies.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use cairn_client::{Client, Revision};
use cairn_sync_client::keys;
use cairn_tests::{
    Lite, Process, attached, durable, eventually, journaled, persister, seeded, setting, tree,
};

use crate::history::History;

async fn identity(client: &Client) -> Result<String> {
    let file = client.get(keys::IDENTITY, None).await?;
    Ok(file.map_or_else(String::new, |file| {
        String::from_utf8_lossy(&file.value).into_owned()
    }))
}

async fn finished(client: &Client) -> Result<String> {
    eventually("the restore is complete", || async {
        let now = identity(client).await?;
        Ok(now
            .split(' ')
            .any(|word| word == "kept" || word == "shifted")
            .then_some(now))
    })
    .await
}

async fn reached(client: &Client, revision: i64) -> Result<()> {
    eventually("the restore has come so far", || async {
        Ok((client.rev().await?.0 >= revision).then_some(()))
    })
    .await
}

/// Journals of one history with these ends, and what the best of them holds.
struct Three {
    _scratch: tempfile::TempDir,
    journals: Vec<PathBuf>,
    history: History,
    ends: Vec<i64>,
}

impl Three {
    fn write(random: &mut fastrand::Rng, changes: usize, parts: &[usize]) -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let history = History::random(random, changes, 1);
        let (mut journals, mut ends) = (Vec::new(), Vec::new());
        for (n, part) in parts.iter().enumerate() {
            let end = history.0[changes * part / 100 - 1].0;
            let journal = scratch.path().join((n + 1).to_string());
            history.write(&journal, end)?;
            journals.push(journal);
            ends.push(end);
        }
        Ok(Self {
            _scratch: scratch,
            journals,
            history,
            ends,
        })
    }

    fn start(&self, lite: &Lite, n: usize, args: &[&str]) -> Result<Process> {
        let id = u32::try_from(n + 1)?;
        persister(id, &lite.uri, &self.journals[n], &[&["-r"], args].concat())
    }

    fn journal(&self, n: usize) -> &Path {
        &self.journals[n]
    }

    fn best(&self) -> i64 {
        self.ends.iter().copied().max().unwrap_or(0)
    }

    /// Checks the restored cluster, and that all go on with it.
    async fn check(&self, client: &Client, all: &[&Process], kept: bool) -> Result<()> {
        let logs = || {
            all.iter()
                .map(|process| process.log())
                .collect::<Vec<_>>()
                .join("\n---\n")
        };
        let identity = finished(client).await.with_context(logs)?;
        let best = self.best();
        ensure!(
            identity.contains(&format!(" at {best} ")),
            "{identity}: {}",
            logs()
        );
        let (found, expected) = (tree(client).await?, self.history.state(best));
        ensure!(
            found.len() == expected.len(),
            "{} of {}",
            found.len(),
            expected.len()
        );
        for (path, (revision, value)) in &expected {
            let (now, body) = found
                .get(path)
                .with_context(|| format!("{path} is missing"))?;
            ensure!(body == value, "{path} differs");
            ensure!(
                !kept || now == revision,
                "{path} is at {now}, was at {revision}: {}",
                logs()
            );
        }
        ensure!(client.rev().await?.0 >= best);
        for n in 1..=all.len() {
            attached(client, u32::try_from(n)?)
                .await
                .with_context(logs)?;
        }
        let probe = client.set("/probe", Revision::MISSING, "x").await?;
        for n in 1..=all.len() {
            durable(client, u32::try_from(n)?, probe)
                .await
                .with_context(logs)?;
            ensure!(
                journaled(self.journal(n - 1))? == tree(client).await?,
                "journal {n}"
            );
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_highest_revision_wins_whoever_comes_first() -> Result<()> {
    let mut random = seeded("elections")?;
    let rounds = setting("CAIRN_ELECTIONS", 1)?;
    for round in 0..rounds {
        let mut parts = [60, 80, 100];
        random.shuffle(&mut parts);
        let three = Three::write(&mut random, 1000, &parts)?;
        let mut order = [0, 1, 2];
        random.shuffle(&mut order);
        let lite = Lite::start()?;
        let client = lite.client().await?;
        let mut all: Vec<Option<Process>> = vec![None, None, None];
        for n in order {
            all[n] = Some(three.start(&lite, n, &[])?);
        }
        let all: Vec<&Process> = all.iter().flatten().collect();
        three
            .check(&client, &all, true)
            .await
            .with_context(|| format!("round {round}, parts {parts:?}, order {order:?}"))?;
    }
    println!("{rounds} elections of three");
    Ok(())
}

/// The story: the winner dies midway, and the others, which lack what it alone has, must neither
/// complete its work with less nor give up: they wait until it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_winner_is_killed_and_comes_back() -> Result<()> {
    let mut random = seeded("killed winners")?;
    let rounds = setting("CAIRN_ELECTIONS", 1)?;
    let mut midway = 0;
    for round in 0..rounds {
        let three = Three::write(&mut random, 3000, &[50, 100, 75])?;
        let lite = Lite::start()?;
        let client = lite.client().await?;
        let first = three.start(&lite, 0, &[])?;
        let third = three.start(&lite, 2, &[])?;
        let slow = ["--in-flight", "1"];
        let mut winner = three.start(&lite, 1, &slow)?;
        let claim = format!(" at {} restoring", three.best());
        eventually("the winner bids", || async {
            Ok(identity(&client).await?.contains(&claim).then_some(()))
        })
        .await
        .with_context(|| winner.log())?;
        let point = random.i64(60..three.best());
        reached(&client, point)
            .await
            .with_context(|| winner.log())?;
        winner.kill()?;
        let left = identity(&client).await?;
        midway += u32::from(left.contains(&claim));
        let winner = three.start(&lite, 1, &[])?;
        three
            .check(&client, &[&first, &winner, &third], true)
            .await
            .with_context(|| format!("round {round}, killed at {point}, then {left}"))?;
    }
    println!("{rounds} winners killed, {midway} of them before they had finished");
    Ok(())
}

/// The story: of two persisters with the same end one dies midway for good. Nobody is told, and the
/// other one completes the restore.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_winner_that_never_comes_back_is_replaced_by_its_equal() -> Result<()> {
    let mut random = seeded("replaced winner")?;
    let three = Three::write(&mut random, 6000, &[100, 50, 100])?;
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let mut winner = three.start(&lite, 0, &["--in-flight", "1", "--restore-wait", "0s"])?;
    reached(&client, 80).await?;
    winner.kill()?;
    let second = three.start(&lite, 1, &[])?;
    let third = three.start(&lite, 2, &[])?;
    let left = identity(&client).await?;
    ensure!(
        left.contains(" restoring "),
        "it was faster than the test: {left}"
    );
    let identity = finished(&client).await.with_context(|| third.log())?;
    let winner = three.start(&lite, 0, &[])?;
    // Taking over costs a revision, which the next key may have had.
    three
        .check(
            &client,
            &[&winner, &second, &third],
            identity.contains(" kept"),
        )
        .await
}

/// The story: the best journal comes when another one has half applied the cluster. What is there
/// is made right: values that changed later, keys that were deleted later, files that became
/// directories. The other one was held up, and wakes up at once or when all is over: it must not
/// write any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_better_journal_takes_over_midway() -> Result<()> {
    let mut random = seeded("taken over")?;
    let rounds = setting("CAIRN_ELECTIONS", 1)?;
    let mut kept = 0;
    for round in 0..rounds {
        let three = Three::write(&mut random, 3000, &[70, 100])?;
        let lite = Lite::start()?;
        let client = lite.client().await?;
        let in_flight = ["1", "64"][random.usize(..2)];
        let args = ["--in-flight", in_flight, "--restore-wait", "0s"];
        let lesser = three.start(&lite, 0, &args)?;
        let point = random.i64(61..three.ends[0]);
        reached(&client, point)
            .await
            .with_context(|| lesser.log())?;
        lesser.halt()?;
        let left = identity(&client).await?;
        if left.contains(" kept") {
            println!("round {round}: it was faster than the test");
            continue;
        }
        let better = three.start(&lite, 1, &[])?;
        eventually("it is taken over", || async {
            let now = identity(&client).await?;
            Ok(now
                .contains(&format!(" at {} ", three.best()))
                .then_some(()))
        })
        .await
        .with_context(|| better.log())?;
        let late = random.bool();
        if late {
            finished(&client).await.with_context(|| better.log())?;
        }
        lesser.resume()?;
        let identity = finished(&client).await.with_context(|| better.log())?;
        // It follows: so it has done with what it was at when it was halted.
        attached(&client, 1).await.with_context(|| lesser.log())?;
        // What is deleted takes room that keys may need: those are reported.
        let is_kept = identity.contains(" kept");
        kept += usize::from(is_kept);
        println!(
            "round {round}: taken over at {point}, {in_flight} in flight, late {late}: {identity}"
        );
        three.check(&client, &[&lesser, &better], is_kept).await?;
    }
    println!("{rounds} takeovers, {kept} with all revisions kept");
    Ok(())
}

/// The story: one journal has half applied the cluster, a better one takes over and dies before it
/// has put that right, and so does a still better one. Whoever comes back completes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_took_over_is_killed_and_comes_back() -> Result<()> {
    let mut random = seeded("killed after taking over")?;
    for takeovers in [1, 2] {
        let three = Three::write(&mut random, 3000, &[60, 80, 100])?;
        let lite = Lite::start()?;
        let client = lite.client().await?;
        let hasty = ["--in-flight", "1", "--restore-wait", "0s"];
        let mut lesser = three.start(&lite, 0, &hasty)?;
        reached(&client, three.ends[0] / 2).await?;
        lesser.kill()?;
        ensure!(
            identity(&client).await?.contains(" restoring "),
            "it was faster than the test"
        );
        let mut last = 0;
        for n in [1, 2].into_iter().skip(2 - takeovers) {
            let mut better = three.start(&lite, n, &["--restore-wait", "10s"])?;
            let claim = format!(" at {} restoring", three.ends[n]);
            eventually("it is taken over", || async {
                Ok(identity(&client).await?.contains(&claim).then_some(()))
            })
            .await
            .with_context(|| better.log())?;
            better.kill()?;
            last = n;
        }
        let back = three.start(&lite, last, &[])?;
        let identity = finished(&client).await.with_context(|| back.log())?;
        println!("{takeovers} takeovers: {identity}");
        let others = [three.start(&lite, 0, &[])?, three.start(&lite, 1, &[])?];
        let is_kept = identity.contains(" kept");
        three
            .check(&client, &[&others[0], &others[1], &back], is_kept)
            .await?;
    }
    Ok(())
}
