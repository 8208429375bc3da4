//! Leases: the journal has those that the cluster has, with the times that they were granted.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use bytes::Bytes;
use cairn_etcd::Session;
use cairn_etcd::wire::{
    LeaseGrantRequest, LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest,
};
use cairn_journal::Reader;
use cairn_tests::{Process, eventually};

use crate::cluster::{Etcd, durable, put, revision};

async fn granted(session: &Session, id: i64, ttl: i64) -> Result<i64> {
    let answer = session.call(LeaseGrantRequest { ttl, id }).await?;
    Ok(answer.id)
}

async fn put_under(session: &Session, key: &'static str, lease: i64) -> Result<i64> {
    let put = PutRequest {
        lease,
        ..PutRequest::new(Bytes::from_static(key.as_bytes()), "x")
    };
    revision(session.call(put).await?.header)
}

/// The leases of the cluster, those of owners among them.
async fn leases(session: &Session) -> Result<BTreeMap<i64, i64>> {
    let mut all = BTreeMap::new();
    for lease in session.call(LeaseLeasesRequest {}).await?.leases {
        let id = lease.id;
        let asked = LeaseTimeToLiveRequest { id, keys: false };
        all.insert(id, session.call(asked).await?.granted_ttl);
    }
    Ok(all)
}

/// Waits until the journal has the leases of the cluster, and returns them.
async fn same_leases(
    session: &Session,
    journal: &Path,
    process: &Process,
) -> Result<BTreeMap<i64, i64>> {
    let same = || async {
        let cluster = leases(session).await?;
        // Until it has begun, there is no journal.
        let state = Reader::open(journal).and_then(|reader| reader.state(None));
        Ok(state
            .is_ok_and(|state| state.leases == cluster)
            .then_some(cluster))
    };
    let same = eventually("the leases of the cluster are in the journal", same).await;
    same.with_context(|| process.log())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_has_the_leases_of_the_cluster_and_what_they_were_granted() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let etcd = Etcd::start(1)?;
    let session = etcd.session().await?;
    // Before there is a persister: one with a key, and one without.
    let early = granted(&session, 0, 1_000).await?;
    put_under(&session, "early", early).await?;
    granted(&session, 7, 2_000).await?;
    let small = ["--checkpoint-every", "4KiB"];
    let mut process = etcd.persister(1, &journal, &small)?;
    let found = same_leases(&session, &journal, &process).await?;
    assert_eq!((found[&early], found[&7]), (1_000, 2_000));

    // What is acknowledged has its lease's time before it.
    let named = granted(&session, 0, 3_000).await?;
    let at = put_under(&session, "named", named).await?;
    durable(&session, 1, at).await?;
    let state = Reader::open(&journal)?.state(None)?;
    assert_eq!(state.leases.get(&named), Some(&3_000), "{}", process.log());

    // A killed persister missed the end of one, and the beginning of another.
    process.kill()?;
    session.call(LeaseRevokeRequest { id: 7 }).await?;
    let missed = granted(&session, 0, 4_000).await?;
    let mut process = etcd.persister(1, &journal, &small)?;
    let found = same_leases(&session, &journal, &process).await?;
    assert_eq!((found.get(&7), found[&missed]), (None, 4_000));

    // The end of one with keys, and checkpoints in between.
    session.call(LeaseRevokeRequest { id: named }).await?;
    for at in 0..100 {
        let last = put(&session, &format!("k/{at}"), &"x".repeat(200)).await?;
        durable(&session, 1, last).await?;
    }
    let found = same_leases(&session, &journal, &process).await?;
    assert_eq!(found.get(&named), None);
    let checkpoints = Reader::open(&journal)?.checkpoints()?;
    assert!(!checkpoints.usable.is_empty(), "there is no checkpoint");
    process.end_in_order()
}
