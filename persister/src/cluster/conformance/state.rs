//! What a cluster says that there is.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use bytes::Bytes;
use cairn_journal::Revision;
use futures::TryStreamExt;

use crate::cluster::conformance::following::{State, bytes, follow_to, take_in};
use crate::cluster::conformance::rig::Rig;
use crate::cluster::control::{Announced, ControlKey};
use crate::cluster::followed::{Attributes, Live};
use crate::cluster::session::{Cluster, Session};
use crate::cluster::write::Expect;

pub(super) async fn a_snapshot_and_what_follows_is_the_state<R: Rig>(rig: &R) -> Result<()> {
    let (writer, reader) = (rig.cluster(1).open().await?, rig.cluster(1).open().await?);
    for n in 0..200 {
        let path = bytes(&format!("/k/{n}"));
        writer.put(&path, Expect::Any, bytes("old")).await?;
    }
    let at = reader.revision().await?;
    let mut stream = reader.follow(at.next());
    let writing = tokio::spawn(async move {
        for n in 0..400 {
            let path = bytes(&format!("/k/{}", n * 7 % 250));
            if n % 3 == 0 {
                writer.remove(&path, Expect::Any).await?;
            } else {
                let value = bytes(&n.to_string());
                writer.put(&path, Expect::Any, value).await?;
            }
        }
        anyhow::Ok(writer)
    });
    let live: Vec<Live> = reader.snapshot(at).try_collect().await?;
    let writer = writing.await??;
    let end = writer.revision().await?;
    let mut state = State::new();
    for live in live {
        let newest = state.insert(live.path.clone(), (live.revision, live.value));
        ensure!(newest.is_none(), "{:?} came twice", live.path);
    }
    for followed in follow_to(&mut stream, at.next(), end).await? {
        take_in(&mut state, followed);
    }
    let settled = state_of(&writer).await?;
    ensure!(state == settled, "{}", difference(&state, &settled));
    Ok(())
}

async fn state_of<S: Session>(session: &S) -> Result<State> {
    let at = session.revision().await?;
    let live: Vec<Live> = session.snapshot(at).try_collect().await?;
    let each = live.into_iter();
    Ok(each
        .map(|live| (live.path, (live.revision, live.value)))
        .collect())
}

fn difference(a: &State, b: &State) -> String {
    let paths: BTreeSet<&Bytes> = a.keys().chain(b.keys()).collect();
    let differ = paths
        .into_iter()
        .filter(|path| a.get(*path) != b.get(*path));
    let each = differ.map(|path| format!("{path:?}: {:?}, {:?}", a.get(path), b.get(path)));
    each.collect::<Vec<_>>().join("\n")
}

pub(super) async fn a_snapshot_has_every_key_and_no_control_key<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    let mut expected = State::new();
    for path in ["/a", "/a-b", "/b/c/d", "/ctlx", "/ctl-x/y", "/empty"].map(bytes) {
        let value = if path == "/empty" { "" } else { "v" };
        let at = session.put(&path, Expect::Absent, bytes(value)).await?;
        expected.insert(path, (at, bytes(value)));
    }
    let gone = bytes("/gone");
    session.put(&gone, Expect::Absent, bytes("v")).await?;
    session.remove(&gone, Expect::Any).await?;
    for key in [ControlKey::Identity, ControlKey::Mirror(1, bytes("/a"))] {
        session.write(&key, Expect::Any, bytes("v")).await?;
    }
    let found = state_of(&session).await?;
    ensure!(found == expected, "{}", difference(&found, &expected));
    Ok(())
}

pub(super) async fn attributes_stay_while_nothing_changes<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    let (kept, written) = (bytes("/kept"), bytes("/written"));
    for path in [&kept, &written] {
        session.put(path, Expect::Any, bytes("v")).await?;
    }
    let before = attributes(&session).await?;
    // With the value that it has: what an engine counts is told, what it does not is not.
    session.put(&written, Expect::Any, bytes("v")).await?;
    let after = attributes(&session).await?;
    ensure!(before[&kept] == after[&kept], "{before:?} became {after:?}");
    let has_some = !before[&kept].bytes().is_empty();
    ensure!(
        has_some == (before[&written] != after[&written]),
        "of a key that was written again: {before:?}, {after:?}"
    );
    Ok(())
}

async fn attributes<S: Session>(session: &S) -> Result<BTreeMap<Bytes, Attributes>> {
    let live = session.snapshot(session.revision().await?);
    let each = live.map_ok(|live| (live.path, live.attributes));
    Ok(each.try_collect().await?)
}

pub(super) async fn the_mirror_is_listed_and_nothing_else<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    let rules = session.rules();
    // Some of them are keys of some engines only.
    let odd = [
        &b"1"[..],
        b"\0",
        b"\xff/a",
        b"/",
        b"a b",
        b"/ctl/x",
        b"/ctl/watermark",
    ];
    let plain = [&b"/a"[..], b"/a-b/c", b"/1/2", b"/ctlx"];
    let mut expected = BTreeMap::new();
    for (n, path) in plain.into_iter().chain(odd).enumerate() {
        if rules.why_not(path).is_some() || rules.is_control(path) {
            continue;
        }
        let (path, says) = (Bytes::from_static(path), Revision(i64::try_from(n)? + 1));
        let key = ControlKey::Mirror(1, path.clone());
        session
            .write(&key, Expect::Any, bytes(&says.to_string()))
            .await?;
        expected.insert(path, Some(says));
    }
    let nonsense = bytes("/nonsense");
    let key = ControlKey::Mirror(1, nonsense.clone());
    session.write(&key, Expect::Any, bytes("x")).await?;
    expected.insert(nonsense, None);
    for key in [
        ControlKey::Watermark(1),
        ControlKey::Owner(1),
        ControlKey::Mirrored(1),
        ControlKey::Mirror(11, bytes("/a")),
        ControlKey::Mirror(2, bytes("/other")),
    ] {
        session.write(&key, Expect::Any, bytes("5")).await?;
    }
    let found: Vec<(Bytes, Option<Revision>)> = session.mirrored(1).try_collect().await?;
    let entries = found.len();
    let found: BTreeMap<_, _> = found.into_iter().collect();
    ensure!(
        found == expected,
        "listed: {found:?}\nwritten: {expected:?}"
    );
    ensure!(entries == expected.len(), "an entry came twice");
    Ok(())
}

pub(super) async fn announcements_are_those_of_each_persister<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    ensure!(
        session.announcements().await?.is_empty(),
        "nobody has said anything"
    );
    let mut expected: BTreeMap<u32, Announced> = BTreeMap::new();
    for (key, id, value) in [
        (ControlKey::Owner(1), 1, "o"),
        (ControlKey::Watermark(1), 1, "w"),
        (ControlKey::Mirrored(1), 1, "m"),
        (ControlKey::Watermark(12), 12, "w"),
    ] {
        session.write(&key, Expect::Absent, bytes(value)).await?;
        let said = session.read(&key).await?;
        let all = expected.entry(id).or_default();
        match key {
            ControlKey::Owner(_) => all.owner = said,
            ControlKey::Watermark(_) => all.watermark = said,
            _ => all.mirrored = said,
        }
    }
    session
        .write(&ControlKey::Identity, Expect::Absent, bytes("a"))
        .await?;
    session
        .write(&ControlKey::Mirror(1, bytes("/a")), Expect::Any, bytes("1"))
        .await?;
    let found = session.announcements().await?;
    ensure!(
        found == expected,
        "announced: {found:?}\nwritten: {expected:?}"
    );
    Ok(())
}

pub(super) async fn a_whole_state_is_loaded_where_that_is_offered<R: Rig>(rig: &R) -> Result<()> {
    let session = rig.cluster(1).open().await?;
    let state = [("/a", 3), ("/b/c", 900)].map(|(path, revision)| Live {
        path: bytes(path),
        revision: Revision(revision),
        value: bytes("v"),
        attributes: Attributes::default(),
    });
    let loaded = session.load(state.clone(), Revision(1_000));
    if !session.capabilities().loads {
        ensure!(loaded.is_err(), "it does not load, it said");
        return Ok(());
    }
    loaded?;
    let expected: State = (state.into_iter())
        .map(|live| (live.path, (live.revision, live.value)))
        .collect();
    let found = state_of(&session).await?;
    ensure!(found == expected, "{}", difference(&found, &expected));
    let now = session.revision().await?;
    ensure!(now >= Revision(1_000), "the counter is at {now}");
    Ok(())
}
