//! What an API server of Kubernetes does to etcd, and a persister beside it that writes nothing: an
//! API server itself was never tried.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cairn_etcd::Session;
use cairn_etcd::wire::{
    CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest,
    PutRequest, RangeRequest, TxnRequest, WatchCreateRequest,
};
use cairn_journal::{Entry, Reader};
use cairn_tests::{records, seeded};
use fastrand::Rng;
use futures::StreamExt as _;
use tokio::task::JoinSet;

use crate::cluster::{Etcd, History, journaled, live, put, revision, same, take_in};
use crate::observe::covered;

const SERVERS: usize = 3;
const WRITES: usize = 120;
const OBJECTS: u64 = 20;

/// How often history is compacted, to where it was the time before.
const COMPACTIONS: usize = 4;

/// An object as an API server encodes it: a magic number, and then any bytes.
fn object(random: &mut Rng) -> Bytes {
    let mut object = b"k8s\0".to_vec();
    object.extend((0..random.usize(..300)).map(|_| random.u8(..)));
    object.into()
}

/// Each write is a transaction that compares the revision which its server has seen last; the one
/// that comes too late is told what there is.
async fn write(session: &Session, random: &mut Rng, lease: i64) -> Result<()> {
    let kind = random.choice(["pods/default/", "secrets/kube-system/", "events/default/"]);
    let kind = kind.context("there are kinds")?;
    let key = format!("/registry/{kind}{}", random.u64(..OBJECTS));
    let seen = session
        .call(RangeRequest::key(key.clone()))
        .await?
        .kvs
        .pop();
    let put = PutRequest {
        lease: if kind.starts_with("events") { lease } else { 0 },
        ..PutRequest::new(key.clone(), object(random))
    };
    let (compare, success) = match seen {
        None => (Compare::absent(key.clone()), put.into()),
        Some(seen) => {
            let unchanged = Compare::unchanged(key.clone(), seen.mod_revision);
            match random.u8(..4) {
                0 => (unchanged, DeleteRangeRequest::key(key.clone()).into()),
                _ => (unchanged, put.into()),
            }
        }
    };
    let txn = TxnRequest {
        compare: vec![compare],
        success: vec![success],
        failure: vec![RangeRequest::key(key).into()],
    };
    session.call(txn).await?;
    Ok(())
}

/// Everything from the beginning on, until `last` is put.
async fn everything(session: Session) -> Result<History> {
    let mut watch = session.watch(WatchCreateRequest::all(2)).await?;
    let mut history = History::new();
    while !history.values().flatten().any(|(key, _)| key == "last") {
        for event in watch.next().await.context("the watch ended")??.events {
            take_in(&mut history, event)?;
        }
    }
    Ok(history)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_api_servers_do_is_journaled_whole_and_nothing_is_written() -> Result<()> {
    let mut random = seeded("API servers")?;
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let etcd = Etcd::start(1)?;
    let session = etcd.session().await?;
    put(&session, "first", "x").await?;
    let told = tokio::spawn(everything(etcd.session().await?));
    let args = &["--mirror", "none"];
    let mut process = etcd.persister(1, &journal, args)?;
    let (mut compacted, mut key_version) = (0, 0);
    for round in 0..COMPACTIONS {
        let (ttl, id) = (3_600, 0);
        let lease = session.call(LeaseGrantRequest { ttl, id }).await?.id;
        let mut servers = JoinSet::new();
        for _ in 0..SERVERS {
            let (session, mut random) = (etcd.session().await?, random.fork());
            servers.spawn(async move {
                for _ in 0..WRITES / COMPACTIONS {
                    write(&session, &mut random, lease).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(server) = servers.join_next().await {
            server??;
        }
        // The events of that time end all at once.
        session.call(LeaseRevokeRequest { id: lease }).await?;
        // One of the servers compacts, the one that writes this key first.
        let said = TxnRequest {
            compare: vec![Compare::unchanged("compact_rev_key", key_version)],
            success: vec![PutRequest::new("compact_rev_key", compacted.to_string()).into()],
            failure: vec![RangeRequest::key("compact_rev_key").into()],
        };
        let said = session.call(said).await?;
        ensure!(said.succeeded, "nobody else compacts");
        key_version = revision(said.header)?;
        covered(&journal, compacted, &process).await?;
        if compacted > 0 {
            let (revision, physical) = (compacted, false);
            let compaction = CompactionRequest { revision, physical };
            session.call(compaction).await?;
        }
        compacted = key_version;
        if round == COMPACTIONS / 2 {
            covered(&journal, compacted, &process).await?;
            process.kill()?;
            process = etcd.persister(1, &journal, args)?;
        }
    }
    let last = put(&session, "last", "x").await?;
    covered(&journal, last, &process).await?;
    process.end_in_order()?;
    let told = told.await??;
    let holes = (2..=last).filter(|at| !told.contains_key(at)).count();
    ensure!(holes == 0, "{holes} revisions are no API server's");
    let has_gap = |entry: &Entry| matches!(entry, Entry::Gap { .. });
    let gaps = records(&journal)?.into_iter();
    let gaps: Vec<_> = gaps.filter(|record| has_gap(&record.entry)).collect();
    ensure!(gaps.is_empty(), "{gaps:?}");
    same(&told, &journaled(&journal)?, 2, last)?;
    let state = Reader::open(&journal)?.state(None)?.files.into_iter();
    let there = live(&session).await?.into_iter();
    let there: Vec<_> = there
        .map(|key| (key.key, key.mod_revision, key.value))
        .collect();
    let state: Vec<_> = state
        .map(|(path, key)| (path, key.revision.0, key.value))
        .collect();
    ensure!(state == there, "the journal has another state");
    Ok(())
}
