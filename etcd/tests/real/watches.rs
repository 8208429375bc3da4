//! Watches: fragments, compaction, and dropping them.

use anyhow::{Context, Result};
use cairn_etcd::ErrorKind;
use cairn_etcd::wire::{
    CompactionRequest, DeleteRangeRequest, EventType, PutRequest, TxnRequest, WatchCreateRequest,
};
use cairn_etcd_member::Member;
use futures::StreamExt;

use crate::session::open;

#[tokio::test]
async fn a_range_delete_of_many_keys_arrives_whole_through_fragments() -> Result<()> {
    // The least limit at which 128 puts of such keys pass: so that the delete is cut.
    let member = Member::start(&["--max-request-bytes", "30000"])?;
    let session = open(&member).await?;
    let key = |at: usize| format!("{at:0>100}");
    for first in (0..10_000).step_by(100) {
        let puts = (first..first + 100).map(|at| PutRequest::new(key(at), "").into());
        let success = puts.collect();
        let txn = TxnRequest {
            success,
            ..TxnRequest::default()
        };
        session.call(txn).await?;
    }
    let deleted = session.call(DeleteRangeRequest::prefix("")).await?;
    assert_eq!(deleted.deleted, 10_000);
    let at = deleted.header.unwrap().revision;

    // Caught up with, and from its own revision on.
    for from in [2, at] {
        let mut watch = session.watch(WatchCreateRequest::all(from)).await?;
        assert_eq!(watch.created_revision(), at);
        let mut seen = Vec::new();
        while seen.last().is_none_or(|(revision, _)| *revision < at) {
            let batch = watch.next().await.context("ended")??;
            assert_eq!(batch.revision, at);
            for event in batch.events {
                let kind = EventType::try_from(event.r#type)?;
                seen.push((event.kv.context("no key")?.mod_revision, kind));
            }
        }
        // The batch in which the delete was seen has all of it.
        let deletes = seen.iter().filter(|(revision, _)| *revision == at);
        assert_eq!(deletes.count(), 10_000);
        assert_eq!(seen.len(), if from == 2 { 20_000 } else { 10_000 });
        assert!(seen.is_sorted_by_key(|(revision, _)| *revision));
        assert_eq!(seen.last().unwrap().1, EventType::Delete);
    }
    Ok(())
}

#[tokio::test]
async fn what_is_compacted_is_said_with_the_oldest_revision_that_is_left() -> Result<()> {
    let member = Member::start(&[])?;
    let session = open(&member).await?;
    for at in 0..10 {
        session.call(PutRequest::new("k", at.to_string())).await?;
    }
    let compaction = CompactionRequest {
        revision: 8,
        physical: true,
    };
    session.call(compaction).await?;
    let mut watch = session.watch(WatchCreateRequest::all(3)).await?;
    let failed = watch.next().await.context("ended")?.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Compacted(Some(8)), "{failed}");
    assert!(watch.next().await.is_none());

    let mut watch = session.watch(WatchCreateRequest::key("k", 9)).await?;
    let batch = watch.next().await.context("ended")??;
    assert_eq!(batch.events[0].kv.as_ref().unwrap().mod_revision, 9);

    for (revision, kind) in [
        (3, ErrorKind::Compacted(None)),
        (99, ErrorKind::FutureRevision),
    ] {
        let mut range = cairn_etcd::wire::RangeRequest::key("k");
        range.revision = revision;
        assert_eq!(session.call(range).await.unwrap_err().kind(), kind);
    }
    Ok(())
}

#[tokio::test]
async fn a_watch_from_the_future_waits() -> Result<()> {
    let member = Member::start(&[])?;
    let session = open(&member).await?;
    let mut watch = session.watch(WatchCreateRequest::all(4)).await?;
    assert_eq!(watch.created_revision(), 1);
    for value in ["2", "3", "4"] {
        session.call(PutRequest::new("k", value)).await?;
    }
    let batch = watch.next().await.context("ended")??;
    assert_eq!(batch.events[0].kv.as_ref().unwrap().value, "4");
    Ok(())
}
