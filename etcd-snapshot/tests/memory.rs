//! The memory in use does not grow with the number of records.
//!
//! The one test of this binary, since it counts what the whole process allocates.

#![allow(clippy::unwrap_used)] // A test.

use cairn_etcd_snapshot::{
    Put, ReadOptions, Record, Snapshot, Window, WriteOptions, Writer, hash_kv, history,
};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Bytes that were allocated at most while this ran.
fn peak<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let result = run();
    (result, ALLOCATOR.peak_usage() - before)
}

/// Writes, reads and hashes so many records; the peaks of the three.
fn peaks(records: i64) -> [usize; 3] {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let put = Put {
        key: vec![b'k'; 30].into(),
        value: vec![b'v'; 200].into(),
        version: 1,
        create_revision: 2,
        lease: 0,
    };
    let ((), writing) = peak(|| {
        let mut writer = Writer::create(&path, WriteOptions::default()).unwrap();
        for revision in 2..records + 2 {
            writer
                .record(&Record::put(revision, 0, put.clone()))
                .unwrap();
        }
        writer.finish().unwrap();
    });
    let (snapshot, opening) = peak(|| Snapshot::open(&path, ReadOptions::default()).unwrap());
    let ((), reading) = peak(|| {
        let count = snapshot.records().unwrap().map(Result::unwrap).count();
        assert_eq!(i64::try_from(count), Ok(records));
    });
    // With the state of the last revision alone, which takes the bits.
    let window = Window {
        compacted: records + 1,
        revision: records + 1,
    };
    let ((), hashing) = peak(|| {
        hash_kv(&snapshot, window).unwrap();
        assert_eq!(history(&snapshot, window).unwrap().count(), 1);
    });
    [writing, opening.max(reading), hashing]
}

#[test]
fn the_memory_in_use_does_not_grow_with_the_number_of_records() {
    let few = peaks(5_000);
    let many = peaks(200_000);
    println!("writing, reading, hashing: {few:?} and {many:?} bytes");
    for (few, many) in few.into_iter().zip(many) {
        // A branch more, and a bit a record for hashing, rounded up by the vector's growth.
        assert!(many <= few + 96 * 1024, "{few} and {many} bytes");
        assert!(many <= 2 << 20, "{many} bytes");
    }
}
