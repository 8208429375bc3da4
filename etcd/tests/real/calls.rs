//! Every call, there and back.

use anyhow::{Context, Result};
use bytes::Bytes;
use cairn_etcd::ErrorKind;
use cairn_etcd::wire::{
    Compare, CompareResult, DeleteRangeRequest, HashKvRequest, LeaseGrantRequest,
    LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, MemberListRequest, Operand,
    PutRequest, RangeRequest, StatusRequest, TxnRequest, response_op,
};
use cairn_etcd_member::Member;

use crate::session::open;

#[tokio::test]
async fn keys_are_any_bytes_and_values_up_to_the_limit() -> Result<()> {
    let member = Member::start(&[])?;
    let session = open(&member).await?;
    let all_bytes: Bytes = (0..=255).collect::<Vec<u8>>().into();
    for key in [&b"\0"[..], b"\xff\xff", b"a/b", &all_bytes] {
        let key = Bytes::copy_from_slice(key);
        let put = session
            .call(PutRequest::new(key.clone(), key.clone()))
            .await?;
        let found = session.call(RangeRequest::key(key.clone())).await?;
        assert_eq!((&found.kvs[0].key, &found.kvs[0].value), (&key, &key));
        assert_eq!(found.kvs[0].mod_revision, put.header.unwrap().revision);
    }
    let large = Bytes::from(vec![7; 1_400_000]);
    session
        .call(PutRequest::new("large", large.clone()))
        .await?;
    assert_eq!(
        session.call(RangeRequest::key("large")).await?.kvs[0].value,
        large
    );
    assert_eq!(session.call(RangeRequest::all()).await?.count, 5);

    // Beyond the server's limit, and beyond gRPC's own.
    for length in [1_572_864, 3_000_000] {
        let put = PutRequest::new("k", vec![0; length]);
        let failed = session.call(put).await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::TooLarge, "{failed}");
        assert!(!failed.may_have_happened() && !failed.is_unavailable());
    }
    // More than tonic's 4 MiB in one answer.
    for at in 0..4 {
        session
            .call(PutRequest::new(format!("l{at}"), large.clone()))
            .await?;
    }
    assert_eq!(session.call(RangeRequest::prefix("l")).await?.kvs.len(), 5);

    let deleted = session.call(DeleteRangeRequest::prefix("l")).await?;
    assert_eq!(deleted.deleted, 5);
    let none = session.call(DeleteRangeRequest::prefix("l")).await?;
    assert_eq!(none.deleted, 0);
    // A delete of nothing consumes no revision.
    assert_eq!(
        none.header.unwrap().revision,
        deleted.header.unwrap().revision
    );
    Ok(())
}

#[tokio::test]
async fn a_transaction_does_the_one_or_the_other() -> Result<()> {
    let member = Member::start(&[])?;
    let session = open(&member).await?;
    let create = |value: &str| TxnRequest {
        compare: vec![Compare::absent("k")],
        success: vec![PutRequest::new("k", value.to_owned()).into()],
        failure: vec![RangeRequest::key("k").into()],
    };
    let first = session.call(create("1")).await?;
    assert!(first.succeeded && first.changed());
    let at = first.header.unwrap().revision;
    let second = session.call(create("2")).await?;
    assert!(!second.succeeded && !second.changed());
    assert_eq!(second.header.unwrap().revision, at);
    let Some(response_op::Response::Range(found)) = &second.responses[0].response else {
        panic!("{second:?}");
    };
    assert_eq!(found.kvs[0].value, "1");

    for (compare, holds) in [
        (Compare::unchanged("k", at), true),
        (Compare::unchanged("k", at + 1), false),
        (Compare::value("k", "1"), true),
        (Compare::value("k", "2"), false),
        (
            Compare::new("k", CompareResult::Less, Operand::Version(2)),
            true,
        ),
        (
            Compare::new("k", CompareResult::NotEqual, Operand::Lease(0)),
            false,
        ),
        (
            Compare::new("k", CompareResult::Greater, Operand::CreateRevision(0)),
            true,
        ),
    ] {
        let txn = TxnRequest {
            compare: vec![compare.clone()],
            ..TxnRequest::default()
        };
        assert_eq!(session.call(txn).await?.succeeded, holds, "{compare:?}");
    }
    let twice = TxnRequest {
        success: vec![
            PutRequest::new("k", "").into(),
            PutRequest::new("k", "").into(),
        ],
        ..TxnRequest::default()
    };
    let failed = session.call(twice).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Refused, "{failed}");
    assert!(!failed.may_have_happened());
    Ok(())
}

#[tokio::test]
async fn leases_live_as_long_as_they_are_kept() -> Result<()> {
    let member = Member::start(&[])?;
    let session = open(&member).await?;
    let grant = LeaseGrantRequest { ttl: 600, id: 77 };
    let granted = session.call(grant).await?;
    assert_eq!((granted.id, granted.ttl), (77, 600));
    let again = session.call(grant).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::LeaseExists);

    let mut put = PutRequest::new("leased", "");
    put.lease = 77;
    session.call(put.clone()).await?;
    assert_eq!(
        session.call(RangeRequest::key("leased")).await?.kvs[0].lease,
        77
    );
    assert_eq!(session.keep_alive(77).await?, Some(600));
    let left = LeaseTimeToLiveRequest { id: 77, keys: true };
    let left = session.call(left).await?;
    assert_eq!(
        (left.granted_ttl, &left.keys[..]),
        (600, &[Bytes::from("leased")][..])
    );
    let leases = session.call(LeaseLeasesRequest {}).await?.leases;
    assert_eq!(
        leases.iter().map(|lease| lease.id).collect::<Vec<_>>(),
        [77]
    );

    session.call(LeaseRevokeRequest { id: 77 }).await?;
    assert_eq!(session.call(RangeRequest::key("leased")).await?.count, 0);
    assert_eq!(session.keep_alive(77).await?, None);
    let gone = LeaseTimeToLiveRequest {
        id: 77,
        keys: false,
    };
    assert_eq!(session.call(gone).await?.ttl, -1);
    let failed = session.call(put).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::LeaseNotFound);
    assert!(!failed.may_have_happened());
    Ok(())
}

#[tokio::test]
async fn a_member_tells_about_itself_and_gives_its_database() -> Result<()> {
    let member = Member::start(&[])?;
    let session = open(&member).await?;
    session
        .call(PutRequest::new("k", vec![1; 1_000_000]))
        .await?;
    let status = session.call(StatusRequest {}).await?;
    assert_eq!(Some(&*status.version), session.version());
    assert_eq!(status.leader, session.member_id());
    let members = session.call(MemberListRequest::default()).await?.members;
    assert_eq!(members[0].id, session.member_id());
    assert_eq!(
        members[0].client_urls,
        [format!("http://127.0.0.1:{}", member.port())]
    );

    let hash = session.call(HashKvRequest { revision: 0 }).await?.hash;
    let said = member.etcdctl(&["endpoint", "hashkv"])?;
    assert!(said.trim().ends_with(&hash.to_string()), "{hash}: {said}");

    let mut snapshot = session.snapshot().await?;
    let (mut length, mut left) = (0, None);
    while let Some((part, remaining)) = snapshot.next().await? {
        length += part.len();
        left = Some(remaining);
    }
    assert_eq!(left.context("no part")?, 0);
    // Whole sectors, and the SHA-256 of them.
    assert!(length > 1_000_000 && length % 512 == 32, "{length}");
    Ok(())
}
