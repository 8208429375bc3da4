//! Members that start from one file agree, whatever is done to them, and etcd finds nothing wrong
//! with a file.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cairn_etcd::wire::{CompactionRequest, Compare, PutRequest, RangeRequest, TxnRequest};
use cairn_etcd_member::Member;
use cairn_tests::{eventually, seeded, setting};
use serde_json::Value;

use crate::cluster::{Etcd, NO_FSYNC, put, revision};
use crate::snapshot_file::{Known, file, number, restored, state, values};

/// How many random files are started from; `CAIRN_SNAPSHOT_FILES=200` for a long look.
const FILES: usize = 2;

/// What a member says of its keys: their hash.
fn hash(member: &Member) -> Result<u32> {
    let said = member.etcdctl(&["endpoint", "hashkv"])?;
    let hash = said.trim().rsplit(", ").next().context("a hash")?;
    Ok(hash.parse()?)
}

/// Waits until all members say the same hash, and returns it.
async fn agreed(etcd: &Etcd) -> Result<u32> {
    eventually("the members agree", || async {
        let hashes: BTreeSet<u32> = etcd.members.iter().map(hash).collect::<Result<_>>()?;
        Ok(hashes.first().copied().filter(|_| hashes.len() == 1))
    })
    .await
}

/// What etcd's tool finds in a file.
fn status(file: &Path) -> Result<Value> {
    let etcdctl = match std::env::var_os("CAIRN_ETCD") {
        Some(directory) => Path::new(&directory).join("etcdctl").into_os_string(),
        None => "etcdctl".into(),
    };
    let mut command = Command::new(etcdctl);
    command
        .env("ETCDCTL_API", "3")
        .arg("snapshot")
        .arg("status");
    let output = command.arg(file).args(["-w", "json"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", file.display());
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_finds_nothing_wrong_with_random_files() -> Result<()> {
    let mut rng = seeded("random files")?;
    let files = setting("CAIRN_SNAPSHOT_FILES", FILES)?;
    let known = Known::start(&mut rng, 120).await?;
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    known.journal(&journal, &mut rng)?;
    let checked = [NO_FSYNC, &["--experimental-initial-corrupt-check=true"]].concat();
    let mut etcd = Etcd::start_with(3, &checked)?;
    for _ in 0..files {
        let from = rng.i64(2..known.newest);
        let at = rng.i64(from..=known.newest).to_string();
        let from = from.to_string();
        let kinds: [&[&str]; 4] = [
            &[],
            &["--seamless", "--history-from", &from],
            &["--seamless", "--at-revision", &at],
            &["--rehearsal", "--history-from", &from, "--at-revision", &at],
        ];
        let args = kinds[rng.usize(..kinds.len())];
        let place = tempfile::tempdir()?;
        let (made, report) = file(&journal, place.path(), args)?;
        let found = status(&made)?;
        ensure!(found["revision"].as_i64().is_some(), "{args:?}: {found}");
        restored(&mut etcd, &made)
            .await
            .with_context(|| format!("{args:?}"))?;
        let hash = agreed(&etcd).await?;
        let expected = number(&report, "hash-kv")?;
        ensure!(
            i64::from(hash) == expected,
            "{args:?}: {hash} is not that of {report}"
        );
    }
    println!("{files} files, three members each");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_from_one_file_agree_whatever_is_done_to_them() -> Result<()> {
    let mut rng = seeded("three members from one file")?;
    let known = Known::start(&mut rng, 80).await?;
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    known.journal(&journal, &mut rng)?;
    let place = tempfile::tempdir()?;
    let (made, report) = file(&journal, place.path(), &["--seamless"])?;
    let mut etcd = Etcd::start(3)?;
    let session = restored(&mut etcd, &made).await?;
    ensure!(i64::from(agreed(&etcd).await?) == number(&report, "hash-kv")?);
    // With tokens from before.
    let end = known.state(known.newest);
    let mut swapped = 0;
    for (key, kv) in end.iter().filter(|(key, _)| key.starts_with(b"k")) {
        let swap = TxnRequest {
            compare: vec![Compare::unchanged(key.clone(), kv.mod_revision)],
            success: vec![PutRequest::new(key.clone(), "new").into()],
            ..TxnRequest::default()
        };
        ensure!(session.call(swap.clone()).await?.succeeded, "{key:?}");
        ensure!(!session.call(swap).await?.succeeded, "{key:?} twice");
        swapped += 1;
    }
    ensure!(swapped > 0, "there are keys");
    agreed(&etcd).await?;
    let before = state(&session, 0).await?;

    etcd.kill();
    etcd.start_again()?;
    let session = etcd.session().await?;
    agreed(&etcd).await?;
    ensure!(state(&session, 0).await? == before, "after a restart");
    let now = put(&session, "now", "x").await?;
    let compaction = CompactionRequest {
        revision: now,
        physical: true,
    };
    session.call(compaction).await?;
    for member in &etcd.members {
        member.etcdctl(&["defrag"])?;
    }
    agreed(&etcd).await?;
    let last = session.call(RangeRequest::key("now")).await?;
    ensure!(revision(last.header)? == now && last.kvs.len() == 1);
    let mut after = values(&state(&session, 0).await?);
    after.retain(|key, _| *key != "now");
    ensure!(
        after == values(&before),
        "after compaction and defragmentation"
    );
    Ok(())
}
