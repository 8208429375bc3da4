//! What writing, reading and hashing cost, beside a plain write of as many bytes.
//!
//! ```sh
//! cargo build --release -p cairn-etcd-snapshot --example measure
//! for what in plain write open read hash history; do
//!     /usr/bin/time -v target/release/examples/measure $what FILE [KEYS] [VALUE-BYTES] [REVISIONS]
//! done
//! ```
//!
//! `write` makes FILE, with 1,000,000 keys of 200 bytes each unless told otherwise; with more
//! REVISIONS than KEYS each key is written again and again, and nothing is compacted. `plain`
//! writes as many bytes to FILE.plain, with the same sync and rename, and removes it. The others
//! read FILE.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use cairn_etcd_snapshot::{
    Put, ReadOptions, Record, Snapshot, WriteOptions, Writer, hash_kv, history,
};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "measure plain|write|open|read|hash|history FILE [KEYS] [VALUE-BYTES] [REVISIONS]";
    let what = arguments.next().context(usage)?;
    let path = PathBuf::from(arguments.next().context(usage)?);
    let mut number = |default: u32| arguments.next().map_or(Ok(default), |text| text.parse());
    let (keys, value_bytes) = (number(1_000_000)?, number(200)?);
    let revisions = number(keys)?;
    let begin = Instant::now();
    let done = match what.as_str() {
        "plain" => plain(&path, keys, value_bytes)?,
        "write" => write(&path, keys, value_bytes, revisions)?,
        "open" => format!("{:?}", open(&path)?.window()),
        "read" => {
            let mut records = 0_u64;
            for record in open(&path)?.records()? {
                black_box(record?);
                records += 1;
            }
            format!("{records} records")
        }
        "hash" => {
            let snapshot = open(&path)?;
            format!("HashKV {}", hash_kv(&snapshot, snapshot.window())?)
        }
        "history" => {
            let snapshot = open(&path)?;
            let mut records = 0_u64;
            for record in history(&snapshot, snapshot.window())? {
                black_box(record?);
                records += 1;
            }
            format!("{records} records")
        }
        _ => bail!(usage),
    };
    println!("{what}: {done} in {:.2} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn open(path: &Path) -> Result<Snapshot> {
    Ok(Snapshot::open(path, ReadOptions::default())?)
}

/// A state without history, which is what a restore of a large cluster writes, or with all of it.
fn write(path: &Path, keys: u32, value_bytes: u32, revisions: u32) -> Result<String> {
    let (keys, newest) = (i64::from(keys), i64::from(revisions) + 1);
    let options = WriteOptions {
        compacted: if newest > keys + 1 { 0 } else { newest },
        ..WriteOptions::default()
    };
    let mut writer = Writer::create(path, options)?;
    let value = bytes::Bytes::from(vec![b'v'; usize::try_from(value_bytes)?]);
    for revision in 2..=newest {
        let (round, key) = ((revision - 2) / keys, (revision - 2) % keys);
        let put = Put {
            key: format!("/registry/pods/namespace/{:012}", key + 2).into(),
            value: value.clone(),
            create_revision: key + 2,
            version: round + 1,
            lease: 0,
        };
        writer.record(&Record::put(revision, 0, put))?;
    }
    Ok(format!("{} bytes", writer.finish()?.bytes))
}

/// As many bytes as the file of so many keys has, without any structure.
fn plain(path: &Path, keys: u32, value_bytes: u32) -> Result<String> {
    let bytes = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        // Key, numbers, the element and its share of the page.
        Err(_) => u64::from(keys) * (u64::from(value_bytes) + 86),
    };
    let (target, temporary) = (
        path.with_extension("plain"),
        path.with_extension("plain.tmp"),
    );
    let mut file = BufWriter::with_capacity(256 << 10, File::create(&temporary)?);
    let block = [b'v'; 4096];
    let mut left = bytes;
    while left > 0 {
        let part = left.min(block.len() as u64);
        file.write_all(&block[..usize::try_from(part)?])?;
        left -= part;
    }
    file.into_inner()?.sync_all()?;
    fs::rename(&temporary, &target)?;
    fs::remove_file(&target)?;
    Ok(format!("{bytes} bytes"))
}
