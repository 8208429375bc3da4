//! What a follower is told.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use cairn_journal::{Op, Revision};
use futures::{Stream, StreamExt};

use crate::cluster::conformance::rig::{Rig, next};
use crate::cluster::control::ControlKey;
use crate::cluster::error::{Error, Result as ClusterResult};
use crate::cluster::followed::{Followed, LeaseFact, Touched};
use crate::cluster::session::{Cluster, Session};
use crate::cluster::write::{Expect, Key, Write};

/// How many revisions a long backlog has.
const BACKLOG: i64 = 3_000;

/// The state that following leads to: paths with the revisions that set them, and their values.
pub(super) type State = BTreeMap<Bytes, (Revision, Bytes)>;

/// Takes a revision into a state.
pub(super) fn take_in(state: &mut State, followed: Followed) {
    let revision = followed.revision;
    for change in followed
        .changes
        .into_iter()
        .filter(|change| !change.is_control)
    {
        match change.op {
            Op::Set(value) => state.insert(change.path, (revision, value)),
            Op::Delete => state.remove(&change.path),
        };
    }
}

/// Takes what comes up to revision `last`, which must be contiguous from `first` on.
pub(super) async fn follow_to(
    stream: &mut (impl Stream<Item = ClusterResult<Followed>> + Unpin),
    first: Revision,
    last: Revision,
) -> Result<Vec<Followed>> {
    let (mut all, mut due) = (Vec::new(), first);
    while due <= last {
        let followed = next(stream)
            .await
            .with_context(|| format!("{due} is due"))??;
        ensure!(
            followed.revision == due,
            "{} came where {due} was due",
            followed.revision
        );
        due = due.next();
        all.push(followed);
    }
    Ok(all)
}

pub(super) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(super) fn write(key: Key, value: Option<&str>) -> Write {
    Write {
        key,
        expect: Expect::Any,
        value: value.map(bytes),
        lease: 0,
    }
}

pub(super) async fn every_revision_comes_once_and_in_order<R: Rig>(rig: &R) -> Result<()> {
    let (writer, reader) = (rig.cluster(1).open().await?, rig.cluster(1).open().await?);
    let begin = reader.revision().await?.next();
    let mut stream = reader.follow(begin);
    let mut expected = State::new();
    for n in 0..30 {
        let path = bytes(&format!("/k/{}", n % 7));
        match n % 5 {
            0 => {
                let value = bytes(&n.to_string());
                let key = ControlKey::Watermark(9);
                writer.write(&key, Expect::Any, value).await?;
            }
            1 => writer.advance().await?,
            2 => {
                writer.remove(&path, Expect::Any).await?;
                expected.remove(&path);
            }
            _ => {
                let value = bytes(&n.to_string());
                let at = writer.put(&path, Expect::Any, value.clone()).await?;
                expected.insert(path, (at, value));
            }
        }
    }
    let end = writer.revision().await?;
    let mut state = State::new();
    let all = follow_to(&mut stream, begin, end).await?;
    let middle = all[all.len() / 2].clone();
    for followed in all {
        take_in(&mut state, followed);
    }
    ensure!(
        state == expected,
        "followed: {state:?}\nwritten: {expected:?}"
    );
    let again = next(&mut reader.follow(middle.revision)).await??;
    ensure!(
        again == middle,
        "from the middle: {again:?} instead of {middle:?}"
    );
    Ok(())
}

pub(super) async fn a_revision_comes_whole<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(3).open().await?;
    let data = |name: &str| Key::Data(bytes(name));
    session
        .put(&bytes("/gone"), Expect::Any, bytes("x"))
        .await?;
    let begin = session.revision().await?.next();
    let writes = [
        write(data("/b"), Some("1")),
        write(Key::Control(ControlKey::Owner(3)), Some("j p place 1")),
        write(data("/gone"), None),
        write(Key::Control(ControlKey::Identity), Some("a")),
        write(data("/a"), Some("2")),
    ];
    let applied = session.apply(&writes).await;
    if session.capabilities().writes_per_revision == 1 {
        ensure!(
            matches!(applied, Err(Error::Refused(_))),
            "two in one: {applied:?}"
        );
        ensure!(session.revision().await? < begin, "a revision was consumed");
        return Ok(());
    }
    let applied = applied?.context("a set tells its revision")?;
    ensure!(applied == begin, "applied at {applied}, not {begin}");
    let followed = next(&mut session.follow(begin)).await??;
    let paths: Vec<&[u8]> = followed
        .changes
        .iter()
        .filter(|change| !change.is_control)
        .map(|change| &change.path[..])
        .collect();
    ensure!(
        paths == [&b"/b"[..], b"/gone", b"/a"],
        "changes: {:?}",
        followed.changes
    );
    let mut touched = followed.touched;
    touched.sort_by_key(|touched| matches!(touched, Touched::Identity(_)));
    let expected = [
        Touched::Owner(3, Some(bytes("j p place 1"))),
        Touched::Identity(Some(bytes("a"))),
    ];
    ensure!(touched == expected, "touched: {touched:?}");
    Ok(())
}

/// Writes every control key, and deletes it again. What a follower is told of that.
async fn control_writes<S: Session>(session: &S) -> Result<(usize, Vec<Followed>)> {
    let begin = session.revision().await?.next();
    let path = bytes("/a/b");
    let keys = [
        ControlKey::Identity,
        ControlKey::Owner(1),
        ControlKey::Owner(2),
        ControlKey::Watermark(1),
        ControlKey::Mirrored(1),
        ControlKey::Mirror(1, path),
    ];
    for key in &keys {
        session.write(key, Expect::Absent, bytes("7")).await?;
    }
    for key in &keys {
        session.delete(key, Expect::Any).await?;
    }
    let end = session.revision().await?;
    let all = follow_to(&mut session.follow(begin), begin, end).await?;
    Ok((2 * keys.len(), all))
}

pub(super) async fn control_writes_are_no_changes<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    let (_, all) = control_writes(&session).await?;
    for followed in all {
        ensure!(!followed.has_data(), "{followed:?}");
    }
    Ok(())
}

pub(super) async fn control_writes_are_told_where_that_is_offered<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    let (writes, all) = control_writes(&session).await?;
    let told: usize = all.iter().map(|followed| followed.changes.len()).sum();
    let expected = match session.capabilities().tells_control {
        true => writes,
        false => 0,
    };
    ensure!(told == expected, "{told} told, not {expected}: {all:?}");
    Ok(())
}

pub(super) async fn keys_that_decide_are_told<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(4).open().await?;
    let begin = session.revision().await?.next();
    for key in [
        ControlKey::Identity,
        ControlKey::Owner(4),
        ControlKey::Owner(5),
        ControlKey::Watermark(4),
    ] {
        session.write(&key, Expect::Any, bytes("v")).await?;
        session.delete(&key, Expect::Any).await?;
    }
    let end = session.revision().await?;
    let all = follow_to(&mut session.follow(begin), begin, end).await?;
    let touched: Vec<Touched> = all
        .into_iter()
        .flat_map(|followed| followed.touched)
        .collect();
    let v = || Some(bytes("v"));
    let expected = [
        Touched::Identity(v()),
        Touched::Identity(None),
        Touched::Owner(4, v()),
        Touched::Owner(4, None),
    ];
    ensure!(touched == expected, "touched: {touched:?}");
    Ok(())
}

/// An owner's key stands under a lease where there are leases.
async fn leased<S: Session>(session: &S) -> Result<Revision> {
    let key = ControlKey::Owner(1);
    Ok(session
        .write(&key, Expect::Absent, bytes("j p place 1"))
        .await?)
}

pub(super) async fn leases_are_told_where_that_is_offered<R: Rig>(rig: &R) -> Result<()> {
    let (session, other) = (rig.cluster(1).open().await?, rig.cluster(1).open().await?);
    let at = leased(&session).await?;
    let told = next(&mut other.follow(at)).await??.leases;
    let all = other.leases(&BTreeMap::new()).await?;
    if !session.capabilities().tells_leases {
        ensure!(told.is_empty() && all.is_empty(), "{told:?}, {all:?}");
        return Ok(());
    }
    let [fact] = told[..] else {
        bail!("one lease, and not {told:?}");
    };
    let Some(ttl) = fact.granted_ttl.filter(|ttl| *ttl > 0) else {
        bail!("it is alive, and not {fact:?}");
    };
    ensure!(all.contains(&fact), "{fact:?} is not among {all:?}");
    let known = all
        .iter()
        .filter_map(|fact| Some((fact.id, fact.granted_ttl?)));
    let known: BTreeMap<i64, i64> = known.collect();
    ensure!(known.get(&fact.id) == Some(&ttl), "{known:?}");
    let news = other.leases(&known).await?;
    ensure!(news.is_empty(), "nothing has happened, and not {news:?}");
    Ok(())
}

pub(super) async fn leases_that_are_gone_are_told<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    if !session.capabilities().tells_leases {
        return Ok(());
    }
    let known = BTreeMap::from([(i64::MAX, 60)]);
    let news = session.leases(&known).await?;
    let gone = LeaseFact {
        id: i64::MAX,
        granted_ttl: None,
    };
    ensure!(news.contains(&gone), "{gone:?} is not among {news:?}");
    Ok(())
}

pub(super) async fn the_future_is_waited_for<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    let from = Revision(session.revision().await?.0 + 3);
    let mut stream = session.follow(from);
    for n in 0..4 {
        let value = bytes(&n.to_string());
        session.put(&bytes("/a"), Expect::Any, value).await?;
    }
    let first = next(&mut stream).await??;
    ensure!(
        first.revision == from,
        "{} came, not {from}",
        first.revision
    );
    Ok(())
}

pub(super) async fn history_is_told_from_the_very_first_revision<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    let first = Revision(1);
    let mut early = session.follow(first);
    let path = bytes("/a");
    let at = session.put(&path, Expect::Any, bytes("x")).await?;
    for stream in [&mut early, &mut session.follow(first)] {
        let all = follow_to(stream, first, at).await?;
        let last = all.last().map(|followed| followed.changes.len());
        ensure!(last == Some(1), "{all:?}");
    }
    Ok(())
}

pub(super) async fn a_long_backlog_comes_whole<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    let begin = session.revision().await?.next();
    let path = bytes("/a");
    for n in 0..BACKLOG {
        let value = bytes(&n.to_string());
        session.put(&path, Expect::Any, value).await?;
    }
    let end = session.revision().await?;
    let mut stream = session.follow(begin);
    let all = follow_to(&mut stream, begin, end).await?;
    let changes: usize = all.iter().map(|followed| followed.changes.len()).sum();
    ensure!(i64::try_from(changes) == Ok(BACKLOG), "{changes} changes");
    // And then what happens now.
    let at = session.put(&path, Expect::Any, bytes("now")).await?;
    follow_to(&mut stream, end.next(), at).await?;
    Ok(())
}

pub(super) async fn forgotten_history_is_an_error<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    let begin = session.revision().await?.next();
    for n in 0..10 {
        let value = bytes(&n.to_string());
        session.put(&bytes("/a"), Expect::Any, value).await?;
    }
    rig.forget().await?;
    let mut stream = session.follow(begin);
    match next(&mut stream).await? {
        Err(Error::HistoryDiscarded) => ended(&mut stream).await,
        other => bail!("from a revision that is forgotten: {other:?}"),
    }
}

pub(super) async fn a_cut_ends_the_stream<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    let mut stream = session.follow(session.revision().await?.next());
    // It is under way once something has come.
    session.put(&bytes("/a"), Expect::Any, bytes("x")).await?;
    next(&mut stream).await??;
    rig.cut().await?;
    match next(&mut stream).await? {
        Err(Error::Unavailable(_)) => ended(&mut stream).await,
        other => bail!("after the connection had ended: {other:?}"),
    }
}

async fn ended(stream: &mut (impl Stream<Item = ClusterResult<Followed>> + Unpin)) -> Result<()> {
    let after = stream.next().await;
    ensure!(after.is_none(), "after an error: {after:?}");
    Ok(())
}
