//! Everything is killed at the moment of an acknowledgement; every write that was acknowledged is
//! then in as many journals as were required.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cairn_client::Revision;
use cairn_journal::{Entry, Op};
use cairn_sync_client::Client;
use cairn_tests::{records, seeded, setting};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Persisted;

/// How many rounds, unless `CAIRN_TEST_KILLS` says otherwise.
const ROUNDS: u64 = 12;

const PERSISTERS: u32 = 3;
const REQUIRED: usize = 2;
const WRITERS: usize = 4;

/// A write that was acknowledged, by the only writer of its path.
enum Acknowledged {
    Set {
        path: String,
        revision: i64,
    },
    /// Of the set at `after`.
    Delete {
        path: String,
        after: i64,
    },
}

/// What was acknowledged so far, and a permit for each.
struct Ledger {
    writes: Mutex<Vec<Acknowledged>>,
    count: Semaphore,
}

impl Ledger {
    fn note(&self, write: Acknowledged) {
        self.writes
            .lock()
            .expect("nobody panics with it")
            .push(write);
        self.count.add_permits(1);
    }
}

/// Writes until the cluster is gone.
async fn write(client: Client, writer: usize, seed: u64, ledger: Arc<Ledger>) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(seed);
    loop {
        let path = format!("/{writer}/{}", random.u8(..4));
        let value = vec![b'x'; random.usize(..2_000)];
        let set = client.set(&path, Revision::ANY, value).await?;
        let (after, path_set) = (set.0, path.clone());
        ledger.note(Acknowledged::Set {
            path: path_set,
            revision: after,
        });
        if random.u8(..3) == 0 {
            client.del(&path, set).await?;
            ledger.note(Acknowledged::Delete { path, after });
        }
    }
}

/// What a journal says about each path: the revisions of its sets and of its deletes.
#[derive(Default)]
struct Journaled {
    paths: BTreeMap<String, (Vec<i64>, Vec<i64>)>,
}

impl Journaled {
    fn read(cluster: &Persisted, id: u32) -> Result<Self> {
        let mut this = Self::default();
        for record in records(&cluster.journal(id))? {
            let Entry::Changes { changes, .. } = record.entry else {
                continue;
            };
            for change in changes {
                let path = String::from_utf8(change.path.to_vec())?;
                let revision = change.revision.unwrap_or(record.revision).0;
                let (sets, deletes) = this.paths.entry(path).or_default();
                match change.op {
                    Op::Set(_) => sets.push(revision),
                    Op::Delete => deletes.push(revision),
                }
            }
        }
        Ok(this)
    }

    fn has(&self, write: &Acknowledged) -> bool {
        match write {
            Acknowledged::Set { path, revision } => self
                .paths
                .get(path)
                .is_some_and(|(sets, _)| sets.contains(revision)),
            // The first delete after the set is the one: the path has one writer.
            Acknowledged::Delete { path, after } => self
                .paths
                .get(path)
                .is_some_and(|(_, deletes)| deletes.iter().any(|delete| delete > after)),
        }
    }
}

/// One round; how many writes were acknowledged, and how many of them too few journals have.
async fn round(random: &mut fastrand::Rng) -> Result<(usize, usize)> {
    let mut cluster = Persisted::start(PERSISTERS).await?;
    let ledger = Arc::new(Ledger {
        writes: Mutex::default(),
        count: Semaphore::new(0),
    });
    // Aborted when dropped: they would wait for a cluster that does not come back.
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let client = cluster.client(REQUIRED, Duration::from_secs(5)).await?;
        writers.spawn(write(client, writer, random.u64(..), Arc::clone(&ledger)));
    }
    let mut permits = random.u32(1..60);
    if random.bool() {
        // One persister goes early; the other two are as many as are required.
        ledger.count.acquire_many(permits).await?.forget();
        permits = random.u32(1..60);
        let id = random.u32(1..=PERSISTERS);
        cluster.process(id).kill()?;
    }
    ledger.count.acquire_many(permits).await?.forget();
    // The cluster and the persisters, in any order.
    let mut order: Vec<u32> = (0..=PERSISTERS).collect();
    random.shuffle(&mut order);
    for victim in order {
        match victim {
            0 => cluster.lite.process.kill()?,
            id => cluster.process(id).kill()?,
        }
    }
    writers.shutdown().await;
    let writes = std::mem::take(&mut *ledger.writes.lock().expect("nobody panics with it"));
    let journals = (1..=PERSISTERS)
        .map(|id| Journaled::read(&cluster, id).with_context(|| format!("journal {id}")))
        .collect::<Result<Vec<_>>>()?;
    let missing = writes
        .iter()
        .filter(|write| journals.iter().filter(|journal| journal.has(write)).count() < REQUIRED)
        .count();
    Ok((writes.len(), missing))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_on_as_many_disks_as_required() -> Result<()> {
    let mut random = seeded("kills at an acknowledgement")?;
    let rounds = setting("CAIRN_TEST_KILLS", ROUNDS)?;
    let (mut acknowledged, mut missing) = (0, 0);
    for n in 1..=rounds {
        let (writes, lost) = round(&mut random)
            .await
            .with_context(|| format!("round {n}"))?;
        acknowledged += writes;
        missing += lost;
        if n % 100 == 0 {
            println!("{n} rounds, {acknowledged} acknowledged, {missing} missing");
        }
    }
    println!("{rounds} rounds, {acknowledged} acknowledged, {missing} missing");
    ensure!(
        missing == 0,
        "{missing} of {acknowledged} acknowledged writes are missing"
    );
    Ok(())
}
