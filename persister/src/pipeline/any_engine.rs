//! The pipeline on an engine that is not doozer: whole revisions, fences, leases, a roll-back.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cairn_journal::{Entry, GapReason, Journal, Options, Revision};
use cairn_protocol::progress::parse_revision;
use futures::TryStreamExt;
use tokio_util::sync::CancellationToken;

use crate::attach::attach;
use crate::cluster::conformance::fake::FakeRig;
use crate::cluster::conformance::fake::fault::Fault;
use crate::cluster::conformance::rig::{PATIENCE, Rig};
use crate::cluster::control::ControlKey;
use crate::cluster::session::{Cluster, Session};
use crate::cluster::write::{Expect, Key, Write};
use crate::error::Error;
use crate::identity::decision::Refusal;
use crate::identity::holder::Holder;
use crate::mirror::MirrorMode;
use crate::observe::vitals::Vitals;
use crate::pipeline;

fn write(path: &'static str, value: Option<&'static str>) -> Write {
    Write {
        key: Key::Data(Bytes::from_static(path.as_bytes())),
        expect: Expect::Any,
        value: value.map(Bytes::from),
    }
}

/// Waits until the watermark of persister 1 is at `revision`.
async fn published<S: Session>(session: &S, revision: Revision) -> Result<()> {
    let waiting = async {
        loop {
            let said = session.read(&ControlKey::Watermark(1)).await?;
            let now = said.and_then(|said| parse_revision(&said.value).ok());
            if now.is_some_and(|now| now >= revision.0) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .context("no watermark")?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revisions_of_many_keys_are_journaled_whole_and_a_roll_back_is_refused() -> Result<()> {
    let (rig, dir) = (FakeRig::new(Fault::None), tempfile::tempdir()?);
    let cluster = rig.cluster(1);
    let journal = Arc::new(Journal::open(dir.path(), Options::default())?.0);
    let cancel = CancellationToken::new();
    let attached = attach(&cluster, &journal, None, false, &cancel).await?;
    let attached = attached.context("nobody cancelled")?;
    let running = tokio::spawn({
        let (journal, cancel) = (Arc::clone(&journal), cancel.clone());
        let me = Holder::new(journal.uuid(), journal.dir());
        let vitals = Arc::new(Vitals::new(1, dir.path().to_owned(), Duration::ZERO));
        async move {
            let mode = Some(MirrorMode::Paths);
            pipeline::run(attached, &journal, 1, &me, mode, &vitals, &cancel).await
        }
    });

    let other = rig.cluster(2).open().await?;
    published(&other, Revision::NONE).await?;
    let kept = other.revision().await?;
    let writes = [
        write("/a", Some("1")),
        write("b", Some("2")),
        write("/a/c", Some("3")),
    ];
    let at = other
        .apply(&writes)
        .await?
        .context("a set tells its revision")?;
    published(&other, at).await?;
    let mut changes = Vec::new();
    for record in journal.reader()?.records() {
        let record = record?;
        if let Entry::Changes { changes: all, .. } = record.entry
            && record.revision == at
        {
            changes.push(
                all.iter()
                    .map(|change| change.path.clone())
                    .collect::<Vec<_>>(),
            );
        }
    }
    ensure!(changes == [["/a", "b", "/a/c"]], "{changes:?}");
    let mirrored = async {
        loop {
            let all: Vec<_> = other.mirrored(1).try_collect().await?;
            if all.len() == 3 && all.iter().all(|(_, says)| *says == Some(at)) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, mirrored)
        .await
        .context("no mirror")??;

    // Its leases end with its connections, and that is a revision: it stays below what is
    // journaled.
    for _ in 0..5 {
        let at = other
            .apply(&[write("/a", None), write("b", Some("x"))])
            .await?;
        published(&other, at.context("a set tells its revision")?).await?;
    }
    rig.roll_back(kept).await?;
    let ended = running.await?;
    ensure!(
        ended.as_ref().is_err_and(Error::is_unavailable),
        "{ended:?}"
    );
    drop(other);
    let again = attach(&cluster, &journal, None::<GapReason>, false, &cancel).await;
    let refused = match again {
        Err(Error::Refused { refusal, .. }) => refusal,
        Err(other) => return Err(other.into()),
        Ok(_) => anyhow::bail!("it follows a cluster that went back"),
    };
    ensure!(
        matches!(*refused, Refusal::RolledBack { .. }),
        "{refused:?}"
    );
    Ok(())
}

/// Somebody restores the cluster while it is followed: the fence stops what is published, and the
/// cluster is looked at again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_published_into_a_cluster_that_has_another_identity() -> Result<()> {
    let (rig, dir) = (FakeRig::new(Fault::None), tempfile::tempdir()?);
    let cluster = rig.cluster(1);
    let journal = Journal::open(dir.path(), Options::default())?.0;
    let cancel = CancellationToken::new();
    let attached = attach(&cluster, &journal, None, false, &cancel).await?;
    let session = attached.context("nobody cancelled")?.session;
    let key = ControlKey::Watermark(1);
    session.write(&key, Expect::Any, "1".into()).await?;
    let other = rig.cluster(2).open().await?;
    other
        .write(&ControlKey::Identity, Expect::Any, "another".into())
        .await?;
    let written = session.write(&key, Expect::Any, "2".into()).await;
    ensure!(written.is_err(), "{written:?}");
    let said = other.read(&key).await?.context("it was written once")?;
    ensure!(said.value == "1", "{said:?}");
    Ok(())
}
