//! Persisters and members that are killed, halted and cut off while clients write: nothing that was
//! acknowledged is lost, and the journal is contiguous, or says what it did not see.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cairn_etcd::Session;
use cairn_etcd::wire::{CompactionRequest, StatusRequest};
use cairn_journal::{Entry, GapPhase, Op, Reader, replay::Replay};
use cairn_tests::{Process, eventually, records, seeded, setting};
use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::cluster::{
    Etcd, NOT_OUR_CLUSTER, copy, durable, journaled, live, put, same, session_at, told, watermark,
};

/// How often a persister is killed, unless the environment says otherwise.
const KILLS: u32 = 5;

const WRITERS: usize = 4;

/// Every other key is written once, and never again.
fn key_of(number: usize, count: usize) -> String {
    match count % 2 {
        0 => format!("often/{number}/{}", count % 10),
        _ => format!("once/{number}/{count}"),
    }
}

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
        let (key, value) = (key_of(number, count), count.to_string());
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

/// Nobody writes any more: the persister takes the last revision, and ends. A session, and that
/// revision.
async fn end(etcd: &Etcd, process: &mut Process) -> Result<(Session, i64)> {
    let session = etcd.session().await?;
    let last = put(&session, "last", "x").await?;
    let followed = durable(&session, 1, last).await;
    followed.with_context(|| process.log())?;
    process.end_in_order()?;
    Ok((session, last))
}

/// The journal has what the cluster tells of these revisions, and all that was acknowledged.
async fn has_everything(
    session: &Session,
    journal: &Path,
    (first, last): (i64, i64),
    acknowledged: &[Acknowledged],
) -> Result<()> {
    let told = told(session, first, last).await?;
    same(&told, &journaled(journal)?, first, last)?;
    nothing_is_lost(journal, acknowledged)?;
    let count = acknowledged.len();
    println!("{last} revisions, {count} acknowledged, 0 lost");
    Ok(())
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
    let (session, last) = end(&etcd, &mut process).await?;
    ensure!(gaps(&journal)?.is_empty(), "a gap: {:?}", gaps(&journal)?);
    println!("{kills} kills");
    has_everything(&session, &journal, (2, last), &acknowledged).await
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

    // The leader is taken out, and a new member takes its place.
    let replaced = leader(&etcd).await?;
    let mut member = etcd.members.remove(replaced);
    member.replace(&etcd.members[0])?;
    etcd.members.insert(replaced, member);
    writers.go_on(&process).await?;

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
    let (session, last) = end(&etcd, &mut process).await?;
    let gaps = gaps(&journal)?;
    let &[(_, gap)] = &gaps[..] else {
        anyhow::bail!("one gap, and not {gaps:?}");
    };
    ensure!(gap >= compacted, "the gap ends at {gap}");
    has_everything(&session, &journal, (gap + 1, last), &acknowledged).await
}

/// What the journal says of single revisions, in all lives of the cluster.
fn in_all_lives(journal: &Path) -> Result<BTreeSet<Acknowledged>> {
    let (mut found, mut replay) = (BTreeSet::new(), Replay::default());
    for record in records(journal)? {
        replay.record(&record);
        if replay.in_snapshot_diff() {
            continue; // a state, and not what one revision did
        }
        for change in record.entry.changes() {
            if let Op::Set(value) = &change.op {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                found.insert((record.revision.0, text(&change.path), text(value)));
            }
        }
    }
    Ok(found)
}

/// A power cut without fsync takes the tail, an operator restores an old snapshot: each time the
/// persister finds it, is killed in the middle of putting back what was lost, and completes it,
/// while clients write. At last the cluster is wiped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_goes_back_under_load_gets_back_what_it_lost() -> Result<()> {
    let mut random = seeded("roll-backs")?;
    let scratch = tempfile::tempdir()?;
    let (journal, aside) = (scratch.path().join("journal"), scratch.path().join("aside"));
    let snapshot = scratch.path().join("db");
    let mut etcd = Etcd::start(1)?;
    let by_writes: &[&str] = &["-r", "api", "--restore-wait", "0s"];
    let mut process = etcd.persister(1, &journal, by_writes)?;
    let (writers, tasks) = Writers::start(&etcd);
    let (mut lives, mut log) = (Vec::new(), String::new());
    for is_by_operator in [false, true] {
        writers.go_on(&process).await?;
        if is_by_operator {
            let file = snapshot.to_str().context("a test directory is UTF-8")?;
            etcd.members[0].etcdctl(&["snapshot", "save", file])?;
        } else {
            etcd.kill();
            copy(&etcd.members[0].data(), &aside)?;
            etcd.start_again()?;
        }
        for _ in 0..3 {
            writers.go_on(&process).await?;
        }
        if is_by_operator {
            etcd.members[0].restore(&snapshot)?;
        } else {
            etcd.wipe()?;
            copy(&aside, &etcd.members[0].data())?;
        }
        // Nobody can have acknowledged anything of the life that begins now.
        lives.push(writers.all().len());
        etcd.start_again()?;
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(random.u64(..300))).await;
            process.kill()?;
            log += &process.log();
            process = etcd.persister(1, &journal, by_writes)?;
        }
        writers.go_on(&process).await?;
    }
    let acknowledged = writers.end(tasks).await;
    let (session, _) = end(&etcd, &mut process).await?;
    log += &process.log();
    let recognised = log
        .matches("putting back what this journal has beyond")
        .count();
    ensure!(recognised >= 2, "{recognised} roll-backs were seen: {log}");

    let (found, gaps) = (in_all_lives(&journal)?, gaps(&journal)?);
    let live = live(&session).await?;
    let live: BTreeMap<_, _> = live.into_iter().map(|key| (key.key, key.value)).collect();
    for (number, it) in acknowledged.iter().enumerate() {
        // Since the first roll-back a revision may be in a state that the journal took.
        let (at, key, value) = it;
        let is_in_gap = gaps.iter().any(|(first, last)| first <= at && at <= last);
        let is_journaled = found.contains(it) || number >= lives[0] && is_in_gap;
        ensure!(is_journaled, "{key} of revision {at} is not in the journal");
        let is_there = live
            .get(key.as_bytes())
            .is_some_and(|now| now == value.as_bytes());
        ensure!(
            is_there || key.starts_with("often/"),
            "{key} is lost: {log}"
        );
    }
    let state = Reader::open(&journal)?.state(None)?.files.into_iter();
    let state: BTreeMap<_, _> = state.map(|(path, key)| (path, key.value)).collect();
    ensure!(
        state == live,
        "the journal has another state than the cluster"
    );

    // At last everything is lost, and other clients begin anew.
    let mut process = etcd.persister(1, &journal, &[])?;
    let last = put(&session, "last", "y").await?;
    durable(&session, 1, last).await?;
    let before = in_all_lives(&journal)?;
    etcd.wipe()?;
    etcd.start_again()?;
    let (writers, tasks) = Writers::start(&etcd);
    // A node without a name that is behind the journal may lag: that would be waited for.
    let session = etcd.session().await?;
    while put(&session, "other", "x").await? < last {}
    let said = process.ends_with(NOT_OUR_CLUSTER)?;
    ensure!(said.contains("it was reset"), "{said}");
    ensure!(writers.end(tasks).await.is_empty(), "an acknowledgement");
    ensure!(in_all_lives(&journal)? == before, "something was journaled");
    println!(
        "{} acknowledged, 0 lost, {recognised} times put back",
        acknowledged.len()
    );
    Ok(())
}
