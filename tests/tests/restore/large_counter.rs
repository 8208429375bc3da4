//! Few keys, and a counter that is far beyond them.

use std::fs::File;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cairn_client::Revision;
use cairn_tests::{Lite, program, tree};

/// The revision of the older key, and that of the newer one.
const OLDER: i64 = 3_000_000;
const NEWER: i64 = 3_000_500;

/// The story: a restore of two keys took a minute, and nobody had said so before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_says_what_a_large_counter_costs_and_a_node_that_begins_there_saves_it()
-> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (text, journal) = (scratch.path().join("text"), scratch.path().join("journal"));
    std::fs::write(&text, format!("{OLDER}:/old=x\n{NEWER}:/new=y\n"))?;
    let mut command = Command::new(program("writejournal")?);
    let made = command.arg(&journal).stdin(File::open(&text)?).status()?;
    ensure!(made.success());
    let restore = |lite: &Lite, args: &[&str]| -> Result<String> {
        let address = format!("doozer:?ca={}", lite.uri.addresses[0]);
        let done = Command::new(program("persister")?)
            .args(["restore", "-a", &address, "--restore-wait", "0s", "-j"])
            .arg(&journal)
            .args(args)
            .output()?;
        ensure!(done.status.success(), "{done:?}");
        Ok(String::from_utf8(done.stdout)?)
    };

    let fresh = Lite::start()?;
    let said = restore(&fresh, &["--dry-run"])?;
    ensure!(
        said.contains(" fill the revisions that no key has, in "),
        "{said}"
    );
    ensure!(
        said.contains(&format!("The oldest key is at revision {OLDER}")),
        "{said}"
    );
    let counter = fresh.client().await?.rev().await?;
    ensure!(
        counter < Revision(100),
        "a dry run writes nothing: {counter}"
    );

    let begin = (OLDER - 10).to_string();
    let later = Lite::start_with(&["--start-revision", &begin])?;
    let said = restore(&later, &["--dry-run"])?;
    ensure!(!said.contains("no-operations"), "{said}");
    let said = restore(&later, &[])?;
    ensure!(
        said.contains("every key has the revision that it had"),
        "{said}"
    );
    let found = tree(&later.client().await?).await?;
    let (at, _) = found.get("/old").context("it is back")?;
    ensure!(*at == Revision(OLDER));

    // Above the oldest key: it gets a later revision, and nothing is filled for it.
    let above = Lite::start_with(&["--start-revision", &(NEWER - 10).to_string()])?;
    let said = restore(&above, &[])?;
    ensure!(said.contains(&format!("instead of {OLDER}")), "{said}");
    Ok(())
}
