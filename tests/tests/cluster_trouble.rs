//! What a persister does when its cluster is not what it was, and when it is not alone.

use anyhow::{Context, Result, ensure};
use cairn_client::Revision;
use cairn_journal::{Entry, GapPhase};
use cairn_sync_client::keys;
use cairn_tests::{
    Lite, attached, durable, eventually, goes_on, journaled, mirrored, persister, program, records,
    restored, seeded, tree,
};

/// The exit statuses of `docs/operations.md`.
const NOT_OUR_CLUSTER: i32 = 20;
const ID_TAKEN: i32 = 21;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_cluster_is_refused_and_the_journal_untouched() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let old = Lite::start()?;
    let mut process = persister(1, &old.uri, &journal, &[])?;
    let client = old.client().await?;
    let revision = client.set("/a", Revision::MISSING, "x").await?;
    durable(&client, 1, revision).await?;
    process.end_in_order()?;
    let before = records(&journal)?;

    // Without an identity, and named by somebody else: with keys and revisions newer than ours.
    for named in [false, true] {
        let fresh = Lite::start()?;
        let client = fresh.client().await?;
        if named {
            client
                .set(keys::IDENTITY, Revision::MISSING, "another")
                .await?;
        }
        for _ in 0..100 {
            client.set("/b", Revision::ANY, "y").await?;
        }
        let mut process = persister(1, &fresh.uri, &journal, &[])?;
        let said = process.ends_with(NOT_OUR_CLUSTER)?;
        ensure!(
            said.contains("-r") && said.contains("-j"),
            "says what to do: {said}"
        );
        // With -r it says that the cluster is not empty, and refuses all the same.
        let mut process = persister(1, &fresh.uri, &journal, &["-r"])?;
        let said = process.ends_with(NOT_OUR_CLUSTER)?;
        ensure!(said.contains("not empty") && said.contains("/b"), "{said}");
        let after: Vec<_> = records(&journal)?;
        let changed = |records: &[cairn_journal::Record]| {
            records
                .iter()
                .filter(|record| !matches!(record.entry, Entry::Watermark { .. }))
                .count()
        };
        ensure!(changed(&before) == changed(&after), "nothing was journaled");
        ensure!(
            client.get(&keys::watermark(1), None).await?.is_none(),
            "nothing was claimed"
        );
    }
    Ok(())
}

/// The story: after a quiet week a persister ended in good order, and its watermark was that of the
/// last change: nobody could tell that it lacked nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_end_says_up_to_where_everything_was_seen() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let mut process = persister(1, &lite.uri, &scratch.path().join("1"), &[])?;
    goes_on(&process, &client, "/a").await?;
    let mut last = client.rev().await?;
    for _ in 0..10 {
        client.nop().await?;
        last = client.rev().await?;
    }
    process.end_in_order()?;
    // Nobody has to be asked for a while: it is there when the process has ended.
    let said = client
        .get(&keys::watermark(1), None)
        .await?
        .context("there is one")?;
    let said: i64 = std::str::from_utf8(&said.value)?.parse()?;
    ensure!(said >= last.0, "{said} of {last}");
    Ok(())
}

/// The story: somebody tidied up below `/ctl` and deleted the name of a living cluster. Its
/// persisters ended, and advised to restore it or to follow it as a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_name_was_deleted_is_waited_for_and_not_named_anew() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let mut running = persister(1, &lite.uri, &scratch.path().join("1"), &["-r"])?;
    goes_on(&running, &client, "/before").await?;
    let name = client
        .get(keys::IDENTITY, None)
        .await?
        .context("it has one")?;
    client.del(keys::IDENTITY, Revision::ANY).await?;
    let mut fresh = persister(2, &lite.uri, &scratch.path().join("2"), &[])?;
    for process in [&running, &fresh] {
        eventually("it says what happened", || async {
            let log = process.log();
            Ok((log.contains("its name is gone") && log.contains(keys::IDENTITY)).then_some(()))
        })
        .await?;
    }
    let value = String::from_utf8(name.value.to_vec())?;
    ensure!(
        running.log().contains(&format!("with the value {value}")),
        "{}",
        running.log()
    );
    let status = std::process::Command::new(program("persister")?)
        .args([
            "status",
            "-a",
            &format!("doozer:?ca={}", lite.uri.addresses[0]),
        ])
        .output()?;
    let shown = String::from_utf8_lossy(&status.stdout);
    ensure!(shown.contains("its name is gone"), "{shown}");

    client.set(keys::IDENTITY, Revision::MISSING, value).await?;
    let revision = goes_on(&running, &client, "/after").await?;
    durable(&client, 2, revision).await?;
    running.end_in_order()?;
    fresh.end_in_order()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_persister_with_the_same_id_is_refused() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let mut first = persister(1, &lite.uri, &scratch.path().join("first"), &[])?;
    let revision = client.set("/a", Revision::MISSING, "x").await?;
    durable(&client, 1, revision).await?;
    let mut second = persister(1, &lite.uri, &scratch.path().join("second"), &[])?;
    second.ends_with(ID_TAKEN)?;
    // The first has not noticed, and ends in good order; then the id is free at once.
    first.end_in_order()?;
    let mut second = persister(1, &lite.uri, &scratch.path().join("second"), &[])?;
    let revision = client.set("/a", Revision::ANY, "y").await?;
    durable(&client, 1, revision).await?;
    second.end_in_order()?;
    Ok(())
}

/// Somebody wrote a watermark by hand: the persister said that another one, namely itself, had
/// taken its id, and ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watermark_that_somebody_else_wrote_is_put_right() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let mut process = persister(1, &lite.uri, &scratch.path().join("journal"), &[])?;
    let revision = client.set("/a", Revision::ANY, "x").await?;
    durable(&client, 1, revision).await?;
    client.set(&keys::watermark(1), Revision::ANY, "1").await?;
    // It is noticed with the next change.
    let revision = client.set("/a", Revision::ANY, "y").await?;
    durable(&client, 1, revision)
        .await
        .with_context(|| process.log())?;
    let log = process.log();
    ensure!(log.contains("only its holder may write"), "{log}");
    process.end_in_order()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_that_ran_out_is_a_recorded_gap_and_the_state_is_right() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let lite = Lite::start_with(&["--hist", "500"])?;
    let client = lite.client().await?;

    // A first start on a cluster that has forgotten how it came to its state.
    for n in 0..1000 {
        client
            .set(&format!("/before/{n}"), Revision::ANY, "x")
            .await?;
    }
    let mut process = persister(1, &lite.uri, &journal, &[])?;
    goes_on(&process, &client, "/first").await?;
    ensure!(
        journaled(&journal)? == tree(&client).await?,
        "{}",
        process.log()
    );
    process.kill()?;

    // While the persister is away more happens than the cluster remembers, deletes among it.
    for n in 0..600 {
        client.del(&format!("/before/{n}"), Revision::ANY).await?;
        client
            .set(&format!("/after/{n}"), Revision::ANY, "y")
            .await?;
    }
    let mut process = persister(1, &lite.uri, &journal, &[])?;
    goes_on(&process, &client, "/last").await?;
    ensure!(
        journaled(&journal)? == tree(&client).await?,
        "{}",
        process.log()
    );
    ensure!(
        process.log().contains("cannot be followed"),
        "it is said loudly"
    );
    let gaps = records(&journal)?
        .iter()
        .filter(|record| {
            matches!(
                record.entry,
                Entry::Gap {
                    phase: GapPhase::Closed,
                    ..
                }
            )
        })
        .count();
    ensure!(gaps == 2, "{gaps} gaps are recorded");

    // The per-path mirror has become the image of the state too.
    mirrored(&client, 1, &tree(&client).await?)
        .await
        .with_context(|| process.log())?;
    process.end_in_order()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_rest_three_persisters_write_heartbeats_and_nothing_else() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let mut processes = Vec::new();
    for id in 1..=3 {
        let journal = scratch.path().join(id.to_string());
        processes.push(persister(id, &lite.uri, &journal, &[])?);
    }
    let mut revision = Revision::MISSING;
    for n in 0..300 {
        revision = client
            .set(&format!("/{}", n % 7), Revision::ANY, "x")
            .await?;
    }
    for id in 1..=3 {
        durable(&client, id, revision).await?;
        // What may still be written for that load is its progress, once.
        eventually("mirror complete", || async {
            let done = client.get(&keys::mirror_progress(id), None).await?;
            let shown = format!("{revision} ");
            Ok(done.filter(|done| done.value.starts_with(shown.as_bytes())))
        })
        .await?;
    }
    let mut next = client.rev().await?.next();
    // Two rounds of heartbeats: each of them is an owner key, and there is nothing between.
    let mut beats = 0;
    while beats < 6 {
        let event = client.wait("/**", next).await?;
        ensure!(
            (1..=3).any(|id| event.path == keys::owner(id)),
            "at rest somebody wrote {} at {}",
            event.path,
            event.revision
        );
        next = event.revision.next();
        beats += 1;
    }
    for mut process in processes {
        process.end_in_order()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_is_killed_again_and_again_is_completed() -> Result<()> {
    let mut random = seeded("killed restores")?;
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let mut process = persister(1, &lite.uri, &journal, &["--mirror", "watermark"])?;
    // What is older than the cluster's identity cannot keep its revision in the next one, whose
    // own identity takes that place.
    attached(&client, 1).await?;
    let mut revision = Revision::MISSING;
    for _ in 0..3000 {
        let path = format!("/{}/{}", random.u8(..4), random.u16(..500));
        if random.u8(..5) == 0 {
            client.del(&path, Revision::ANY).await?;
        } else {
            revision = client.set(&path, Revision::ANY, path.clone()).await?;
        }
    }
    durable(&client, 1, revision).await?;
    process.end_in_order()?;
    let expected = tree(&client).await?;
    drop(lite);

    let fresh = Lite::start()?;
    let client = fresh.client().await?;
    let mut kills = 0;
    for step in 1..=10 {
        let mut process = persister(1, &fresh.uri, &journal, &["-r"])?;
        // Killed as soon as it has come a little further than the one before.
        let goal = revision.0 * step / 11 + random.i64(..revision.0 / 20);
        let done = eventually("progress", || async {
            let identity = client.get(keys::IDENTITY, None).await?;
            let done = identity.is_some_and(|identity| identity.value.ends_with(b" kept"));
            Ok((done || client.rev().await?.0 >= goal).then_some(done))
        })
        .await?;
        process.kill()?;
        if done {
            break;
        }
        kills += 1;
    }
    println!("killed {kills} times before it was complete");
    ensure!(
        kills > 0,
        "the restore was too fast to be killed: nothing was shown"
    );
    let mut process = persister(1, &fresh.uri, &journal, &["-r"])?;
    restored(&client).await.with_context(|| process.log())?;
    goes_on(&process, &client, "/after").await?;
    let mut found = tree(&client).await?;
    found.remove("/after");
    ensure!(found == expected, "{}", process.log());
    process.end_in_order()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lags_is_waited_for_and_then_followed() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let ahead = Lite::start()?;
    let client = ahead.client().await?;
    let mut process = persister(1, &ahead.uri, &journal, &[])?;
    attached(&client, 1).await?;
    let mut revision = Revision::MISSING;
    for _ in 0..200 {
        revision = client.set("/a", Revision::ANY, "x").await?;
    }
    durable(&client, 1, revision).await?;
    process.end_in_order()?;
    let identity = client
        .get(keys::IDENTITY, None)
        .await?
        .context("it has a name")?;
    let end = records(&journal)?.pop().context("it has records")?.revision;

    // Another node of the same cluster, as far as anybody can tell, that has not caught up yet.
    let behind = Lite::start()?;
    let client = behind.client().await?;
    client
        .set(keys::IDENTITY, Revision::MISSING, identity.value)
        .await?;
    let mut process = persister(1, &behind.uri, &journal, &[])?;
    eventually("it says that the node lags", || async {
        Ok(process.log().contains("the node lags").then_some(()))
    })
    .await?;
    ensure!(
        client.get(&keys::owner(1), None).await?.is_none(),
        "nothing is claimed yet"
    );
    while client.rev().await?.0 < end.0 {
        client.nop().await?;
    }
    goes_on(&process, &client, "/b").await?;
    process.end_in_order()?;
    Ok(())
}
