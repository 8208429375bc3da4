//! `persister restore`, as an operator uses it: what it does, what it leaves alone, what it says.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use cairn_client::{Client, Revision};
use cairn_sync_client::keys;
use cairn_tests::{Lite, Process, attached, durable, journaled, persister, seeded, tree};
use serde_json::Value;

use crate::history::{EPOCH_MS, History, STEP_MS};

/// The exit statuses of `docs/operations.md`.
const DIFFERS: i32 = 24;
const WOULD_LOSE: i32 = 25;
const NOT_RESTORED: i32 = 26;
const TOO_LARGE: i32 = 27;
const UNKNOWN_STATE: i32 = 28;

/// Runs it; the exit status, and the object that it printed.
fn restore(lite: &Lite, journal: &Path, args: &[&str]) -> Result<(i32, Value)> {
    let address = format!("doozer:?ca={}", lite.uri.addresses[0]);
    let journal = journal.to_str().context("a test directory is UTF-8")?;
    let fixed = [
        "restore",
        "-a",
        &address,
        "-j",
        journal,
        "--json",
        "--restore-wait",
        "0s",
    ];
    let mut process = Process::start("persister", [&fixed, args].concat())?;
    let line = process.line_on_stdout()?;
    let status = process.wait()?.code().context("it was not killed")?;
    println!("{args:?}: {status}: {line}");
    Ok((
        status,
        serde_json::from_str(&line).with_context(|| line.clone())?,
    ))
}

fn said(report: &Value, key: &str) -> String {
    report[key].as_str().unwrap_or_default().to_owned()
}

/// Every file of a directory with its length and time.
fn listing(directory: &Path) -> Result<BTreeMap<String, (u64, std::time::SystemTime)>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.insert(name, (metadata.len(), metadata.modified()?));
    }
    Ok(files)
}

struct Old {
    scratch: tempfile::TempDir,
    history: History,
}

impl Old {
    fn new(changes: usize) -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let history = History::random(&mut seeded("old cluster")?, changes, 2);
        history.write(&scratch.path().join("1"), history.newest())?;
        Ok(Self { scratch, history })
    }

    fn journal(&self) -> std::path::PathBuf {
        self.scratch.path().join("1")
    }
}

async fn counter(client: &Client) -> Result<i64> {
    Ok(client.rev().await?.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_says_what_would_be_done_and_writes_nothing() -> Result<()> {
    let old = Old::new(300)?;
    let (newest, journal) = (old.history.newest(), old.journal());
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let before = (counter(&client).await?, listing(&journal)?);
    let (status, report) = restore(&lite, &journal, &["--dry-run"])?;
    let keys = old.history.state(newest).len();
    ensure!(status == 0 && said(&report, "outcome") == "would-restore");
    ensure!(report["written"] == keys && report["state"]["revision"] == newest);
    ensure!(
        report["first"]
            .as_array()
            .is_some_and(|first| first.len() == 10)
    );
    ensure!(
        (counter(&client).await?, listing(&journal)?) == before,
        "something was written"
    );

    let (status, done) = restore(&lite, &journal, &[])?;
    ensure!(status == 0 && said(&done, "outcome") == "restored");
    ensure!(
        done["state"] == report["state"],
        "it said something else before"
    );
    ensure!(tree(&client).await? == old.history.state(newest));

    // On what is restored already, and on a living cluster, it is a no-op that says so.
    let before = counter(&client).await?;
    let (status, report) = restore(&lite, &journal, &[])?;
    ensure!(status == 0 && said(&report, "reason").contains("restored already"));
    ensure!(counter(&client).await? == before);
    let mut process = persister(1, &lite.uri, &journal, &[])?;
    attached(&client, 1).await?;
    let written = client.set("/later", Revision::MISSING, "x").await?;
    durable(&client, 1, written).await?;
    // Its journal is in use: that does not matter.
    let (status, report) = restore(&lite, &journal, &["--merge"])?;
    ensure!(status == 0 && said(&report, "reason").contains("is alive"));
    let at = newest.to_string();
    let (status, report) = restore(&lite, &journal, &["--at-revision", &at])?;
    ensure!(status == NOT_RESTORED && said(&report, "reason").contains("--merge"));
    ensure!(process.terminate()?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_with_keys_is_merged_into_only_if_that_is_asked_for() -> Result<()> {
    let old = Old::new(300)?;
    let (newest, journal) = (old.history.newest(), old.journal());
    let expected = old.history.state(newest);
    let lite = Lite::start()?;
    let client = lite.client().await?;
    // One that differs, one that is the same, one that the journal does not have.
    let mut paths = expected.keys();
    let (other, same) = (paths.next().context("keys")?, paths.next().context("keys")?);
    let overwritten = client.set(other, Revision::ANY, "mine").await?;
    let kept = client
        .set(same, Revision::ANY, expected[same].1.clone())
        .await?;
    client.set("/ctlfoo", Revision::ANY, "stays").await?;
    let before = counter(&client).await?;
    let (status, report) = restore(&lite, &journal, &[])?;
    ensure!(status == NOT_RESTORED && said(&report, "reason").contains("is not empty; it has /"));
    let (status, dry) = restore(&lite, &journal, &["--merge", "--dry-run"])?;
    ensure!(status == 0 && said(&dry, "outcome") == "would-merge");
    ensure!(counter(&client).await? == before, "something was written");

    let (status, done) = restore(&lite, &journal, &["--merge"])?;
    ensure!(status == 0 && said(&done, "outcome") == "merged");
    ensure!(
        done["merge"] == dry["merge"],
        "it said something else before"
    );
    ensure!(done["merge"]["created"] == expected.len() - 2 && done["merge"]["others"] == 1);
    ensure!(done["merge"]["overwritten"][0]["path"] == **other);
    ensure!(done["merge"]["overwritten"][0]["revision"] == overwritten.0);
    let found = tree(&client).await?;
    ensure!(found.len() == expected.len() + 1 && &found["/ctlfoo"].1[..] == b"stays");
    ensure!(
        found[same].0 == kept,
        "what is the same is not written again"
    );
    for (path, (revision, value)) in &expected {
        ensure!(found[path].1 == value, "{path}");
        ensure!(
            path == same || found[path].0.0 > newest,
            "{path}: an old token would pass"
        );
        ensure!(path == same || found[path].0 > *revision);
    }
    ensure!(
        client.get(keys::IDENTITY, None).await?.is_none(),
        "it has no identity, as before"
    );
    // Again: nothing is left to do.
    let (status, again) = restore(&lite, &journal, &["--merge"])?;
    ensure!(status == 0 && again["written"] == 0);

    // A file cannot become a directory.
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let below = format!("{other}/below");
    client.set(&below, Revision::ANY, "x").await?;
    let before = counter(&client).await?;
    let (status, report) = restore(&lite, &journal, &["--merge"])?;
    ensure!(status == NOT_RESTORED && said(&report, "error").contains(&below));
    ensure!(counter(&client).await? == before);
    Ok(())
}

/// The story: yesterday's state is wanted. The persisters, whose journals hold more, must neither
/// follow in silence nor bring the newest state back by themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_state_is_followed_only_by_who_is_told_to() -> Result<()> {
    let old = Old::new(300)?;
    let (newest, journal) = (old.history.newest(), old.journal());
    let at = old.history.0[200].0;
    let time = cairn_journal::Timestamp(EPOCH_MS + 200 * STEP_MS + 1).show();
    for choice in [["--at-revision", &at.to_string()], ["--at-time", &time]] {
        let lite = Lite::start()?;
        let client = lite.client().await?;
        let (status, report) = restore(&lite, &journal, &choice)?;
        ensure!(
            status == 0 && report["state"]["revision"] == at,
            "{choice:?}"
        );
        ensure!(tree(&client).await? == old.history.state(at), "{choice:?}");
        ensure!(counter(&client).await? >= newest, "old tokens would pass");
        let identity = said(&report, "identity");
        ensure!(identity.ends_with(&format!(" at {at} kept")), "{identity}");
        let mut process = persister(1, &lite.uri, &journal, &["-r"])?;
        let ended = process.wait()?;
        ensure!(
            ended.code() == Some(WOULD_LOSE),
            "{ended}: {}",
            process.log()
        );
        ensure!(tree(&client).await? == old.history.state(at), "{choice:?}");
    }
    // Told to, it follows, and has what the cluster has.
    let lite = Lite::start()?;
    let client = lite.client().await?;
    restore(&lite, &journal, &["--at-revision", &at.to_string()])?;
    let process = persister(1, &lite.uri, &journal, &["--accept-loss"])?;
    attached(&client, 1).await.with_context(|| process.log())?;
    ensure!(
        journaled(&journal)? == old.history.state(at),
        "{}",
        process.log()
    );
    let after = client.set("/after", Revision::MISSING, "x").await?;
    durable(&client, 1, after).await?;
    ensure!(journaled(&journal)? == tree(&client).await?);
    Ok(())
}

/// The story: a part was restored from a journal that had ended exactly there, and its persister
/// went on as if the cluster had everything, so that its journal kept keys for ever that nobody
/// could see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_is_never_taken_for_the_whole() -> Result<()> {
    let old = Old::new(300)?;
    let (newest, journal) = (old.history.newest(), old.journal());
    let state = old.history.state(newest);
    let first = state.keys().next().cloned().context("keys")?;
    let directory = &first[..first[1..].find('/').map_or(first.len(), |at| at + 1)];
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let args = ["--prefix", directory, "--prefix", &first];
    let (status, report) = restore(&lite, &journal, &args)?;
    ensure!(status == 0 && said(&report, "identity").ends_with(&format!(" at {newest} part")));
    let is_in = |path: &str| path == directory || path.starts_with(&format!("{directory}/"));
    let expected: cairn_tests::Tree = state.into_iter().filter(|(path, _)| is_in(path)).collect();
    ensure!(!expected.is_empty() && tree(&client).await? == expected);
    ensure!(counter(&client).await? >= newest);
    // Another part is not another state; how to add it is said.
    let (status, report) = restore(&lite, &journal, &["--prefix", "/"])?;
    ensure!(status == NOT_RESTORED && said(&report, "reason").contains("--merge adds"));
    ensure!(tree(&client).await? == expected, "something was written");
    let mut process = persister(1, &lite.uri, &journal, &["-r"])?;
    ensure!(
        process.wait()?.code() == Some(WOULD_LOSE),
        "{}",
        process.log()
    );
    ensure!(
        journaled(&journal)? == old.history.state(newest),
        "nothing was touched"
    );
    let process = persister(1, &lite.uri, &journal, &["--accept-loss"])?;
    attached(&client, 1).await.with_context(|| process.log())?;
    ensure!(journaled(&journal)? == expected);
    Ok(())
}

/// The story: by mistake a directory was deleted an hour ago. The cluster lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_is_merged_back_into_the_living_cluster() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("1");
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let mut process = persister(1, &lite.uri, &journal, &[])?;
    attached(&client, 1).await?;
    let mut last = Revision::MISSING;
    for n in 0..20 {
        last = client
            .set(&format!("/app/{n}"), Revision::ANY, "good")
            .await?;
    }
    let good = last.0.to_string();
    for n in 0..10 {
        client.del(&format!("/app/{n}"), Revision::ANY).await?;
    }
    client.set("/app/15", Revision::ANY, "newer").await?;
    let last = client.set("/other", Revision::ANY, "newer").await?;
    durable(&client, 1, last).await?;
    let args = ["--at-revision", &good, "--prefix", "/app", "--merge"];
    let (status, done) = restore(&lite, &journal, &args)?;
    ensure!(status == 0 && done["merge"]["created"] == 10, "{done}");
    ensure!(
        done["merge"]["overwritten"][0]["path"] == "/app/15",
        "{done}"
    );
    let found = tree(&client).await?;
    ensure!(found.len() == 21 && &found["/other"].1[..] == b"newer");
    ensure!((0..20).all(|n| &found[&format!("/app/{n}")].1[..] == b"good"));
    // The persister has journaled it like everything else.
    let last = client.set("/last", Revision::ANY, "x").await?;
    durable(&client, 1, last).await?;
    ensure!(journaled(&journal)? == tree(&client).await?);
    ensure!(process.terminate()?.success());
    Ok(())
}

/// The story: the cluster lives, and what is merged into it is changed by others in the same
/// moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_change_right_after_a_merge_has_written_it_is_listed() -> Result<()> {
    let old = Old::new(2000)?;
    let state = old.history.state(old.history.newest());
    let mut oldest: Vec<&String> = state.keys().collect();
    oldest.truncate(2);
    let lite = Lite::start()?;
    let client = lite.client().await?;
    client.set("/mine", Revision::MISSING, "x").await?;
    let change = |path: String, delete: bool| {
        let client = client.clone();
        tokio::spawn(async move {
            // Changes it once it is there.
            while client.get(&path, None).await?.is_none() {}
            if delete {
                client.del(&path, Revision::ANY).await?;
            } else {
                client.set(&path, Revision::ANY, "theirs").await?;
            }
            anyhow::Ok(())
        })
    };
    let others = [
        change(oldest[0].clone(), false),
        change(oldest[1].clone(), true),
    ];
    let (status, done) = restore(&lite, &old.journal(), &["--merge", "--in-flight", "1"])?;
    for other in others {
        other.await??;
    }
    ensure!(status == DIFFERS && said(&done, "outcome") == "merged");
    let left = done["merge"]["left"].as_array().context("a list of keys")?;
    ensure!(
        left.len() == 2
            && oldest
                .iter()
                .all(|path| left.iter().any(|l| l == path.as_str()))
    );
    ensure!(done["merge"]["created"] == state.len() - 2);
    ensure!(&tree(&client).await?[oldest[0]].1[..] == b"theirs");
    Ok(())
}

/// A part that is not there, and a moment that is still to come, are mistakes of typing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_mistyped_does_not_pass_for_restored() -> Result<()> {
    let old = Old::new(300)?;
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let before = counter(&client).await?;
    for args in [&["--prefix", "/mistyped"][..], &["--prefix", "/ctl"]] {
        for more in [&[][..], &["--dry-run"], &["--merge"]] {
            let (status, report) = restore(&lite, &old.journal(), &[args, more].concat())?;
            ensure!(status == UNKNOWN_STATE && said(&report, "error").contains(args[1]));
        }
    }
    let uri = format!("doozer:?ca={}", lite.uri.addresses[0]);
    let journal = old.journal();
    let journal = journal.to_str().context("a test directory is UTF-8")?;
    let line = ["restore", "-a", &uri, "-j", journal, "--at-time"];
    let mut process = Process::start("persister", [&line[..], &["2999-01-01T00:00:00Z"]].concat())?;
    ensure!(process.wait()?.code() == Some(2), "{}", process.log());
    ensure!(process.log().contains("in the future"));
    ensure!(counter(&client).await? == before, "something was written");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_found_before_the_first_write() -> Result<()> {
    let old = Old::new(300)?;
    let journal = old.journal();
    let state = old.history.state(old.history.newest());
    let longest = state
        .values()
        .map(|(_, value)| value.len())
        .max()
        .unwrap_or(0);
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let before = counter(&client).await?;
    let limit = (longest - 1).to_string();
    for args in [
        &["--max-value-bytes", &limit][..],
        &["--max-value-bytes", &limit, "--dry-run"],
    ] {
        let (status, report) = restore(&lite, &journal, args)?;
        ensure!(status == TOO_LARGE, "{status}");
        let victim = state.iter().find(|(_, (_, value))| value.len() == longest);
        let (victim, _) = victim.context("there is one")?;
        ensure!(said(&report, "error").contains(victim), "{report}");
    }
    let beyond = (old.history.newest() + 1).to_string();
    let (status, _) = restore(&lite, &journal, &["--at-revision", &beyond])?;
    ensure!(status == UNKNOWN_STATE);
    let (status, _) = restore(&lite, &journal, &["--at-time", "2001-01-01T00:00:00Z"])?;
    ensure!(status == UNKNOWN_STATE);
    ensure!(counter(&client).await? == before, "something was written");
    // The same from a persister with -r.
    let args = ["-r", "--max-value-bytes", &limit];
    let mut process = persister(1, &lite.uri, &journal, &args)?;
    ensure!(
        process.wait()?.code() == Some(TOO_LARGE),
        "{}",
        process.log()
    );
    ensure!(counter(&client).await? == before, "something was written");
    Ok(())
}

/// The story: the dry run said fine, the restore wrote the first keys, ended at one that no node
/// takes, and left the cluster half restored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_cluster_takes_is_found_before_the_first_write() -> Result<()> {
    use cairn_journal::{Change, Journal, NewRecord, Options, Timestamp};
    let scratch = tempfile::tempdir()?;
    for (n, (path, bytes, why)) in [
        ("/app/big".to_owned(), 6_559_049, "6559049 bytes"),
        (format!("/{}", "p".repeat(5_005)), 1, "a path of 5006 bytes"),
        ("/n".repeat(257), 1, "a path of 257 names"),
    ]
    .into_iter()
    .enumerate()
    {
        let directory = scratch.path().join(n.to_string());
        let (journal, _) = Journal::open(&directory, Options::default())?;
        let keys = [("/app/a", 1), (&*path, bytes), ("/app/z", 1)];
        for (revision, (path, bytes)) in (70..).zip(keys) {
            let change = vec![Change::set(path.to_owned(), vec![b'v'; bytes])];
            let at = cairn_journal::Revision(revision);
            journal.append(NewRecord::changes(at, change, Timestamp(1)))?;
        }
        journal.close()?;
        let lite = Lite::start()?;
        let client = lite.client().await?;
        let before = counter(&client).await?;
        for args in [
            &["--max-value-bytes", "8MiB", "--dry-run"][..],
            &["--max-value-bytes", "8MiB"],
        ] {
            let (status, report) = restore(&lite, &directory, args)?;
            let error = said(&report, "error");
            ensure!(
                status == TOO_LARGE && error.contains(why),
                "{status}: {error}"
            );
            ensure!(error.len() < 1_000, "it prints the whole key");
        }
        ensure!(counter(&client).await? == before, "something was written");
    }
    Ok(())
}

/// The story: an operator restores an older state, and a persister that has `-r` in its unit file
/// takes over, because it has more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_has_chosen_is_not_overruled() -> Result<()> {
    let old = Old::new(4000)?;
    let (newest, journal) = (old.history.newest(), old.journal());
    let at = old.history.0[3500].0;
    let second = old.scratch.path().join("2");
    old.history.write(&second, newest)?;
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let address = format!("doozer:?ca={}", lite.uri.addresses[0]);
    let path = journal.to_str().context("a test directory is UTF-8")?;
    let at_text = at.to_string();
    let args = [
        "restore",
        "-a",
        &address,
        "-j",
        path,
        "--in-flight",
        "1",
        "--at-revision",
        &at_text,
    ];
    let mut chosen = Process::start("persister", args)?;
    cairn_tests::eventually("it has begun", || async {
        Ok((counter(&client).await? > 100).then_some(()))
    })
    .await
    .with_context(|| chosen.log())?;
    let mut other = persister(2, &lite.uri, &second, &["-r"])?;
    let status = chosen.wait()?;
    ensure!(status.success(), "{status}: {}", chosen.log());
    let status = other.wait()?;
    ensure!(
        status.code() == Some(WOULD_LOSE),
        "{status}: {}",
        other.log()
    );
    ensure!(tree(&client).await? == old.history.state(at));
    Ok(())
}
