//! A cluster went back, and `-r api` puts back what it lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cairn_etcd::Session;
use cairn_etcd::wire::{
    CompactionRequest, DeleteRangeRequest, KeyValue, LeaseGrantRequest, PutRequest, RangeRequest,
    TxnRequest,
};
use cairn_journal::Reader;
use cairn_protocol::keys;
use cairn_tests::{Process, eventually};

use crate::cluster::{Etcd, WENT_BACK, durable, live, put, put_many, revision};

const BY_WRITES: &[&str] = &["-r", "api"];
const LEASE: i64 = 0x51;

async fn delete(session: &Session, key: &'static str) -> Result<i64> {
    revision(session.call(DeleteRangeRequest::key(key)).await?.header)
}

/// A cluster that went back, as its operator restored it, and the journal that has the rest.
struct WentBack {
    _scratch: tempfile::TempDir,
    journal: PathBuf,
    etcd: Etcd,
    session: Session,
    /// The journal's newest revision, at least.
    lost: i64,
}

async fn went_back() -> Result<WentBack> {
    let scratch = tempfile::tempdir()?;
    let (journal, snapshot) = (scratch.path().join("journal"), scratch.path().join("db"));
    let mut etcd = Etcd::start(1)?;
    let mut process = etcd.persister(1, &journal, &[])?;
    let session = etcd.session().await?;
    let mut kept = 0;
    for key in ["same", "changed", "gone", "both", "gone since", "leased"] {
        kept = put(&session, key, "1").await?;
    }
    durable(&session, 1, kept).await?;
    let file = snapshot.to_str().context("a test directory is UTF-8")?;
    etcd.members[0].etcdctl(&["snapshot", "save", file])?;

    put_many(&session, "x", 30).await?;
    delete(&session, "gone").await?;
    for key in ["changed", "both", "gone since", "new", "came and went"] {
        put(&session, key, "2").await?;
    }
    delete(&session, "came and went").await?;
    let (ttl, id) = (600, LEASE);
    session.call(LeaseGrantRequest { ttl, id }).await?;
    let leased = PutRequest {
        lease: LEASE,
        ..PutRequest::new("leased", "2")
    };
    let together = TxnRequest {
        success: vec![leased.into(), PutRequest::new("with it", "2").into()],
        ..TxnRequest::default()
    };
    let lost = revision(session.call(together).await?.header)?;
    durable(&session, 1, lost).await?;
    process.end_in_order()?;
    etcd.members[0].restore(&snapshot)?;
    etcd.start_again()?;
    let session = etcd.session().await?;
    Ok(WentBack {
        _scratch: scratch,
        journal,
        etcd,
        session,
        lost,
    })
}

async fn is_named_anew(session: &Session, process: &Process) -> Result<()> {
    let shifted = || async {
        let identity = session.call(RangeRequest::key(keys::IDENTITY)).await?.kvs;
        let text = String::from_utf8_lossy(&identity[0].value).into_owned();
        Ok(text.ends_with(" shifted").then_some(()))
    };
    let shifted = eventually("a new identity", shifted).await;
    shifted.with_context(|| process.log())
}

async fn there(session: &Session) -> Result<BTreeMap<Bytes, KeyValue>> {
    let keys = live(session).await?.into_iter();
    Ok(keys.map(|key| (key.key.clone(), key)).collect())
}

fn journaled(journal: &Path) -> Result<BTreeMap<Bytes, (i64, Bytes)>> {
    let files = Reader::open(journal)?.state(None)?.files.into_iter();
    Ok(files
        .map(|(path, key)| (path, (key.revision.0, key.value)))
        .collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_lost_is_put_back_but_for_what_was_written_since() -> Result<()> {
    // Its counter is behind that of the journal, and past it.
    for more in [0, 60] {
        let went_back = went_back().await?;
        let (etcd, session) = (&went_back.etcd, &went_back.session);
        put(session, "both", "3").await?;
        put(session, "other", "3").await?;
        put(session, "new", "2").await?;
        delete(session, "gone since").await?;
        for _ in 0..more {
            put(session, "other", "3").await?;
        }
        let before = there(session).await?;

        // Only where it is asked for.
        for how in [&[][..], &["-r"]] {
            let mut process = etcd.persister(1, &went_back.journal, how)?;
            let said = process.ends_with(WENT_BACK)?;
            ensure!(said.contains("run with -r api"), "{said}");
        }
        ensure!(there(session).await? == before, "something was written");

        let mut process = etcd.persister(1, &went_back.journal, BY_WRITES)?;
        is_named_anew(session, &process).await?;
        let now = there(session).await?;
        let value = |key: &str| now.get(key.as_bytes()).map(|key| &key.value[..]);
        for (key, is) in [
            ("same", Some(b"1")),
            ("changed", Some(b"2")),
            ("gone", None),
            ("both", Some(b"3")),
            ("gone since", None),
            ("new", Some(b"2")),
            ("came and went", None),
            ("leased", Some(b"2")),
            ("with it", Some(b"2")),
            ("other", Some(b"3")),
            ("k/0", Some(b"x")),
        ] {
            let is = is.map(|value| &value[..]);
            ensure!(
                value(key) == is,
                "{key}: {:?}\n{}",
                value(key),
                process.log()
            );
        }
        let (leased, with_it) = (&now[&b"leased"[..]], &now[&b"with it"[..]]);
        ensure!(leased.lease == LEASE, "{leased:?}");
        ensure!(leased.mod_revision == with_it.mod_revision, "{leased:?}");
        ensure!(leased.mod_revision > went_back.lost, "{leased:?}");
        let after = put(session, "after", "4").await?;
        let followed = durable(session, 1, after).await;
        followed.with_context(|| process.log())?;
        process.end_in_order()?;
        let log = process.log();
        let said = "10 keys were put and 1 deleted, 1 were so already, 2 stay";
        ensure!(log.contains(said), "{log}");
        for key in ["both", "gone since"] {
            let named = format!("{key} was written in the cluster since");
            ensure!(log.contains(&named), "{log}");
        }
        let now = there(session).await?.into_iter();
        let now: BTreeMap<_, _> = now
            .map(|(path, key)| (path, (key.mod_revision, key.value)))
            .collect();
        ensure!(journaled(&went_back.journal)? == now, "{now:?}");
    }
    Ok(())
}

/// It is not known what was written since, and what was there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_put_back_where_it_is_not_proven_what_was_lost() -> Result<()> {
    let went_back = went_back().await?;
    let session = &went_back.session;
    let at = put(session, "both", "3").await?;
    let compaction = CompactionRequest {
        revision: at,
        physical: true,
    };
    session.call(compaction).await?;
    let before = there(session).await?;
    let mut process = went_back.etcd.persister(1, &went_back.journal, BY_WRITES)?;
    let said = process.ends_with(WENT_BACK)?;
    ensure!(said.contains("nothing is put back: "), "{said}");
    ensure!(there(session).await? == before, "something was written");
    Ok(())
}
