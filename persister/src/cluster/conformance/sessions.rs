//! What a session is, and how it ends.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cairn_journal::Revision;
use futures::TryStreamExt;

use crate::cluster::capabilities::Liveness;
use crate::cluster::conformance::following::bytes;
use crate::cluster::conformance::rig::{PATIENCE, Rig, next};
use crate::cluster::control::ControlKey;
use crate::cluster::error::{Error, Result as ClusterResult};
use crate::cluster::followed::{Live, Touched};
use crate::cluster::session::{Cluster, Session};
use crate::cluster::write::Expect;

fn unavailable<T: std::fmt::Debug>(result: ClusterResult<T>, what: &str) -> Result<()> {
    ensure!(
        matches!(result, Err(Error::Unavailable(_))),
        "{what}: {result:?}"
    );
    Ok(())
}

pub(super) async fn a_session_never_comes_back<R: Rig>(rig: &R) -> Result<()> {
    let cluster = rig.cluster(1);
    let session = cluster.open().await?;
    let clone = session.clone();
    let path = bytes("/a");
    session.put(&path, Expect::Any, bytes("x")).await?;
    rig.cut().await?;
    // What is on its way may still be answered.
    let ending = async {
        while session.revision().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let ended = tokio::time::timeout(PATIENCE, ending).await;
    ended.context("it works on after its connection has ended")?;
    let other = cluster.open().await.context("a new session")?;
    other.put(&path, Expect::Any, bytes("y")).await?;
    for _ in 0..3 {
        for session in [&session, &clone, &session.fenced(&bytes("a"))] {
            unavailable(session.revision().await, "revision")?;
            unavailable(session.read(&ControlKey::Identity).await, "read")?;
            unavailable(session.put(&path, Expect::Any, bytes("z")).await, "put")?;
            unavailable(session.remove(&path, Expect::Any).await, "remove")?;
            unavailable(session.advance().await, "advance")?;
            let snapshot: ClusterResult<Vec<Live>> =
                session.snapshot(Revision(1)).try_collect().await;
            unavailable(snapshot, "snapshot")?;
            unavailable(next(&mut session.follow(Revision(1))).await?, "follow")?;
        }
    }
    Ok(())
}

pub(super) async fn an_owner_lives_as_it_says<R: Rig>(rig: &R) -> Result<()> {
    let (session, other) = (rig.cluster(1).open().await?, rig.cluster(1).open().await?);
    let key = ControlKey::Owner(1);
    let at = session
        .write(&key, Expect::Absent, bytes("j p place 1"))
        .await?;
    let mut stream = other.follow(at.next());
    drop(session);
    match other.capabilities().liveness {
        Liveness::Rewritten { every, stale_after } => {
            ensure!(
                stale_after > every,
                "it would be dead between two heartbeats"
            );
            ensure!(other.read(&key).await?.is_some(), "it goes by itself");
        }
        Liveness::Leased { expires_after, .. } => {
            let gone =
                tokio::time::timeout(expires_after + PATIENCE, next(&mut stream)).await???;
            ensure!(gone.touched == [Touched::Owner(1, None)], "{gone:?}");
            ensure!(other.read(&key).await?.is_none(), "it was said to be gone");
        }
    }
    Ok(())
}

pub(super) async fn a_roll_back_shows_where_there_can_be_one<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    if !session.capabilities().may_roll_back {
        return Ok(());
    }
    session
        .write(&ControlKey::Identity, Expect::Absent, bytes("a"))
        .await?;
    let path = bytes("/a");
    let kept = session.put(&path, Expect::Any, bytes("kept")).await?;
    let lost = session.put(&path, Expect::Any, bytes("lost")).await?;
    rig.roll_back(kept).await?;
    let session = rig.cluster(1).open().await?;
    let now = session.revision().await?;
    ensure!(
        now >= kept && now < lost,
        "at {now}; it lost {lost} and kept {kept}"
    );
    let identity = session
        .read(&ControlKey::Identity)
        .await?
        .context("its identity")?;
    ensure!(identity.value == "a", "{identity:?}");
    let live: Vec<Live> = session.snapshot(now).try_collect().await?;
    ensure!(live.len() == 1 && live[0].value == "kept", "{live:?}");
    Ok(())
}
