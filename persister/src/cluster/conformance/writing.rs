//! What a write does, and what it does not.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cairn_journal::Revision;
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};

use crate::cluster::capabilities::Guard;
use crate::cluster::conformance::following::{bytes, follow_to, write};
use crate::cluster::conformance::rig::{Rig, next};
use crate::cluster::control::ControlKey;
use crate::cluster::error::{Conflict, Error, Result as ClusterResult};
use crate::cluster::leases::lease_of;
use crate::cluster::session::{Cluster, Session};
use crate::cluster::write::{Expect, Key, Write};

fn conflict<T: std::fmt::Debug>(result: ClusterResult<T>, which: Conflict) -> Result<()> {
    match result {
        Err(Error::Conflict(found)) if found == which => Ok(()),
        other => anyhow::bail!("{which:?} was to fail: {other:?}"),
    }
}

fn refused<T: std::fmt::Debug>(result: ClusterResult<T>, what: &str) -> Result<()> {
    ensure!(
        matches!(result, Err(Error::Refused(_))),
        "{what}: {result:?}"
    );
    Ok(())
}

/// The value of a key outside the control area, with its revision.
async fn get<S: Session>(session: &S, path: &str) -> Result<Option<(Revision, Bytes)>> {
    let live = session.snapshot(session.revision().await?);
    let mut found = live.try_filter(|live| std::future::ready(live.path == path));
    Ok(found
        .try_next()
        .await?
        .map(|live| (live.revision, live.value)))
}

pub(super) async fn expectations_hold<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    let path = bytes("/a");
    let first = session.put(&path, Expect::Absent, bytes("1")).await?;
    conflict(
        session.put(&path, Expect::Absent, bytes("2")).await,
        Conflict::Key,
    )?;
    let second = session.put(&path, Expect::At(first), bytes("2")).await?;
    ensure!(second > first, "{second} after {first}");
    conflict(
        session.put(&path, Expect::At(first), bytes("3")).await,
        Conflict::Key,
    )?;
    conflict(
        session.remove(&path, Expect::At(first)).await,
        Conflict::Key,
    )?;
    let found = get(&session, "/a").await?;
    ensure!(found == Some((second, bytes("2"))), "{found:?}");
    session.remove(&path, Expect::At(second)).await?;
    ensure!(get(&session, "/a").await?.is_none(), "it was deleted");

    let key = ControlKey::Watermark(1);
    ensure!(session.read(&key).await?.is_none(), "nobody has written it");
    let first = session.write(&key, Expect::Absent, bytes("1")).await?;
    let read = session.read(&key).await?.context("it was written")?;
    ensure!(
        (read.revision, &read.value[..]) == (first, b"1"),
        "{read:?}"
    );
    conflict(
        session.write(&key, Expect::Absent, bytes("2")).await,
        Conflict::Key,
    )?;
    let second = session.write(&key, Expect::At(first), bytes("2")).await?;
    conflict(session.delete(&key, Expect::At(first)).await, Conflict::Key)?;
    session.delete(&key, Expect::At(second)).await?;
    ensure!(session.read(&key).await?.is_none(), "it was deleted");
    Ok(())
}

pub(super) async fn writes_of_one_revision_are_all_or_nothing<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    let most = session.capabilities().writes_per_revision;
    session
        .put(&bytes("/there"), Expect::Any, bytes("x"))
        .await?;
    let before = session.revision().await?;
    let data = |name: &str| Key::Data(bytes(name));
    let mut writes = vec![
        write(data("/a"), Some("1")),
        Write {
            expect: Expect::Absent,
            ..write(data("/there"), Some("2"))
        },
        write(data("/b"), Some("3")),
    ];
    if most > 1 {
        conflict(session.apply(&writes).await, Conflict::Key)?;
        writes[1].expect = Expect::Any;
        writes[2].key = data("/a");
        refused(session.apply(&writes).await, "a key twice")?;
    }
    let many: Vec<Write> = (0..most.saturating_add(1).min(1 << 12))
        .map(|n| write(data(&format!("/many/{n}")), Some("x")))
        .collect();
    if many.len() > most {
        refused(session.apply(&many).await, "more than fit into a revision")?;
    }
    refused(session.apply(&[]).await, "nothing to write")?;
    for path in ["/a", "/b", "/many/0"] {
        ensure!(get(&session, path).await?.is_none(), "{path} was written");
    }
    let after = session.revision().await?;
    ensure!(
        get(&session, "/there")
            .await?
            .is_some_and(|there| there.0 <= before),
        "{after}"
    );
    if most > 1 {
        let at = session.apply(&many[..most.min(100)]).await?;
        ensure!(at == Some(after.next()), "{at:?} after {after}");
    }
    Ok(())
}

pub(super) async fn a_fence_holds_where_it_is_offered<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    let identity = ControlKey::Identity;
    session.write(&identity, Expect::Absent, bytes("a")).await?;
    let fenced = session.fenced(&bytes("a"));
    let path = bytes("/a");
    let at = fenced.put(&path, Expect::Absent, bytes("1")).await?;
    let mark = fenced
        .write(&ControlKey::Watermark(1), Expect::Absent, bytes("1"))
        .await?;
    session.write(&identity, Expect::Any, bytes("b")).await?;
    if session.capabilities().guard == Guard::Key {
        fenced.put(&path, Expect::At(at), bytes("2")).await?;
        return Ok(());
    }
    conflict(
        fenced.put(&path, Expect::At(at), bytes("2")).await,
        Conflict::Identity,
    )?;
    conflict(
        fenced.put(&path, Expect::Absent, bytes("2")).await,
        Conflict::Identity,
    )?;
    conflict(
        fenced.remove(&path, Expect::At(at)).await,
        Conflict::Identity,
    )?;
    let key = ControlKey::Watermark(1);
    conflict(
        fenced.write(&key, Expect::At(mark), bytes("2")).await,
        Conflict::Identity,
    )?;
    let found = get(&session, "/a").await?;
    ensure!(found == Some((at, bytes("1"))), "{found:?}");
    // The fence is a session's own, and a new one replaces it.
    let fenced = fenced.fenced(&bytes("b"));
    conflict(
        fenced.put(&path, Expect::Absent, bytes("2")).await,
        Conflict::Key,
    )?;
    fenced.put(&path, Expect::At(at), bytes("2")).await?;
    session.delete(&identity, Expect::Any).await?;
    conflict(
        fenced.put(&path, Expect::Any, bytes("3")).await,
        Conflict::Identity,
    )?;
    session.put(&path, Expect::Any, bytes("3")).await?;
    Ok(())
}

pub(super) async fn a_delete_tells_its_revision_or_none<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    let path = bytes("/a");
    session.remove(&path, Expect::Any).await?;
    session
        .delete(&ControlKey::Watermark(1), Expect::Any)
        .await?;
    session.put(&path, Expect::Any, bytes("x")).await?;
    let begin = session.revision().await?.next();
    let told = session.remove(&path, Expect::Any).await?;
    let followed = next(&mut session.follow(begin)).await??;
    let is_it = followed.changes.len() == 1 && followed.changes[0].path == path;
    ensure!(is_it, "{followed:?}");
    ensure!(
        told.is_none_or(|told| told == followed.revision),
        "{told:?}: {followed:?}"
    );
    Ok(())
}

pub(super) async fn what_cannot_be_is_refused_and_what_can_be_is_taken<R: Rig>(
    rig: &R,
) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    let rules = session.rules();
    for (n, key) in [&b""[..], b"/", b"a", b"/a b", b"/\xff", b"\0", b"/ok-1.x/y"]
        .iter()
        .enumerate()
    {
        let path = Bytes::from_static(key);
        let put = session.put(&path, Expect::Any, bytes(&n.to_string())).await;
        match rules.why_not(key) {
            Some(why) => refused(put, &format!("{path:?} {why}"))?,
            None => drop(put.with_context(|| format!("{path:?}"))?),
        }
    }
    let limits = session.limits().await?;
    let path = bytes("/long");
    let with_its_path = limits.revision_bytes - path.len();
    let longest = Bytes::from(vec![b'x'; limits.value_bytes.min(with_its_path)]);
    let at = session.put(&path, Expect::Any, longest.clone()).await?;
    let longer = Bytes::from(vec![b'x'; longest.len() + 1]);
    refused(
        session.put(&path, Expect::Any, longer).await,
        "a longer value",
    )?;
    let found = get(&session, "/long").await?;
    ensure!(
        found == Some((at, longest)),
        "the longest value is another one"
    );
    Ok(())
}

pub(super) async fn keys_that_exclude_each_other_do<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    let rules = session.rules();
    for (a, b) in [
        ("/f", "/f/g"),
        ("/d/e/f", "/d"),
        ("/h", "/hh"),
        ("/i-j", "/i"),
    ] {
        session.put(&bytes(a), Expect::Any, bytes("x")).await?;
        let put = session.put(&bytes(b), Expect::Absent, bytes("y")).await;
        if rules.exclude_each_other(a.as_bytes(), b.as_bytes()) {
            refused(put, b)?;
        } else {
            put.with_context(|| format!("{b} beside {a}"))?;
        }
        ensure!(get(&session, a).await?.is_some(), "{a} is gone");
    }
    Ok(())
}

pub(super) async fn an_advance_is_one_revision_without_changes<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    let before = session.revision().await?;
    for _ in 0..3 {
        session.advance().await?;
    }
    let after = session.revision().await?;
    ensure!(
        after.0 == before.0 + 3,
        "three more than {before} are not {after}"
    );
    let begin = before.next();
    for followed in follow_to(&mut session.follow(begin), begin, after).await? {
        let is_nothing = !followed.has_data() && followed.touched.is_empty();
        ensure!(is_nothing, "{followed:?}");
    }
    Ok(())
}

pub(super) async fn order_is_kept_where_it_is_offered<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    if !session.limits().await?.in_order {
        return Ok(());
    }
    let paths: Vec<Bytes> = (0..64).map(|n| bytes(&format!("/{n}"))).collect();
    // Polled for the first time in this order.
    let writes = paths
        .iter()
        .map(|path| session.put(path, Expect::Any, bytes("x")));
    let revisions: Vec<Revision> = join_all(writes)
        .await
        .into_iter()
        .collect::<Result<_, _>>()?;
    ensure!(revisions.is_sorted(), "{revisions:?}");
    Ok(())
}

pub(super) async fn what_was_acknowledged_is_there<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    for n in 0..20 {
        let value = bytes(&n.to_string());
        let at = session
            .put(&bytes("/a"), Expect::Any, value.clone())
            .await?;
        let now = session.revision().await?;
        ensure!(now >= at, "at {now} after a write at {at}");
        let key = ControlKey::Watermark(1);
        let at = session.write(&key, Expect::Any, value.clone()).await?;
        let read = session.read(&key).await?.context("it was written")?;
        ensure!(
            read.revision == at && read.value == value,
            "{read:?} after {at}"
        );
    }
    Ok(())
}

pub(super) async fn keys_stand_under_leases_where_that_is_offered<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    session.grant(&[]).await?;
    let granted = [(7, 60), (8, 90)];
    if !session.capabilities().leases {
        let granted = session.grant(&granted).await;
        return refused(granted, "leases that it does not have");
    }
    session.grant(&granted).await?;
    // One that is there stays.
    session.grant(&granted).await?;
    let leased = Write {
        lease: 8,
        ..write(Key::Data(bytes("/leased")), Some("x"))
    };
    session.apply(&[leased]).await?;
    let mut live = session.snapshot(session.revision().await?);
    let key = live.next().await.context("there is a key")??;
    let lease = lease_of(key.attributes.bytes());
    ensure!(lease == Some(8), "it stands under {lease:?}");
    Ok(())
}
