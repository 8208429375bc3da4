//! Somebody removes, moves, replaces or cuts the segment that is being written, or the directory:
//! nothing is acknowledged from then on.
//!
//! The story: after `rm j/*.seg` a running persister went on acknowledging for ever, into a file
//! without a name, and at its end everything was gone.

#![allow(clippy::unwrap_used)] // A test that unwraps says what it expected.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use cairn_journal::{
    Change, Directory, Error, Journal, NewRecord, Options, Revision, Timestamp,
    storage::{Access, Disk, Storage, simulated::Simulated},
};

fn options(preallocate: bool) -> Options {
    let mut options = Options::default();
    options.max_payload_bytes = 1 << 10;
    options.segment_bytes = 24 << 10;
    options.max_queued_bytes = 8 << 10;
    options.idle_watermark = None;
    options.preallocate = preallocate;
    options
}

fn write(journal: &Journal, n: i64) -> Result<(), Error> {
    let change = Change::set(format!("/{n}"), vec![b'v'; 300]);
    let record = NewRecord::changes(Revision(n), vec![change], Timestamp(n));
    journal.append_and_commit(record).map(drop)
}

/// The segment that is being written: the one with the last name.
fn newest(storage: &dyn Storage, dir: &Path) -> PathBuf {
    let mut names = storage.list(dir).unwrap();
    names.retain(|name| name.ends_with(".seg"));
    names.sort();
    dir.join(names.last().unwrap())
}

/// On the real disk. Nothing runs in the background: it would make files while a test removes them.
fn open(dir: &Path, preallocate: bool) -> Journal {
    let directory = Directory::on(Arc::new(Disk), dir);
    directory.open_by_hand(options(preallocate)).unwrap().0
}

type Harm = fn(&dyn Storage, &Path);

fn remove(storage: &dyn Storage, segment: &Path) {
    storage.remove(segment).unwrap();
}

fn move_away(storage: &dyn Storage, segment: &Path) {
    storage
        .rename(segment, &segment.with_extension("old"))
        .unwrap();
}

fn replace(storage: &dyn Storage, segment: &Path) {
    let old = storage.open(segment, Access::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(old.len().unwrap()).unwrap()];
    old.read_at(&mut bytes, 0).unwrap();
    let copy = segment.with_extension("copy");
    let new = storage.open(&copy, Access::CreateNew).unwrap();
    new.write_at(&bytes, 0).unwrap();
    storage.rename(&copy, segment).unwrap();
}

fn empty(storage: &dyn Storage, segment: &Path) {
    let file = storage.open(segment, Access::ReadWrite).unwrap();
    file.set_len(0).unwrap();
}

/// Cuts the file within the last record: eight bytes before the zeros that follow it.
fn cut(storage: &dyn Storage, segment: &Path) {
    let file = storage.open(segment, Access::ReadWrite).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    file.set_len(u64::try_from(end - 8).unwrap()).unwrap();
}

const HARMS: [Harm; 5] = [remove, move_away, replace, empty, cut];

fn is_told(result: Result<(), Error>) -> bool {
    match result {
        Err(Error::Poisoned { cause, .. }) => matches!(*cause, Error::SegmentLost { .. }),
        _ => false,
    }
}

/// After any number of records, several segments' worth, with room made ahead or not, also in the
/// very moment before it is made.
#[test]
fn nothing_is_acknowledged_into_a_segment_that_somebody_took_away() {
    for (number, harm) in HARMS.into_iter().enumerate() {
        for preallocate in [false, true] {
            for written in 0..90 {
                for prepared in [false, true] {
                    let disk: Arc<dyn Storage> = Arc::new(Simulated::new(7));
                    let dir = Path::new("/journal");
                    let directory = Directory::on(Arc::clone(&disk), dir);
                    let (journal, _) = directory.open_by_hand(options(preallocate)).unwrap();
                    for n in 1..=written {
                        write(&journal, n).unwrap();
                        if n % 3 == 0 {
                            journal.prepare();
                        }
                    }
                    harm(&*disk, &newest(&*disk, dir));
                    if prepared {
                        journal.prepare();
                    }
                    let told = write(&journal, written + 1);
                    let what = format!("harm {number}, {preallocate}, {prepared}, after {written}");
                    assert!(is_told(told.clone()), "{what}: {told:?}");
                    assert!(write(&journal, written + 2).is_err());
                    assert!(journal.close().is_err());
                }
            }
        }
    }
}

#[test]
fn nothing_is_acknowledged_into_a_directory_that_was_moved_or_replaced() {
    let harms: [fn(&Path); 3] = [
        |dir| std::fs::rename(dir, dir.with_extension("old")).unwrap(),
        |dir| std::fs::remove_dir_all(dir).unwrap(),
        |dir| {
            let old = dir.with_extension("old");
            std::fs::rename(dir, &old).unwrap();
            std::fs::create_dir(dir).unwrap();
            for entry in std::fs::read_dir(old).unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
            }
        },
    ];
    for harm in harms {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("journal");
        let journal = open(&dir, true);
        write(&journal, 1).unwrap();
        harm(&dir);
        let told = write(&journal, 2);
        assert!(matches!(told, Err(Error::Poisoned { .. })), "{told:?}");
    }
}

#[test]
fn a_real_disk_tells_as_well() {
    for harm in HARMS {
        for preallocate in [false, true] {
            let scratch = tempfile::tempdir().unwrap();
            let journal = open(scratch.path(), preallocate);
            for n in 1..=3 {
                write(&journal, n).unwrap();
            }
            harm(&Disk, &newest(&Disk, scratch.path()));
            let told = write(&journal, 4);
            assert!(is_told(told.clone()), "{told:?}");
        }
    }
}
