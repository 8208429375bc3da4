//! The disk alone: a write of one block into blocks that exist, and fdatasync.

use std::os::unix::fs::FileExt;
use std::time::Instant;

use anyhow::Result;

use crate::Row;

const BLOCK: usize = 4096;

pub(crate) fn fdatasync(writes: usize) -> Result<Row> {
    let file = tempfile::tempfile()?;
    let blocks = 1024;
    file.write_all_at(&vec![0; BLOCK * blocks], 0)?;
    file.sync_all()?;
    let block = [1; BLOCK];
    let mut latencies = Vec::new();
    let started = Instant::now();
    for write in 0..writes {
        let called = Instant::now();
        file.write_all_at(&block, ((write % blocks) * BLOCK) as u64)?;
        file.sync_data()?;
        latencies.push(called.elapsed());
    }
    Ok(Row::new("raw fdatasync", 1, started.elapsed(), latencies))
}
