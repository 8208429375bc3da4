//! What a persister does when its journal was hurt while it was down.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use cairn_client::Revision;
use cairn_journal::{Entry, Record};
use cairn_tests::{Lite, durable, journaled, persister, records, tree};

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
    let revision = client.set("/after", Revision::MISSING, "x").await?;
    durable(&client, 1, revision)
        .await
        .with_context(|| process.log())?;
    ensure!(journaled(&journal)? == tree(&client).await?);
    ensure!(process.terminate()?.success(), "{}", process.log());
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
    let status = process.wait()?;
    let said = process.log();
    ensure!(status.code() == Some(DAMAGED), "{status}: {said}");
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
    let said_by = |records: Vec<Record>| -> Vec<_> {
        records.into_iter().map(|r| (r.revision, r.entry)).collect()
    };
    let kept = said_by(changes(&copy)?);
    let mut expected = said_by(before.clone());
    let lost = expected.remove(before.len() / 2);
    ensure!(kept == expected, "more than revision {} is gone", lost.0);

    // By the persister, with the cluster alive: even the lost one comes back.
    let client = lite.client().await?;
    let mut process = persister(1, &lite.uri, &journal, &["-f"])?;
    let revision = client.set("/after", Revision::MISSING, "x").await?;
    durable(&client, 1, revision)
        .await
        .with_context(|| process.log())?;
    ensure!(process.terminate()?.success(), "{}", process.log());
    ensure!(
        journaled(&journal)? == tree(&client).await?,
        "{}",
        process.log()
    );
    ensure!(
        process
            .log()
            .contains(&format!("lost: sequence {}", victim.sequence)),
        "the loss is named:\n{}",
        process.log()
    );
    Ok(())
}
