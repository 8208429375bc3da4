//! Several persisters with `-r` on one empty cluster: the highest revision wins, whoever comes
//! first and whoever dies; what has begun is completed by its own journal, or by whom an operator
//! tells to; and no key comes back after a delete.

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

/// Waits until the cluster's identity says this.
async fn says(client: &Client, process: &Process, what: &str) -> Result<()> {
    eventually(what, || async {
        Ok(identity(client).await?.contains(what).then_some(()))
    })
    .await
    .with_context(|| process.log())
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

    /// Checks the restored cluster, and that all go on with it, deletes among others.
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
        let deleted: Vec<&String> = expected.keys().step_by(3).collect();
        for path in &deleted {
            client.del(path, Revision::ANY).await?;
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
        let left = tree(client).await?;
        ensure!(left.len() == expected.len() - deleted.len() + 1);
        ensure!(deleted.iter().all(|path| !left.contains_key(*path)));
        Ok(())
    }
}

/// The exit status for "changes would be lost", as `docs/operations.md` has it.
const WOULD_LOSE: i32 = 25;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_highest_revision_wins_whoever_comes_first() -> Result<()> {
    let mut random = seeded("elections")?;
    let rounds = setting("CAIRN_ELECTIONS", 1)?;
    for round in 0..rounds {
        // For a few seconds, and for each other.
        for wait in [&[][..], &["--restore-with", "1,2,3"]] {
            let mut parts = [60, 80, 100];
            random.shuffle(&mut parts);
            let three = Three::write(&mut random, 1000, &parts)?;
            let mut order = [0, 1, 2];
            random.shuffle(&mut order);
            let lite = Lite::start()?;
            let client = lite.client().await?;
            let mut all: Vec<Option<Process>> = vec![None, None, None];
            for n in order {
                all[n] = Some(three.start(&lite, n, wait)?);
            }
            let all: Vec<&Process> = all.iter().flatten().collect();
            three
                .check(&client, &all, true)
                .await
                .with_context(|| format!("round {round}, parts {parts:?}, order {order:?}"))?;
        }
    }
    println!("{rounds} elections of three");
    Ok(())
}

/// The story: machines start minutes apart, and the one with the newest journal is the last. Nobody
/// begins before it, if it is named; who is named and has less needs no flag of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_named_is_waited_for() -> Result<()> {
    let mut random = seeded("named")?;
    let three = Three::write(&mut random, 500, &[60, 80, 100])?;
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let first = three.start(&lite, 0, &["--restore-with", "1,2,3"])?;
    says(&client, &first, " met 1 of 1,2,3").await?;
    let second = three.start(&lite, 1, &["--restore-wait", "0s"])?;
    says(&client, &second, " met 1,2 of 1,2,3").await?;
    ensure!(tree(&client).await?.is_empty(), "it has begun");
    let third = three.start(&lite, 2, &[])?;
    three.check(&client, &[&first, &second, &third], true).await
}

/// The story: the winner dies, before a key was written or midway, and the others, which lack what
/// it alone has, must neither restore nor complete its work with less, nor give up: they wait until
/// it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_winner_is_killed_and_comes_back() -> Result<()> {
    let mut random = seeded("killed winners")?;
    let rounds = setting("CAIRN_ELECTIONS", 1)?;
    let mut midway = 0;
    for round in 0..rounds {
        for is_bidding in [true, false] {
            let three = Three::write(&mut random, 3000, &[50, 100, 75])?;
            let lite = Lite::start()?;
            let client = lite.client().await?;
            let first = three.start(&lite, 0, &[])?;
            let third = three.start(&lite, 2, &[])?;
            let slow = ["--in-flight", "1"];
            let mut winner = three.start(&lite, 1, &slow)?;
            let claim = format!(" at {} bidding", three.best());
            says(&client, &winner, &claim).await?;
            let claim = format!(" at {} restoring", three.best());
            let mut point = 0;
            if !is_bidding {
                says(&client, &winner, &claim).await?;
                point = random.i64(70..three.best());
                reached(&client, point)
                    .await
                    .with_context(|| winner.log())?;
            }
            winner.kill()?;
            let left = identity(&client).await?;
            midway += u32::from(left.contains(&claim));
            ensure!(!is_bidding || tree(&client).await?.is_empty(), "{left}");
            let winner = three.start(&lite, 1, &[])?;
            three
                .check(&client, &[&first, &winner, &third], true)
                .await
                .with_context(|| format!("round {round}, killed at {point}, then {left}"))?;
        }
    }
    println!("{rounds} winners killed before and after, {midway} of them before they had finished");
    Ok(())
}

/// The story: of two persisters with the same end one dies while bids are awaited, for good. Nobody
/// is told, and the other one restores.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bidder_that_never_comes_back_is_replaced_by_its_equal() -> Result<()> {
    let mut random = seeded("replaced bidder")?;
    let three = Three::write(&mut random, 1000, &[100, 50, 100])?;
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let mut winner = three.start(&lite, 0, &["--restore-wait", "2s"])?;
    says(&client, &winner, " bidding ").await?;
    winner.kill()?;
    let second = three.start(&lite, 1, &["--restore-wait", "0s"])?;
    let third = three.start(&lite, 2, &["--restore-wait", "0s"])?;
    finished(&client).await.with_context(|| third.log())?;
    let winner = three.start(&lite, 0, &[])?;
    three
        .check(&client, &[&winner, &second, &third], true)
        .await
}

/// The story: of two persisters with the same end one dies midway for good. The other one cannot
/// know that it is dead and not held up, and says what an operator who knows can do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_winner_that_never_comes_back_is_replaced_by_who_is_told_to() -> Result<()> {
    let mut random = seeded("replaced winner")?;
    let three = Three::write(&mut random, 6000, &[100, 50, 100])?;
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let mut winner = three.start(&lite, 0, &["--in-flight", "1", "--restore-wait", "0s"])?;
    reached(&client, 90).await?;
    winner.kill()?;
    let second = three.start(&lite, 1, &[])?;
    let mut third = three.start(&lite, 2, &[])?;
    let left = identity(&client).await?;
    ensure!(
        left.contains(" restoring "),
        "it was faster than the test: {left}"
    );
    for waiting in [&second, &third] {
        eventually("it says what can be done", || async {
            Ok(waiting.log().contains("--take-over").then_some(()))
        })
        .await?;
    }
    ensure!(identity(&client).await? == left, "somebody took over");
    third.kill()?;
    let third = three.start(&lite, 2, &["--take-over"])?;
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

/// The story: the best journal comes when another one has half filled the cluster. A state of both
/// would be one that nobody ever had, so it refuses, and says that the cluster is to be started
/// anew. The other one, which was held up, goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_better_journal_that_comes_too_late_is_refused() -> Result<()> {
    let mut random = seeded("too late")?;
    let mut three = Three::write(&mut random, 3000, &[70, 100])?;
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let in_flight = ["1", "64"][random.usize(..2)];
    let args = ["--in-flight", in_flight, "--restore-wait", "0s"];
    let lesser = three.start(&lite, 0, &args)?;
    reached(&client, random.i64(72..three.ends[0]))
        .await
        .with_context(|| lesser.log())?;
    lesser.halt()?;
    let left = identity(&client).await?;
    let mut better = three.start(&lite, 1, &[])?;
    let status = better.wait()?;
    let said = better.log();
    ensure!(status.code() == Some(WOULD_LOSE), "{status}: {said}");
    if left.contains(" restoring ") {
        ensure!(
            said.contains("too late") && said.contains("Start the cluster anew"),
            "{said}"
        );
    }
    ensure!(identity(&client).await? == left, "it has written");
    lesser.resume()?;
    let (less, best) = (three.ends[0], three.ends[1]);
    three.ends[1] = less;
    three.check(&client, &[&lesser], true).await?;
    drop(lesser);

    // The way out.
    three.ends[1] = best;
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let better = three.start(&lite, 1, &[])?;
    let identity = finished(&client).await.with_context(|| better.log())?;
    ensure!(identity.contains(&format!(" at {best} kept")), "{identity}");
    ensure!(tree(&client).await? == three.history.state(best));
    Ok(())
}

/// The story: an operator takes over from a process that was not dead but held up, and it wakes up
/// at once, or when all is over. It notices, and the state is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_was_held_up_and_taken_over_notices() -> Result<()> {
    let mut random = seeded("taken over")?;
    let rounds = setting("CAIRN_ELECTIONS", 1)?;
    let mut kept = 0;
    for round in 0..rounds {
        let three = Three::write(&mut random, 3000, &[100, 100])?;
        let lite = Lite::start()?;
        let client = lite.client().await?;
        let in_flight = ["1", "64"][random.usize(..2)];
        let args = ["--in-flight", in_flight, "--restore-wait", "0s"];
        let first = three.start(&lite, 0, &args)?;
        let point = random.i64(72..three.best());
        reached(&client, point).await.with_context(|| first.log())?;
        first.halt()?;
        let left = identity(&client).await?;
        if left.contains(" kept") {
            println!("round {round}: it was faster than the test");
            continue;
        }
        let second = three.start(&lite, 1, &["--take-over"])?;
        eventually("it is taken over", || async {
            Ok((identity(&client).await? != left).then_some(()))
        })
        .await
        .with_context(|| second.log())?;
        let late = random.bool();
        if late {
            finished(&client).await.with_context(|| second.log())?;
        }
        first.resume()?;
        let identity = finished(&client).await.with_context(|| second.log())?;
        // It follows: so it has done with what it was at when it was halted.
        attached(&client, 1).await.with_context(|| first.log())?;
        let is_kept = identity.contains(" kept");
        kept += usize::from(is_kept);
        println!(
            "round {round}: taken over at {point}, {in_flight} in flight, late {late}: {identity}"
        );
        three.check(&client, &[&first, &second], is_kept).await?;
    }
    println!("{rounds} takeovers, {kept} with all revisions kept");
    Ok(())
}

/// The story: one dies midway, another one was told to take over, and dies, too. What it began is
/// its own: it completes it without being told again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_took_over_is_killed_and_comes_back() -> Result<()> {
    let mut random = seeded("killed after taking over")?;
    let three = Three::write(&mut random, 3000, &[100, 100])?;
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let slow = ["--in-flight", "1", "--restore-wait", "0s"];
    let mut first = three.start(&lite, 0, &slow)?;
    reached(&client, three.best() / 3).await?;
    first.kill()?;
    let left = identity(&client).await?;
    ensure!(
        left.contains(" restoring "),
        "it was faster than the test: {left}"
    );
    let mut second = three.start(&lite, 1, &[&slow[..], &["--take-over"]].concat())?;
    eventually("it is taken over", || async {
        Ok((identity(&client).await? != left).then_some(()))
    })
    .await
    .with_context(|| second.log())?;
    second.kill()?;
    let second = three.start(&lite, 1, &[])?;
    let identity = finished(&client).await.with_context(|| second.log())?;
    let first = three.start(&lite, 0, &[])?;
    let is_kept = identity.contains(" kept");
    three.check(&client, &[&first, &second], is_kept).await
}
