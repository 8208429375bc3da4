//! A delete's answer does not carry its revision. Two clients delete and recreate the same path as
//! fast as they can, and none of the deletes may return before it is on disk.
//!
//! How an early return shows: right after a delete has returned, the newest published watermark is
//! read. The delete is one of those that the journal has after the set before it and up to that
//! watermark, and each of those can be one client's only. If the deletes that returned cannot be
//! matched with those in the journal, one of them was not on disk.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cairn_client::Revision;
use cairn_sync_client::keys;
use cairn_tests::{durable, given, records};

use crate::Persisted;
use crate::history::Truth;

const PATH: &str = "/contended";

/// How long it goes on, unless `CAIRN_TEST_DELETES` says how many there shall be.
const BUDGET: Duration = Duration::from_secs(8);

/// A delete that has returned: it was after one revision, and on disk at the latest at another.
#[derive(Clone, Copy, Debug)]
struct Returned {
    after: i64,
    watermark: i64,
}

/// How many of the deletes that returned are not among those in the journal.
fn unmatched(returned: &[Returned], journal: &[i64]) -> usize {
    let mut by_after = returned.to_vec();
    by_after.sort_by_key(|one| one.after);
    let mut waiting = by_after.into_iter().peekable();
    // Those that a delete in the journal may be, the one with the earliest end first.
    let mut open: BTreeMap<i64, usize> = BTreeMap::new();
    let mut missing = 0;
    for &revision in journal {
        while let Some(one) = waiting.next_if(|one| one.after < revision) {
            *open.entry(one.watermark).or_default() += 1;
        }
        while let Some(mut first) = open.first_entry() {
            let over = *first.key() < revision;
            missing += if over { *first.get() } else { 0 };
            *first.get_mut() -= 1;
            if over || *first.get() == 0 {
                first.remove();
            }
            if !over {
                break;
            }
        }
    }
    missing + open.values().sum::<usize>() + waiting.count()
}

/// Whose deletes are watched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deleter {
    Sync,
    /// The canary: the regular client returns before anything is on disk.
    Regular,
}

async fn contend(
    cluster: &Persisted,
    deleter: Deleter,
    count: u64,
    budget: Duration,
) -> Result<(usize, usize)> {
    let end = Instant::now() + budget;
    let mut tasks = Vec::new();
    for _ in 0..2 {
        let client = cluster.client(1, Duration::from_secs(20)).await?;
        // Reads the watermark over a connection of its own.
        let hand = cluster.lite.client().await?;
        tasks.push(tokio::spawn(async move {
            let mut returned = Vec::new();
            while (returned.len() as u64) < count / 2 && Instant::now() < end {
                let after = client.regular().set(PATH, Revision::ANY, "x").await?.0;
                match deleter {
                    Deleter::Sync => client.del(PATH, Revision::ANY).await?,
                    Deleter::Regular => client.regular().del(PATH, Revision::ANY).await?,
                }
                let watermark = hand.get(&keys::watermark(1), None).await?;
                let watermark = watermark.context("it was published")?.value;
                let watermark = std::str::from_utf8(&watermark)?.parse()?;
                returned.push(Returned { after, watermark });
            }
            anyhow::Ok(returned)
        }));
    }
    let mut returned = Vec::new();
    for task in tasks {
        returned.extend(task.await??);
    }
    let hand = cluster.lite.client().await?;
    let last = hand.set("/last", Revision::ANY, "x").await?;
    durable(&hand, 1, last).await?;
    let journal = Truth::of(&records(&cluster.journal(1))?).deletes(PATH);
    ensure!(
        journal.len() >= returned.len(),
        "each delete is in the journal"
    );
    Ok((returned.len(), unmatched(&returned, &journal)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_delete_returns_before_it_is_on_disk() -> Result<()> {
    let (count, budget) = match given("CAIRN_TEST_DELETES")? {
        Some(count) => (count, Duration::MAX / 4),
        None => (u64::MAX, BUDGET),
    };
    let budget = budget.min(Duration::from_secs(3600));
    let cluster = Persisted::start(1).await?;
    let (returned, early) = contend(&cluster, Deleter::Sync, count, budget).await?;
    println!("{returned} deletes of one path by two clients, {early} returned early");
    ensure!(
        early == 0,
        "{early} of {returned} deletes returned before they were on disk"
    );
    Ok(())
}

/// The check would have noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_that_does_not_wait_is_noticed() -> Result<()> {
    let cluster = Persisted::start(1).await?;
    let (returned, early) = contend(&cluster, Deleter::Regular, 2_000, BUDGET).await?;
    println!("{early} of {returned} deletes by the regular client returned early");
    ensure!(
        early > 0,
        "{returned} deletes that did not wait were not noticed"
    );
    Ok(())
}

#[test]
fn intervals_are_matched_with_points() {
    let one = |after, watermark| Returned { after, watermark };
    assert_eq!(unmatched(&[one(1, 5), one(2, 4)], &[3, 5]), 0);
    assert_eq!(unmatched(&[one(1, 4), one(2, 4)], &[3, 5]), 1);
    assert_eq!(unmatched(&[one(1, 2)], &[3]), 1);
    assert_eq!(unmatched(&[one(3, 9)], &[3]), 1);
    assert_eq!(unmatched(&[one(1, 9), one(1, 3)], &[3, 5]), 0);
}
