//! What a process takes of the machine.

use std::fs;

use anyhow::{Context, Result};

/// Resident memory in MiB and processor time in seconds, from /proc.
pub fn usage(pid: u32) -> Result<(f64, f64)> {
    let proc = format!("/proc/{pid}");
    let status = fs::read_to_string(format!("{proc}/status"))?;
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next())
        .context("VmRSS")?
        .parse()?;
    let stat = fs::read_to_string(format!("{proc}/stat"))?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .context("fields after the name")?
        .split_whitespace()
        .collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok((kib / 1024.0, ticks / 100.0))
}
