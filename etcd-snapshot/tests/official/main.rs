//! etcd's own programs and these files: what is written here is what they read, what they write is
//! read here, and the numbers by which members are compared are equal.
//!
//! Needs `etcd` and `etcdctl`: the Debian packages etcd-server and etcd-client.

#![allow(clippy::unwrap_used)] // Tests.

#[path = "../common/mod.rs"]
mod common;
mod load;
mod member;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cairn_etcd_snapshot::{
    Lease, ReadOptions, Record, Snapshot, Window, WriteOptions, Writer, hash_kv, history, revert,
};
use common::{Store, number, seed};
use fastrand::Rng;
use member::{Member, etcdctl, text};
use serde_json::{Value, json};

/// Written under a name of its own in a directory of its own.
struct Written {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn write<'a>(
    options: WriteOptions,
    records: impl IntoIterator<Item = cairn_etcd_snapshot::Result<Record>>,
    leases: impl IntoIterator<Item = &'a Lease>,
) -> Result<Written> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("snapshot.db");
    let mut writer = Writer::create(&path, options)?;
    for record in records {
        writer.record(&record?)?;
    }
    for lease in leases {
        writer.lease(lease)?;
    }
    writer.finish()?;
    Ok(Written {
        _directory: directory,
        path,
    })
}

/// etcd's tool checks every page, and finds the revision and every record.
fn status_is_sound(path: &Path) -> Result<()> {
    let mut command = Command::new("etcdctl");
    let said = etcdctl(command.args(["snapshot", "status", "-w", "json"]).arg(path))?;
    let status: Value = serde_json::from_str(&said)?;
    let snapshot = Snapshot::open(path, ReadOptions::default())?;
    let newest = snapshot.records()?.last().transpose()?;
    let newest = newest.map_or(0, |record| record.at.revision);
    ensure!(
        status["revision"] == json!(newest),
        "{status}: not {newest}"
    );
    // It counts the entries of all buckets.
    let mut entries = 0;
    for bucket in snapshot.buckets() {
        entries += snapshot.entries(bucket).context("is there")?.count();
    }
    ensure!(
        status["totalKey"] == json!(entries),
        "{status}: not {entries}"
    );
    Ok(())
}

/// A member with this history answers as the store that it is of.
fn answers_as(member: &Member, store: &Store, window: Window, rng: &mut Rng) -> Result<()> {
    let Window {
        compacted,
        revision,
    } = window;
    ensure!(
        member.revision()? == revision,
        "stands at {}",
        member.revision()?
    );
    for _ in 0..5 {
        let at = rng.i64(compacted.max(1)..=revision);
        ensure!(
            member.keys_at(at)? == store.state_at(at),
            "the keys at {at}"
        );
    }
    ensure!(
        member.keys_at(revision)? == store.state_at(revision),
        "the keys"
    );
    let history: Vec<Record> = store.window(window);
    let history = history
        .into_iter()
        .filter(|record| record.at.revision > compacted);
    ensure!(
        member.watch(compacted + 1, revision)? == history.collect::<Vec<_>>(),
        "a watch from {}",
        compacted + 1
    );
    ensure!(member.leases()? == store.leases.values().copied().collect::<Vec<_>>());
    for lease in store.leases.keys() {
        let state = store.state_at(revision);
        let attached = state.iter().filter(|(_, (put, _))| put.lease == *lease);
        let keys: Vec<&Vec<u8>> = attached.map(|(key, _)| key).collect();
        ensure!(
            member.keys_of_lease(*lease)?.iter().eq(keys),
            "keys of {lease:x}"
        );
    }
    for at in [revision, rng.i64((compacted + 1).min(revision)..=revision)] {
        // A member refuses the compacted revision itself, unless it is its newest and not named.
        let asked = if at == revision { 0 } else { at };
        let window = Window {
            compacted,
            revision: at,
        };
        ensure!(
            member.hash_kv(asked)? == store.hash_kv(window),
            "HashKV at {at}"
        );
    }
    Ok(())
}

#[test]
fn a_member_that_is_restored_from_a_written_file_is_the_lost_one() -> Result<()> {
    let mut rng = Rng::with_seed(seed());
    for case in 0..number("CAIRN_SNAPSHOT_RESTORES", 6) {
        let mut store = Store::random(&mut rng, 400);
        let mut window = store.random_window(&mut rng);
        match case {
            0 => window.compacted = window.revision, // a state alone
            1 => window.compacted = 0,               // all that ever happened
            2 => {
                // No key is left, which is etcd's exception in HashKV.
                store.remove_all();
                window.revision = store.revision();
                window.compacted = window.revision - rng.i64(1..20);
            }
            3 => {
                // An older state is given back: whoever watches from R + 1 receives the way there.
                let newest = store.revision();
                let older = rng.i64(1..newest);
                let puts = |at| store.state_at(at).into_values().map(|(put, _)| put);
                let back = revert(puts(older), puts(newest), newest + 1, 1 << 20);
                let back: Vec<Record> = back.collect::<Result<_, _>>()?;
                store.records.extend(back);
                window = Window {
                    compacted: rng.i64(0..newest),
                    revision: store.revision(),
                };
            }
            _ => {}
        }
        let (bytes, summary) = store.snapshot(window, 1024 << rng.u32(..7));
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("snapshot.db");
        std::fs::write(&path, bytes)?;
        let ours = hash_kv(&Snapshot::open(&path, ReadOptions::default())?, window)?;
        let told = |what| format!("case {case}, {window:?}: {what}");
        ensure!(ours == store.hash_kv(window), told("HashKV"));
        ensure!(summary.revision == window.revision);
        status_is_sound(&path).with_context(|| told("status"))?;

        let member = Member::restored(&path)?;
        answers_as(&member, &store, window, &mut rng).with_context(|| told("restored"))?;
        // It goes on where the lost one ended, and old tokens are good.
        let state = store.state_at(window.revision);
        if let Some((key, (put, newest))) = state.iter().next() {
            let compare = json!({
                "key": text(key), "target": "MOD", "result": "EQUAL",
                "mod_revision": newest.to_string(),
            });
            let put = json!({"request_put": {"key": text(key), "value": text(&put.value)}});
            let answer = member.call("kv/txn", &json!({"compare": [compare], "success": [put]}))?;
            ensure!(answer["succeeded"] == json!(true), told("compare and set"));
            ensure!(
                member.revision()? == window.revision + 1,
                told("the next revision")
            );
        }
    }
    Ok(())
}

#[test]
fn a_snapshot_of_a_real_cluster_is_read_and_written_again() -> Result<()> {
    let mut rng = Rng::with_seed(seed());
    let member = Member::empty()?;
    load::run(&member, &mut rng, 250)?;
    let first = member.save("first.db")?;
    let compacted = rng.i64(100..200);
    let all = member.watch(1, member.revision()?)?;
    let request = json!({"revision": compacted.to_string(), "physical": true});
    member.call("kv/compaction", &request)?;
    load::run(&member, &mut rng, 50)?;
    let second = member.save("second.db")?;
    let revision = member.revision()?;
    let watched = member.watch(compacted + 1, revision)?;

    // Before the compaction: the whole history.
    status_is_sound(&first)?;
    let snapshot = Snapshot::open(&first, ReadOptions::default())?;
    let records: Vec<Record> = snapshot.records()?.collect::<Result<_, _>>()?;
    ensure!(records == all, "all that was watched");
    ensure!(snapshot.compacted() == 0);

    // After it: the state and what followed, and the numbers of the member itself.
    status_is_sound(&second)?;
    let snapshot = Snapshot::open(&second, ReadOptions::default())?;
    let whole = snapshot.window();
    ensure!(
        whole
            == Window {
                compacted,
                revision
            },
        "{whole:?}"
    );
    let records: Vec<Record> = history(&snapshot, whole)?.collect::<Result<_, _>>()?;
    let behind = records
        .iter()
        .filter(|record| record.at.revision > compacted);
    ensure!(behind.eq(&watched), "what was watched");
    let leases: Vec<Lease> = snapshot.leases()?.collect::<Result<_, _>>()?;
    ensure!(leases == member.leases()?, "leases");
    let mut hashes = BTreeMap::new();
    for at in (0..8)
        .map(|_| rng.i64(compacted + 1..=revision))
        .chain([revision])
    {
        let part = Window {
            compacted,
            revision: at,
        };
        let theirs = member.hash_kv(at)?;
        ensure!(hash_kv(&snapshot, part)? == theirs, "HashKV at {at}");
        hashes.insert(at, theirs);
    }

    // The stream of the call itself is the same kind of file.
    let streamed = Snapshot::from_bytes(
        member.stream_snapshot()?,
        "streamed",
        ReadOptions::default(),
    )?;
    ensure!(streamed.window() == whole);
    ensure!(streamed.records()?.count() == snapshot.records()?.count());

    // Written anew, with all of the history and with none.
    for window in [
        whole,
        Window {
            compacted: revision,
            revision,
        },
    ] {
        let options = WriteOptions {
            compacted: window.compacted,
            ..WriteOptions::default()
        };
        let written = write(options, history(&snapshot, window)?, &leases)?;
        status_is_sound(&written.path)?;
        let again = Member::restored(&written.path)?;
        ensure!(again.revision()? == revision);
        ensure!(
            again.keys_at(revision)? == member.keys_at(revision)?,
            "keys"
        );
        ensure!(again.leases()? == leases, "leases");
        ensure!(
            again
                .watch(window.compacted + 1, revision)?
                .iter()
                .eq(watched
                    .iter()
                    .filter(|record| record.at.revision > window.compacted))
        );
        if window == whole {
            for (at, hash) in &hashes {
                ensure!(again.hash_kv(*at)? == *hash, "HashKV at {at}");
            }
        }
        ensure!(
            again.hash_kv(0)? == hash_kv(&snapshot, window)?,
            "HashKV of {window:?}"
        );
    }
    Ok(())
}
