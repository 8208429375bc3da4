//! The pipeline on an engine that is not doozer: whole revisions, fences, leases, a roll-back.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cairn_journal::{Entry, GapReason, Journal, Options, Revision};
use cairn_protocol::progress::parse_revision;
use futures::TryStreamExt;
use tokio_util::sync::CancellationToken;

use crate::attach::attempt::Attached;
use crate::attach::{Found, Restore, attach};
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
        lease: 0,
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

async fn attached<C: Cluster>(
    cluster: &C,
    journal: &Journal,
    accept_loss: bool,
    cancel: &CancellationToken,
) -> Result<Attached<C::Session>> {
    let never = Restore::Never;
    match attach(cluster, journal, Some(1), None, accept_loss, never, cancel).await? {
        Some(Found::Attached(attached)) => Ok(attached),
        _ => anyhow::bail!("nobody cancelled, and nobody restores"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revisions_of_many_keys_are_journaled_whole_and_a_roll_back_is_refused() -> Result<()> {
    let (rig, dir) = (FakeRig::new(Fault::None), tempfile::tempdir()?);
    let cluster = rig.cluster(1);
    let journal = Arc::new(Journal::open(dir.path(), Options::default())?.0);
    let cancel = CancellationToken::new();
    let attached = attached(&cluster, &journal, false, &cancel).await?;
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
    let never = Restore::Never;
    let again = attach(
        &cluster,
        &journal,
        Some(1),
        None::<GapReason>,
        false,
        never,
        &cancel,
    )
    .await;
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
    let session = attached(&cluster, &journal, false, &cancel).await?.session;
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

/// A persister of the fake engine from its start to its end.
struct Persister {
    cluster: <FakeRig as Rig>::Cluster,
    journal: Arc<Journal>,
    dir: tempfile::TempDir,
}

impl Persister {
    fn of(rig: &FakeRig) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        Ok(Self {
            cluster: rig.cluster(1),
            journal: Arc::new(Journal::open(dir.path(), Options::default())?.0),
            dir,
        })
    }

    /// Attaches and follows until `work` is done, then ends in good order.
    async fn while_it_runs<T>(
        &self,
        accept_loss: bool,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let cancel = CancellationToken::new();
        let attached = attached(&self.cluster, &self.journal, accept_loss, &cancel).await?;
        let running = tokio::spawn({
            let (journal, cancel) = (Arc::clone(&self.journal), cancel.clone());
            let me = Holder::new(journal.uuid(), journal.dir());
            let vitals = Vitals::new(1, self.dir.path().to_owned(), Duration::ZERO);
            async move {
                let vitals = Arc::new(vitals);
                pipeline::run(attached, &journal, 1, &me, None, &vitals, &cancel).await
            }
        });
        let done = work.await;
        cancel.cancel();
        running.await??;
        done
    }

    async fn refused(&self) -> Result<Refusal> {
        let cancel = CancellationToken::new();
        let never = Restore::Never;
        match attach(
            &self.cluster,
            &self.journal,
            Some(1),
            None,
            false,
            never,
            &cancel,
        )
        .await
        {
            Err(Error::Refused { refusal, .. }) => Ok(*refusal),
            Err(other) => Err(other.into()),
            Ok(_) => anyhow::bail!("it follows a cluster that went back"),
        }
    }
}

async fn write_some(session: &impl Session, value: &'static str, count: usize) -> Result<Revision> {
    let mut newest = Revision::NONE;
    for _ in 0..count {
        let at = session.put(&"/k".into(), Expect::Any, value.into()).await?;
        newest = newest.max(at);
    }
    Ok(newest)
}

/// The numbers of a cluster that went back pass those of the journal again. A watch from the
/// journal's end is then simply answered, and would join two histories.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_went_back_is_refused_however_new_its_revisions_are() -> Result<()> {
    for written_since in [0, 3, 500] {
        let rig = FakeRig::new(Fault::None);
        let persister = Persister::of(&rig)?;
        let other = rig.cluster(2).open().await?;
        let (kept, lost) = persister
            .while_it_runs(false, async {
                let kept = write_some(&other, "kept", 20).await?;
                published(&other, kept).await?;
                let lost = write_some(&other, "lost", 20).await?;
                published(&other, lost).await?;
                Ok((kept, lost))
            })
            .await?;
        rig.roll_back(kept).await?;
        let other = rig.cluster(2).open().await?;
        write_some(&other, "other", written_since).await?;
        let Refusal::RolledBack { common, .. } = persister.refused().await? else {
            anyhow::bail!("another refusal");
        };
        ensure!(common == kept, "{common}, not {kept}");

        // Accepted, it gets another name, and is followed as it is.
        let at = persister
            .while_it_runs(true, async {
                let at = write_some(&other, "new", 1).await?;
                published(&other, at).await?;
                Ok(at)
            })
            .await?;
        let identity = other.read(&ControlKey::Identity).await?;
        let identity = identity.context("it has one")?.value;
        let identity = String::from_utf8_lossy(&identity).into_owned();
        ensure!(
            identity.contains(&format!(" at {kept} shifted")),
            "{identity}"
        );
        let state = persister.journal.reader()?.state(None)?;
        ensure!(state.revision >= at, "{}", state.revision);
        let there = state
            .files
            .get(&b"/k"[..])
            .map(|file| (file.revision, &file.value[..]));
        ensure!(there == Some((at, b"new")), "{there:?} after {lost}");
    }
    Ok(())
}

/// What was journaled is told again where it is compared, and is not journaled twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_did_not_go_back_is_followed_without_a_hole_or_a_repetition() -> Result<()> {
    let rig = FakeRig::new(Fault::None);
    let persister = Persister::of(&rig)?;
    let other = rig.cluster(2).open().await?;
    for round in 0..3 {
        persister
            .while_it_runs(false, async {
                let at = write_some(&other, "x", 7).await?;
                published(&other, at).await
            })
            .await?;
        write_some(&other, "away", round).await?;
    }
    let mut revisions = Vec::new();
    for record in persister.journal.reader()?.records() {
        let record = record?;
        match record.entry {
            Entry::Changes { changes, .. } if !changes.is_empty() => {
                revisions.push(record.revision);
            }
            Entry::Gap { .. } => anyhow::bail!("a gap"),
            _ => {}
        }
    }
    ensure!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
    ensure!(revisions.len() == 3 * 7 + 1, "{revisions:?}");
    Ok(())
}

/// What the cluster has forgotten cannot be compared: its state is taken, and a gap says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_compared_is_a_recorded_gap() -> Result<()> {
    let rig = FakeRig::new(Fault::None);
    let persister = Persister::of(&rig)?;
    let other = rig.cluster(2).open().await?;
    persister
        .while_it_runs(false, async {
            let at = write_some(&other, "x", 7).await?;
            published(&other, at).await
        })
        .await?;
    write_some(&other, "away", 5).await?;
    rig.forget().await?;
    let at = persister
        .while_it_runs(false, async {
            let at = write_some(&other, "x", 1).await?;
            published(&other, at).await?;
            Ok(at)
        })
        .await?;
    let mut gaps = 0;
    for record in persister.journal.reader()?.records() {
        gaps += usize::from(matches!(record?.entry, Entry::Gap { .. }));
    }
    ensure!(gaps == 2, "{gaps} records of gaps");
    let state = persister.journal.reader()?.state(None)?;
    ensure!(state.revision >= at, "{}", state.revision);
    Ok(())
}
