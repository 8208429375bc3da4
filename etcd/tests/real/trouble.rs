//! Members that are gone, silent, or alone.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cairn_etcd::wire::{PutRequest, RangeRequest, WatchCreateRequest};
use cairn_etcd::{Environment, ErrorKind, Options};
use cairn_etcd_member::{DEADLINE, Member, free_port};
use futures::StreamExt;
use rustix::process::Signal;

use crate::session::{cluster, open};

#[tokio::test]
async fn a_session_has_ended_for_ever_when_its_member_is_killed() -> Result<()> {
    let mut member = Member::start(&[])?;
    let session = open(&member).await?;
    let mut watch = session.watch(WatchCreateRequest::all(0)).await?;
    member.kill();
    let failed = watch.next().await.context("no error")?.unwrap_err();
    assert!(failed.is_unavailable(), "{failed}");
    tokio::time::timeout(DEADLINE, session.ended()).await?;

    assert!(member.restart()?);
    // The same address answers, but not to this session.
    let other = open(&member).await?;
    for _ in 0..3 {
        let failed = session.call(PutRequest::new("k", "")).await.unwrap_err();
        assert!(
            failed.is_unavailable() && !failed.may_have_happened(),
            "{failed}"
        );
        assert!(
            session
                .clone()
                .watch(WatchCreateRequest::all(0))
                .await
                .is_err()
        );
        assert!(session.keep_alive(1).await.is_err());
        assert!(session.snapshot().await.is_err());
    }
    assert_eq!(other.call(RangeRequest::all()).await?.count, 0);
    Ok(())
}

/// The story: a member takes pings without a stream for an attack, and ended a session that nobody
/// had used for a while.
#[tokio::test]
async fn an_idle_session_is_there_when_it_is_used_again() -> Result<()> {
    let member = Member::start(&[])?;
    let session = open(&member).await?;
    // The third ping that is one too many would come after 18 s.
    let idle = Duration::from_secs(25);
    let ended = tokio::time::timeout(idle, session.ended()).await;
    assert!(ended.is_err(), "it has ended");
    session.call(PutRequest::new("k", "")).await?;
    Ok(())
}

#[tokio::test]
async fn a_halted_member_is_noticed_by_pings() -> Result<()> {
    let member = Member::start(&[])?;
    let options = Options {
        request_timeout: DEADLINE,
        ..Options::default()
    };
    let cluster = cluster(&member.uri(), &Environment::default(), options.clone())?;
    let session = cluster.open().await?;
    let mut watch = session.watch(WatchCreateRequest::all(0)).await?;
    member.signal(Signal::STOP)?;
    let begin = Instant::now();
    let put = session.call(PutRequest::new("k", ""));
    let (failed, watched) = tokio::join!(put, watch.next());
    let failed = failed.unwrap_err();
    // By pings, not by the deadline.
    assert!(begin.elapsed() < options.request_timeout);
    assert!(
        failed.is_unavailable() && failed.may_have_happened(),
        "{failed}"
    );
    assert!(watched.context("no error")?.unwrap_err().is_unavailable());
    tokio::time::timeout(DEADLINE, session.ended()).await?;
    member.signal(Signal::CONT)?;
    let failed = session.call(RangeRequest::all()).await.unwrap_err();
    assert!(failed.is_unavailable(), "{failed}");
    Ok(())
}

#[tokio::test]
async fn a_deadline_leaves_open_whether_a_write_happened() -> Result<()> {
    let member = Member::start(&[])?;
    let options = Options {
        request_timeout: std::time::Duration::from_millis(500),
        ..Options::default()
    };
    let cluster = cluster(&member.uri(), &Environment::default(), options)?;
    let session = cluster.open().await?;
    member.signal(Signal::STOP)?;
    let failed = session.call(PutRequest::new("k", "")).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Timeout, "{failed}");
    assert!(failed.may_have_happened());
    let failed = session.call(RangeRequest::all()).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Timeout, "{failed}");
    assert!(!failed.may_have_happened());
    member.signal(Signal::CONT)?;
    Ok(())
}

#[tokio::test]
async fn a_closed_session_says_why() -> Result<()> {
    let member = Member::start(&[])?;
    let session = open(&member).await?;
    let mut watch = session.watch(WatchCreateRequest::all(0)).await?;
    session.close("enough");
    let failed = watch.next().await.context("no error")?.unwrap_err();
    assert!(failed.is_unavailable(), "{failed}");
    let failed = session.clone().call(RangeRequest::all()).await.unwrap_err();
    assert!(failed.to_string().contains("enough"), "{failed}");
    Ok(())
}

#[tokio::test]
async fn an_idle_watch_outlives_many_pings() -> Result<()> {
    let member = Member::start(&[])?;
    let session = open(&member).await?;
    let mut watch = session.watch(WatchCreateRequest::all(0)).await?;
    // Four pings: members end a connection at the third that comes too early.
    let idle = std::time::Duration::from_secs(26);
    assert!(tokio::time::timeout(idle, watch.next()).await.is_err());
    session.call(PutRequest::new("k", "")).await?;
    watch.next().await.context("ended")??;
    Ok(())
}

#[tokio::test]
async fn endpoints_are_tried_in_turn_and_all_are_named_if_none_answers() -> Result<()> {
    let member = Member::start(&[])?;
    let dead = free_port()?;
    let uri = format!("etcd://127.0.0.1:{dead},127.0.0.1:{}", member.port());
    let both = cluster(&uri, &Environment::default(), Options::default())?;
    for _ in 0..3 {
        both.open().await?;
    }
    let uri = format!("etcd://127.0.0.1:{dead},127.0.0.1:{dead}");
    let none = cluster(&uri, &Environment::default(), Options::default())?;
    let failed = none.open().await.unwrap_err();
    assert!(failed.is_unavailable() && !failed.may_have_happened());
    assert!(
        failed.to_string().matches(&dead.to_string()).count() >= 2,
        "{failed}"
    );
    Ok(())
}

#[tokio::test]
async fn members_are_learned_and_one_without_a_majority_is_left() -> Result<()> {
    let mut members = Member::cluster(3, &[])?;
    let one = members[0].uri();
    let cluster = cluster(&one, &Environment::default(), Options::default())?;
    let session = cluster.open().await?;
    let mut watch = session.watch(WatchCreateRequest::all(0)).await?;
    // The one that was configured goes: the others were learned.
    members[0].kill();
    assert!(watch.next().await.context("no error")?.is_err());
    let second = loop {
        match cluster.open().await {
            Ok(session) => break session,
            Err(error) => assert!(error.is_unavailable(), "{error}"), // electing
        }
    };
    assert_ne!(second.member_id(), session.member_id());
    assert_eq!(second.cluster_id(), session.cluster_id());

    // The other of the two goes, too: no leader any more, which watch and calls say.
    let mut watch = second.watch(WatchCreateRequest::all(0)).await?;
    let last = members
        .iter()
        .position(|member| {
            second
                .endpoint()
                .to_string()
                .ends_with(&member.port().to_string())
        })
        .context("no such member")?;
    members[3 - last].kill();
    let failed = tokio::time::timeout(DEADLINE, watch.next()).await?;
    let failed = failed.context("no error")?.unwrap_err();
    assert!(failed.is_unavailable(), "{failed}");
    let failed = second.call(PutRequest::new("k", "")).await.unwrap_err();
    assert!(failed.is_unavailable(), "{failed}");
    assert!(cluster.open().await.unwrap_err().is_unavailable());
    Ok(())
}
