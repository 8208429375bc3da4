//! What a persister does when its journal was hurt while it was down.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use cairn_client::Revision;
use cairn_journal::{Change, Entry, Record};
use cairn_sync_client::keys;
use cairn_tests::{
    Lite, durable, eventually, goes_on, journaled, mirrored, persister, records, restored, tree,
};

/// The exit status for a damaged journal, as `docs/operations.md` has it.
const DAMAGED: i32 = 10;

/// A journal of some twenty changes, its persister killed without warning.
async fn killed_persister(lite: &Lite, journal: &Path) -> Result<()> {
    let client = lite.client().await?;
    let mut process = persister(1, &lite.uri, journal, &[])?;
    for n in 0..20 {
        let path = format!("/a/{n}");
        let revision = client
            .set(&path, Revision::ANY, format!("value {n}"))
            .await?;
        // Each in a commit of its own, so that the next one testifies to it.
        durable(&client, 1, revision).await?;
    }
    process.kill()
}

/// The records that say what was changed.
fn changes(journal: &Path) -> Result<Vec<Record>> {
    let mut records = records(journal)?;
    records.retain(|record| matches!(record.entry, Entry::Changes { .. }));
    Ok(records)
}

/// What was changed at which revision, whenever that was seen.
fn said_by(records: Vec<Record>) -> Vec<(cairn_journal::Revision, Vec<Change>)> {
    let said = records.into_iter().map(|record| match record.entry {
        Entry::Changes { changes, .. } => (record.revision, changes),
        _ => (record.revision, Vec::new()),
    });
    said.collect()
}

fn flip_a_bit(file: &Path, offset: u64) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(file)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    byte[0] ^= 0x10;
    file.write_all_at(&byte, offset)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_last_record_is_cut_and_the_persister_goes_on() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let lite = Lite::start()?;
    killed_persister(&lite, &journal).await?;

    // As if the machine had died in the middle of the last write: what was written after its first
    // bytes never arrived.
    let torn = records(&journal)?
        .pop()
        .context("the journal has records")?;
    let file = OpenOptions::new().write(true).open(&*torn.location.file)?;
    let end = file.metadata()?.len();
    let keep = torn.location.offset + torn.location.length / 2;
    file.write_all_at(&vec![0; usize::try_from(end - keep)?], keep)?;

    let client = lite.client().await?;
    let mut process = persister(1, &lite.uri, &journal, &[])?;
    goes_on(&process, &client, "/after").await?;
    ensure!(journaled(&journal)? == tree(&client).await?);
    process.end_in_order()?;
    let kept_aside = fs::read_dir(&journal)?
        .filter_map(Result::ok)
        .any(|entry| entry.path().extension().is_some_and(|e| e == "torn"));
    ensure!(kept_aside, "the cut bytes are kept: {}", process.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_is_reported_and_repaired_without_losing_anything_else() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let lite = Lite::start()?;
    killed_persister(&lite, &journal).await?;

    let before = changes(&journal)?;
    let victim = &before[before.len() / 2];
    flip_a_bit(
        &victim.location.file,
        victim.location.offset + victim.location.length - 12,
    )?;

    let mut process = persister(1, &lite.uri, &journal, &[])?;
    let said = process.ends_with(DAMAGED)?;
    let newest_good = before[before.len() / 2 - 1].revision;
    for clue in [
        victim.location.file.display().to_string(),
        format!("offset {}", victim.location.offset),
        format!("sequence {}", victim.sequence),
        newest_good.to_string(),
        "-f".to_owned(),
    ] {
        ensure!(said.contains(&clue), "{clue:?} is not in:\n{said}");
    }

    // The repair alone, away from the cluster: one record is lost, and every other is kept.
    let copy = scratch.path().join("copy");
    fs::create_dir(&copy)?;
    for entry in fs::read_dir(&journal)? {
        let entry = entry?;
        fs::copy(entry.path(), copy.join(entry.file_name()))?;
    }
    cairn_journal::repair(&copy)?;
    let kept = said_by(changes(&copy)?);
    let mut expected = said_by(before.clone());
    let lost = expected.remove(before.len() / 2);
    ensure!(kept == expected, "more than revision {} is gone", lost.0);

    // By the persister, with the cluster alive: even the lost one comes back, from the cluster's
    // history.
    let client = lite.client().await?;
    let mut process = persister(1, &lite.uri, &journal, &["-f"])?;
    goes_on(&process, &client, "/after").await?;
    process.end_in_order()?;
    ensure!(
        journaled(&journal)? == tree(&client).await?,
        "{}",
        process.log()
    );
    let given_back = format!("given back: revision {} from the cluster", victim.revision);
    ensure!(
        process.log().contains(&given_back),
        "where it came from is said:\n{}",
        process.log()
    );
    ensure!(
        said_by(changes(&journal)?)[..before.len()] == said_by(before.clone())[..],
        "{}",
        process.log()
    );
    Ok(())
}

/// The disk lost what it had synced, and while no mirror of paths was kept, other records took the
/// place of what it had been told last: it went on behind that place, and who waited for a path in
/// between waited for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mirror_is_told_of_what_took_the_place_of_a_lost_end() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let lite = Lite::start_with(&["--hist", "50"])?;
    let client = lite.client().await?;
    let mut process = persister(1, &lite.uri, &journal, &[])?;
    let mut last = Revision::MISSING;
    for n in 0..20 {
        last = client.set(&format!("/a/{n}"), Revision::ANY, "x").await?;
        durable(&client, 1, last).await?;
    }
    // Where the mirror is, as it says once a second.
    let sequence: u64 = eventually("the mirror is complete", || async {
        let said = client.get(&keys::mirror_progress(1), None).await?;
        let said = said.map(|said| String::from_utf8_lossy(&said.value).into_owned());
        let words: Vec<_> = said.iter().flat_map(|said| said.split(' ')).collect();
        let is_there = words.len() == 3 && words[0].parse() == Ok(last.0);
        Ok(if is_there {
            Some(words[2].parse()?)
        } else {
            None
        })
    })
    .await?;
    process.kill()?;

    // The newest three records that the mirror was told of, and all behind them, are gone; so is
    // the history.
    let mut records = records(&journal)?;
    records.retain(|record| record.sequence.0 > sequence - 3);
    let first = &records[0].location;
    let file = OpenOptions::new().write(true).open(&*first.file)?;
    file.set_len(first.offset)?;
    for n in 0..100 {
        client.set(&format!("/b/{n}"), Revision::ANY, "x").await?;
    }
    let mut process = persister(1, &lite.uri, &journal, &["--mirror", "watermark"])?;
    let last = client.set("/c", Revision::ANY, "x").await?;
    durable(&client, 1, last).await?;
    process.end_in_order()?;
    let process = persister(1, &lite.uri, &journal, &[])?;
    let live = tree(&client).await?;
    mirrored(&client, 1, &live)
        .await
        .with_context(|| process.log())?;
    ensure!(
        process
            .log()
            .contains("comparing the mirror with the state"),
        "{}",
        process.log()
    );
    Ok(())
}

/// Two persisters, the cluster and the disk of one of them gone bad: what is lost there is still on
/// the other's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_journal_lost_is_fetched_from_another() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (one, two) = (scratch.path().join("one"), scratch.path().join("two"));
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let mut first = persister(1, &lite.uri, &one, &[])?;
    let mut second = persister(2, &lite.uri, &two, &[])?;
    for n in 0..30 {
        let path = format!("/a/{}", n % 7);
        let revision = client
            .set(&path, Revision::ANY, format!("value {n}"))
            .await?;
        durable(&client, 1, revision).await?;
        durable(&client, 2, revision).await?;
    }
    let tree_before = tree(&client).await?;
    first.kill()?;
    second.kill()?;
    drop(lite);

    // Neither is whole, at different places.
    let before = changes(&one)?;
    for victim in &before[8..11] {
        flip_a_bit(&victim.location.file, victim.location.offset + 50)?;
    }
    let victim = &changes(&two)?[20];
    flip_a_bit(&victim.location.file, victim.location.offset + 50)?;
    let others: Vec<_> = fs::read_dir(&two)?.filter_map(Result::ok).collect();
    let read_only: Vec<_> = others
        .iter()
        .map(|e| fs::read(e.path()).unwrap_or_default())
        .collect();

    // A fresh cluster: nothing but the two journals knows what was. `-r` restores all of it.
    let lite = Lite::start()?;
    let from = two.display().to_string();
    let mut process = persister(1, &lite.uri, &one, &["-f", "--from", &from, "-r"])?;
    let client = lite.client().await?;
    restored(&client).await.with_context(|| process.log())?;
    goes_on(&process, &client, "/after").await?;
    let log = process.log();
    for lost in &before[8..11] {
        let given_back = format!("revision {} from {from}", lost.revision);
        ensure!(
            log.contains(&given_back),
            "{given_back:?} is not in:\n{log}"
        );
    }
    ensure!(!log.contains("lost: sequence"), "nothing is lost:\n{log}");
    ensure!(
        said_by(changes(&one)?)[..before.len()] == said_by(before)[..],
        "{log}"
    );
    let mut now = tree(&client).await?;
    now.retain(|path, _| tree_before.contains_key(path));
    ensure!(now == tree_before, "{log}");
    process.end_in_order()?;

    // The donor was only read.
    for (entry, content) in others.iter().zip(read_only) {
        ensure!(
            fs::read(entry.path()).unwrap_or_default() == content,
            "{} was written",
            entry.path().display()
        );
    }
    ensure!(fs::read_dir(&two)?.count() == others.len());
    Ok(())
}
