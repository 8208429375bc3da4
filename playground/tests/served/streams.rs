//! Many pages, and pages that are not read: they cost a place, and no memory.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::program::Playground;

/// How much the program may have grown, in KiB: a fraction of what queues without a bound would
/// take.
const GROWTH: u64 = 48 << 10;

fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.context("its memory")?.trim().trim_end_matches(" kB");
    Ok(kib.trim().parse()?)
}

#[test]
fn pages_that_are_not_read_cost_no_memory_and_too_many_are_refused() -> Result<()> {
    let (playground, mut page) = Playground::ready()?;
    // Nobody reads these.
    let idle: Vec<_> = (0..50).map(|_| playground.page()).collect::<Result<_>>()?;
    playground.act(&json!({"do": "load", "rate": 500}))?;
    let writes = |state: &serde_json::Value| state["writes"]["durable"].as_u64().unwrap_or(0);
    page.until("some writes", |state| writes(state) > 300)?;
    let before = resident(playground.child.id())?;
    page.until("many writes", |state| writes(state) > 1_500)?;
    let after = resident(playground.child.id())?;
    ensure!(after < before + GROWTH, "from {before} to {after} KiB");
    // On a loaded computer a look at a node may come too late.
    page.until("all is well", |state| state["story"]["tone"] == "ok")?;
    let mut more: Vec<_> = (0..13).map(|_| playground.page()).collect::<Result<_>>()?;
    for page in &mut more {
        page.next()?;
    }
    let refused = playground.get("events")?;
    ensure!(refused.status == 503, "{refused:?}");
    drop((idle, more));
    Ok(())
}
