//! `power-cut`: under load, every process dies at a random moment; disks stay. Everything is
//! started again, and whatever was acknowledged must be there.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::drill::cluster::Machines;
use crate::drill::options::Options;
use crate::drill::report::Report;
use crate::ledger::audit::Audit;
use crate::ledger::outcome::Class;
use crate::programs::Programs;
use crate::writers::Shared;

/// At least so many writes are acknowledged before the power goes: else there is nothing to lose.
const ACKNOWLEDGED: usize = 20;

/// How long that may take.
const LOAD_LIMIT: Duration = Duration::from_secs(30);

/// For how many milliseconds writers then go on.
const MORE_MS: std::ops::Range<u64> = 0..700;

/// How often it is looked whether enough was acknowledged.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Runs the drill.
///
/// # Errors
/// What keeps it from being run. A drill that was run and failed is a [`Report`].
pub async fn power_cut(options: &Options, programs: &Programs) -> Result<Report> {
    let begun = Instant::now();
    let mut random = fastrand::Rng::with_seed(options.seed);
    let ledger = Shared::default();
    let machines = Machines::new(options, programs, &ledger)?;
    let mut report = Report::new("power-cut", options, &machines.world);
    machines.start_servers().await?;
    for round in 1..=options.rounds {
        machines.start_clients().await?;
        let more = Duration::from_millis(random.u64(MORE_MS));
        load(&machines, &ledger, more).await?;
        machines.cut_power(options.liar).await?;
        let cut = Instant::now();
        machines.start_servers().await?;
        let back = cut.elapsed();
        let found = machines.everything().await?;
        let audit = {
            let mut ledger = ledger.lock();
            let audit = ledger.audit(&found, machines.revisions());
            // Everything that was sent before is dead, and what is there came from disks.
            ledger.settle(&found);
            audit
        };
        if options.tell {
            eprintln!("{}", line(round, options.rounds, back, &audit));
        }
        let passed = audit.passed();
        report.round(back, audit);
        if !passed {
            break;
        }
    }
    if report.audit.passed() {
        machines.end().await?;
    }
    report.finish(&ledger.lock(), begun.elapsed());
    Ok(report)
}

/// Until enough is acknowledged, and then for a while.
async fn load(machines: &Machines, ledger: &Shared, more: Duration) -> Result<()> {
    let durable = || {
        let ledger = ledger.lock();
        ledger
            .points()
            .iter()
            .filter(|point| point.class == Class::Durable)
            .count()
    };
    let (before, start) = (durable(), Instant::now());
    while durable() < before + ACKNOWLEDGED {
        machines.nobody_gave_up()?;
        if start.elapsed() > LOAD_LIMIT {
            bail!("fewer than {ACKNOWLEDGED} writes were acknowledged within {LOAD_LIMIT:?}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    tokio::time::sleep(more).await;
    machines.nobody_gave_up()
}

fn line(round: u32, rounds: u32, back: Duration, audit: &Audit) -> String {
    let verdict = if audit.passed() {
        "nothing lost"
    } else {
        "FAILED"
    };
    let open = audit.applied.writes + audit.unknown.writes;
    let open_there = audit.applied.there + audit.unknown.there;
    format!(
        "round {round} of {rounds}: back after {back:.1?}; {} of {} acknowledged writes there, \
         {open_there} of {open} open ones: {verdict}",
        audit.durable.there, audit.durable.writes
    )
}
