//! Restores that do not go alone, or not from the best journal: nothing acknowledged goes away
//! without a word.

use std::path::Path;
use std::process::ExitStatus;

use anyhow::{Context, Result, ensure};
use cairn_client::{Client, Revision};
use cairn_sync_client::keys;
use cairn_tests::{
    DEADLINE, Lite, Process, attached, durable, eventually, journaled, persister, tree,
};

/// The exit status for "changes would be lost", as `docs/operations.md` has it.
const WOULD_LOSE: i32 = 25;

async fn identity(client: &Client) -> Result<Option<String>> {
    let file = client.get(keys::IDENTITY, None).await?;
    Ok(file.map(|file| String::from_utf8_lossy(&file.value).into_owned()))
}

async fn restored(client: &Client, process: &Process) -> Result<String> {
    eventually("restore complete", || async {
        let now = identity(client).await?;
        Ok(now.filter(|now| now.contains(" kept") || now.contains(" shifted")))
    })
    .await
    .with_context(|| process.log())
}

/// Two persisters, of which the second was killed before the last writes. Returns the newest
/// revision that both have, and the newest one of all.
async fn one_is_ahead(first: &Path, second: &Path) -> Result<(Revision, Revision)> {
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let mut ahead = persister(1, &lite.uri, first, &[])?;
    let mut behind = persister(2, &lite.uri, second, &[])?;
    attached(&client, 1).await?;
    attached(&client, 2).await?;
    let mut common = Revision::MISSING;
    for n in 0..30 {
        common = client.set(&format!("/{n}"), Revision::ANY, "old").await?;
    }
    durable(&client, 1, common).await?;
    durable(&client, 2, common).await?;
    behind.kill()?;
    let mut last = Revision::MISSING;
    for n in 0..60 {
        last = client.set(&format!("/{n}"), Revision::ANY, "new").await?;
    }
    durable(&client, 1, last).await?;
    ahead.kill()?;
    Ok((common, last))
}

/// The story: both had `-r` in their unit files, the one that lagged was up first, and the other
/// one then recorded the deletion of everything that it alone had acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_from_a_journal_that_lags_is_not_followed_silently() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (first, second) = (scratch.path().join("1"), scratch.path().join("2"));
    one_is_ahead(&first, &second).await?;
    let before = journaled(&first)?;

    let fresh = Lite::start()?;
    let client = fresh.client().await?;
    let lagging = persister(2, &fresh.uri, &second, &["-r"])?;
    restored(&client, &lagging).await?;
    let mut better = persister(1, &fresh.uri, &first, &["-r"])?;
    let status: ExitStatus = better.wait()?;
    let said = better.log();
    ensure!(status.code() == Some(WOULD_LOSE), "{status}: {said}");
    ensure!(
        said.contains("60 changes") && said.contains("--accept-loss"),
        "{said}"
    );
    ensure!(journaled(&first)? == before, "nothing was touched");
    drop(lagging);

    // The way out: a cluster restored from the better journal. The other one takes its state.
    let fresh = Lite::start()?;
    let client = fresh.client().await?;
    let better = persister(1, &fresh.uri, &first, &["-r"])?;
    restored(&client, &better).await?;
    ensure!(tree(&client).await? == before);
    Ok(())
}

/// The story: told to accept the loss, the mirror spoke of the old timeline for a while, and was
/// later never told of new writes, because its progress was ahead of the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_accepted_loss_the_mirror_speaks_of_the_new_timeline_only() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (first, second) = (scratch.path().join("1"), scratch.path().join("2"));
    let (common, last) = one_is_ahead(&first, &second).await?;

    let fresh = Lite::start()?;
    let client = fresh.client().await?;
    let lagging = persister(2, &fresh.uri, &second, &["-r"])?;
    restored(&client, &lagging).await?;
    let start = client.rev().await?;
    let mut better = persister(1, &fresh.uri, &first, &["-r", "--accept-loss"])?;
    attached(&client, 1).await.with_context(|| better.log())?;
    ensure!(
        journaled(&first)? == tree(&client).await?,
        "{}",
        better.log()
    );
    let probe = client.set("/probe", Revision::MISSING, "x").await?;
    ensure!(probe < last, "the new timeline is still behind the old one");
    durable(&client, 1, probe).await?;
    let mirrored = keys::mirror(1, "/probe");
    client.wait(&mirrored, probe).await?;

    // Every word of its mirror, ever, was true of this timeline.
    let now = client.rev().await?;
    let mut revision = start.next();
    while revision <= now {
        let event = client.wait("/**", revision).await?;
        if let Some(path) = keys::mirrored(1, &event.path)
            && event.kind == cairn_client::EventKind::Set
        {
            let says: i64 = std::str::from_utf8(&event.value)?.parse()?;
            ensure!(
                says <= common.0 || says > start.0,
                "{path} was said to be durable at {says}: that was another life"
            );
        }
        revision = event.revision.next();
    }

    // And a restart goes on from there.
    better.kill()?;
    let written = client.set("/new", Revision::MISSING, "x").await?;
    let better = persister(1, &fresh.uri, &first, &[])?;
    let mirrored = keys::mirror(1, "/new");
    let waited = tokio::time::timeout(DEADLINE, client.wait(&mirrored, written));
    waited.await.with_context(|| better.log())??;
    Ok(())
}

/// The story: two persisters with equal journals, which is how they are when nothing happens, both
/// started with `-r`. Each took the other's restore for its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_equal_restorers_one_restores_and_both_go_on() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = |id: u32| scratch.path().join(id.to_string());
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let mut persisters = Vec::new();
    for id in [1, 2] {
        persisters.push(persister(id, &lite.uri, &journal(id), &[])?);
        attached(&client, id).await?;
    }
    let mut last = Revision::MISSING;
    for n in 0..2000 {
        last = client.set(&format!("/{n}"), Revision::ANY, "x").await?;
    }
    for id in [1, 2] {
        durable(&client, id, last).await?;
    }
    let before = tree(&client).await?;
    for mut process in persisters {
        process.kill()?;
    }

    let fresh = Lite::start()?;
    let client = fresh.client().await?;
    let mut both = Vec::new();
    for id in [1, 2] {
        both.push(persister(id, &fresh.uri, &journal(id), &["-r"])?);
    }
    restored(&client, &both[0]).await?;
    let found = tree(&client).await?;
    ensure!(
        found.len() == before.len(),
        "{} of {} keys",
        found.len(),
        before.len()
    );
    for (path, (_, value)) in &before {
        ensure!(
            found.get(path).is_some_and(|(_, now)| now == value),
            "{path} differs"
        );
    }
    let after = client.set("/after", Revision::MISSING, "x").await?;
    for (id, mut process) in [1, 2].into_iter().zip(both) {
        durable(&client, id, after)
            .await
            .with_context(|| process.log())?;
        ensure!(process.terminate()?.success(), "{}", process.log());
    }
    Ok(())
}

/// The story: a repaired journal was restored from as if it were whole, and took its own
/// incomplete restore for the truth afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_lacks_something_says_so_before_it_restores() -> Result<()> {
    use std::os::unix::fs::FileExt;
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let mut process = persister(1, &lite.uri, &journal, &[])?;
    attached(&client, 1).await?;
    for n in 0..10 {
        let revision = client.set(&format!("/{n}"), Revision::ANY, "x").await?;
        durable(&client, 1, revision).await?;
    }
    process.kill()?;
    let changes = cairn_tests::records(&journal)?;
    let victim = changes
        .iter()
        .filter(|record| matches!(record.entry, cairn_journal::Entry::Changes { .. }))
        .nth(4)
        .context("there are ten")?;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&*victim.location.file)?;
    file.write_all_at(
        &[0xff; 8],
        victim.location.offset + victim.location.length - 8,
    )?;

    let fresh = Lite::start()?;
    let client = fresh.client().await?;
    let mut process = persister(1, &fresh.uri, &journal, &["-f", "-r"])?;
    let status = process.wait()?;
    let said = process.log();
    ensure!(status.code() == Some(WOULD_LOSE), "{status}: {said}");
    ensure!(said.contains("lacks changes of revisions"), "{said}");
    ensure!(tree(&client).await?.is_empty(), "nothing was restored");

    // Told to, it restores what there is; and the gap is closed once, not at every start.
    let mut process = persister(1, &fresh.uri, &journal, &["-r", "--accept-loss"])?;
    restored(&client, &process).await?;
    let revision = client.set("/after", Revision::MISSING, "x").await?;
    durable(&client, 1, revision)
        .await
        .with_context(|| process.log())?;
    ensure!(
        tree(&client).await?.len() == 10,
        "nine are left, and the new one"
    );
    ensure!(process.terminate()?.success(), "{}", process.log());
    let mut process = persister(1, &fresh.uri, &journal, &[])?;
    let revision = client.set("/after", Revision::ANY, "y").await?;
    durable(&client, 1, revision).await?;
    ensure!(
        !process.log().contains("cannot be followed"),
        "{}",
        process.log()
    );
    ensure!(process.terminate()?.success());
    Ok(())
}
