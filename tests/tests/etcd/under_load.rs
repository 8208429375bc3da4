//! Persisters and members that are killed, halted and cut off while clients write: nothing that was
//! acknowledged is lost, and the journal is contiguous, or says what it did not see.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cairn_etcd::Session;
use cairn_etcd::wire::{CompactionRequest, StatusRequest};
use cairn_journal::{Entry, GapPhase};
use cairn_tests::{Process, eventually, records, seeded, setting};
use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::cluster::{Etcd, durable, journaled, put, same, session_at, told, watermark};

/// How often a persister is killed, unless the environment says otherwise.
const KILLS: u32 = 5;

const WRITERS: usize = 4;

/// A put that was seen to be on disk: its revision, key and value.
type Acknowledged = (i64, String, String);

/// Writers that put, wait until that is on the disk of persister 1, and put again.
struct Writers {
    uri: String,
    enough: AtomicBool,
    acknowledged: Mutex<Vec<Acknowledged>>,
}

impl Writers {
    fn start(etcd: &Etcd) -> (Arc<Self>, JoinSet<()>) {
        let writers = Arc::new(Self {
            uri: etcd.uri.clone(),
            enough: AtomicBool::new(false),
            acknowledged: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for number in 0..WRITERS {
            let writers = Arc::clone(&writers);
            tasks.spawn(async move { writers.write(number).await });
        }
        (writers, tasks)
    }

    /// Whatever ends its session, it opens another one. What was under way then is not
    /// acknowledged.
    async fn write(&self, number: usize) {
        let mut count = 0;
        while !self.enough.load(Ordering::Acquire) {
            let Ok(session) = session_at(&self.uri).await else {
                continue;
            };
            while self.put(&session, number, count).await.is_ok() {
                count += 1;
                if self.enough.load(Ordering::Acquire) {
                    return;
                }
            }
            count += 1;
        }
    }

    async fn put(&self, session: &Session, number: usize, count: usize) -> Result<()> {
        let (key, value) = (format!("w{number}/{}", count % 10), count.to_string());
        let at = put(session, &key, &value).await?;
        while watermark(session, 1).await?.is_none_or(|said| said < at) {
            if self.enough.load(Ordering::Acquire) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(2)).await; // between looks
        }
        self.all().push((at, key, value));
        Ok(())
    }

    fn all(&self) -> std::sync::MutexGuard<'_, Vec<Acknowledged>> {
        self.acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for some more to be acknowledged.
    async fn go_on(&self, process: &Process) -> Result<()> {
        let before = self.all().len();
        let more = || async { Ok((self.all().len() >= before + WRITERS).then_some(())) };
        let more = eventually("more is acknowledged", more).await;
        more.with_context(|| process.log())
    }

    async fn end(&self, mut tasks: JoinSet<()>) -> Vec<Acknowledged> {
        self.enough.store(true, Ordering::Release);
        while tasks.join_next().await.is_some() {}
        std::mem::take(&mut self.all())
    }
}

/// The stretches of revisions that the journal says it did not see one by one.
fn gaps(journal: &Path) -> Result<Vec<(i64, i64)>> {
    let records = records(journal)?.into_iter();
    let gap = |entry| match entry {
        Entry::Gap {
            first,
            last,
            phase: GapPhase::Closed,
            ..
        } => Some((first.0, last.0)),
        _ => None,
    };
    Ok(records.filter_map(|record| gap(record.entry)).collect())
}

/// Each acknowledged put is in the journal, at its revision; or lies in a gap that it names.
fn nothing_is_lost(journal: &Path, acknowledged: &[Acknowledged]) -> Result<()> {
    let (found, gaps) = (journaled(journal)?, gaps(journal)?);
    for (at, key, value) in acknowledged {
        let is_change = |(path, now): &(bytes::Bytes, Option<bytes::Bytes>)| {
            path == key.as_bytes() && now.as_ref().is_some_and(|now| now == value.as_bytes())
        };
        let is_there = found
            .get(at)
            .is_some_and(|changes| changes.iter().any(is_change));
        let is_in_gap = gaps.iter().any(|(first, last)| first <= at && at <= last);
        ensure!(
            is_there || is_in_gap,
            "{key} = {value} at {at} was acknowledged and is lost"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persister_that_is_killed_again_and_again_loses_and_repeats_nothing() -> Result<()> {
    let mut random = seeded("kills")?;
    let kills = setting("CAIRN_KILLS", KILLS)?;
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let etcd = Etcd::start(1)?;
    let (writers, tasks) = Writers::start(&etcd);
    for _ in 0..kills {
        let mut process = etcd.persister(1, &journal, &[])?;
        // At any moment of its work, or before it.
        if random.bool() {
            writers.go_on(&process).await?;
        }
        tokio::time::sleep(Duration::from_millis(random.u64(..200))).await;
        process.kill()?;
    }
    let mut process = etcd.persister(1, &journal, &[])?;
    writers.go_on(&process).await?;
    let acknowledged = writers.end(tasks).await;
    let session = etcd.session().await?;
    let last = put(&session, "last", "x").await?;
    durable(&session, 1, last)
        .await
        .with_context(|| process.log())?;
    process.end_in_order()?;
    ensure!(gaps(&journal)?.is_empty(), "a gap: {:?}", gaps(&journal)?);
    same(
        &told(&session, 2, last).await?,
        &journaled(&journal)?,
        2,
        last,
    )?;
    nothing_is_lost(&journal, &acknowledged)?;
    println!(
        "{kills} kills, {last} revisions, {} acknowledged, 0 lost",
        acknowledged.len()
    );
    Ok(())
}

/// The member that leads.
async fn leader(etcd: &Etcd) -> Result<usize> {
    eventually("a leader", || async {
        for (number, member) in etcd.members.iter().enumerate() {
            let Ok(session) = session_at(&member.uri()).await else {
                continue;
            };
            let status = session.call(StatusRequest {}).await;
            if status.is_ok_and(|status| status.leader == session.member_id()) {
                return Ok(Some(number));
            }
        }
        Ok(None)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_die_and_halt_and_nothing_that_was_acknowledged_is_lost() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let mut etcd = Etcd::start(3)?;
    let mut process = etcd.persister(1, &journal, &[])?;
    let (writers, tasks) = Writers::start(&etcd);
    writers.go_on(&process).await?;

    // The leader dies, and comes back.
    let first = leader(&etcd).await?;
    etcd.members[first].kill();
    writers.go_on(&process).await?;
    ensure!(etcd.members[first].restart()?, "it does not start again");

    // One halts for a while: whoever has a session there finds another member.
    let halted = leader(&etcd).await?;
    etcd.members[halted].signal(Signal::STOP)?;
    writers.go_on(&process).await?;
    etcd.members[halted].signal(Signal::CONT)?;

    // The majority is lost, and regained.
    for number in [0, 1] {
        etcd.members[number].kill();
    }
    etcd.start_again()?;
    writers.go_on(&process).await?;

    // The persister dies, and history is compacted past its end.
    process.kill()?;
    let session = etcd.session().await?;
    let compacted = eventually("a put", || async {
        Ok(put(&session, "compacted", "x").await.ok())
    });
    let compacted = compacted.await?;
    let compaction = CompactionRequest {
        revision: compacted,
        physical: true,
    };
    session.call(compaction).await?;
    let mut process = etcd.persister(1, &journal, &[])?;
    writers.go_on(&process).await?;
    let log = process.log();
    ensure!(log.contains("cannot be followed one by one"), "{log}");

    let acknowledged = writers.end(tasks).await;
    let session = etcd.session().await?;
    let last = put(&session, "last", "x").await?;
    durable(&session, 1, last)
        .await
        .with_context(|| process.log())?;
    process.end_in_order()?;
    let gaps = gaps(&journal)?;
    let &[(_, gap)] = &gaps[..] else {
        anyhow::bail!("one gap, and not {gaps:?}");
    };
    ensure!(gap >= compacted, "the gap ends at {gap}");
    let from = gap + 1;
    same(
        &told(&session, from, last).await?,
        &journaled(&journal)?,
        from,
        last,
    )?;
    nothing_is_lost(&journal, &acknowledged)?;
    println!(
        "{last} revisions, {} acknowledged, 0 lost",
        acknowledged.len()
    );
    Ok(())
}
