//! What several tests share: numbers from the environment, and journals on a simulated disk.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use cairn_journal::{
    Change, Directory, Journal, NewRecord, Options, Reader, Recovery, Repair, RepairReport, Result,
    Revision, State, Timestamp,
    storage::simulated::{Simulated, Survival},
};
use fastrand::Rng;

pub(crate) const DIR: &str = "/journal";

pub(crate) fn dir() -> &'static Path {
    Path::new(DIR)
}

/// A number that makes a test longer, or runs a failure again.
pub(crate) fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |v| v.parse().unwrap())
}

pub(crate) fn seed() -> u64 {
    let seed = variable("CAIRN_SEED", fastrand::u64(..));
    println!("CAIRN_SEED={seed}");
    seed
}

/// Small segments, and nothing that happens by itself.
pub(crate) fn small_options(segment_bytes: u64) -> Options {
    let mut options = Options::default();
    options.max_payload_bytes = 1 << 10;
    options.segment_bytes = segment_bytes;
    options.max_queued_bytes = 64 << 10;
    options.idle_watermark = None;
    options.preallocate = false;
    options
}

pub(crate) fn open_with(disk: &Simulated, options: Options) -> Result<(Journal, Recovery)> {
    Directory::on(Arc::new(disk.clone()), dir()).open_by_hand(options)
}

/// Repairs the journal in a directory of a simulated disk, without donors.
pub(crate) fn repair_on(disk: &Simulated, dir: &Path) -> Result<RepairReport> {
    Repair::of(Directory::on(Arc::new(disk.clone()), dir)).run()
}

pub(crate) fn reader(disk: &Simulated) -> Reader {
    Directory::on(Arc::new(disk.clone()), dir())
        .reader()
        .unwrap()
}

/// The files with this extension, in the order of their names.
pub(crate) fn files(disk: &Simulated, extension: &str) -> Vec<PathBuf> {
    let mut paths = disk.paths();
    paths.retain(|p| p.parent() == Some(dir()) && p.extension().is_some_and(|e| e == extension));
    paths
}

pub(crate) fn survival(rng: &mut Rng) -> Survival {
    Survival::ALL[rng.usize(..Survival::ALL.len())]
}

/// The change of this revision, of one of 30 paths: follows from its number.
pub(crate) fn change(revision: i64) -> Change {
    let mut rng = Rng::with_seed(u64::try_from(revision).unwrap());
    let path = format!("/{}", rng.u8(..30));
    let change = if rng.u8(..4) == 0 {
        Change::delete(path)
    } else {
        Change::set(path, vec![rng.u8(..); rng.usize(..700)])
    };
    match revision % 3 {
        0 => change.with_attributes(vec![7; rng.usize(..60)]),
        _ => change,
    }
}

pub(crate) fn append(journal: &Journal, revision: i64) -> Result<()> {
    let changes = vec![change(revision)];
    let record = NewRecord::changes(Revision(revision), changes, Timestamp(revision));
    journal.append_and_commit(record).map(drop)
}

/// The state after all changes up to this revision. What was asked for before is not applied again:
/// tests of many crash states ask for little else.
pub(crate) fn expected(revision: i64) -> State {
    thread_local! {
        static EVERY_64: RefCell<Vec<State>> = RefCell::new(vec![State::default()]);
    }
    let change_at = |state: &mut State, r| state.apply(Revision(r), &change(r));
    EVERY_64.with_borrow_mut(|known| {
        let wanted = usize::try_from(revision).unwrap() / 64;
        while known.len() <= wanted {
            let mut state = known[known.len() - 1].clone();
            let first = i64::try_from(known.len() - 1).unwrap() * 64 + 1;
            (first..first + 64).for_each(|r| change_at(&mut state, r));
            known.push(state);
        }
        let mut state = known[wanted].clone();
        (i64::try_from(wanted).unwrap() * 64 + 1..=revision).for_each(|r| change_at(&mut state, r));
        state
    })
}

/// Compares every file of a disk with the golden one of its name; with `CAIRN_GOLDEN=write` writes
/// those anew first. Returns how many there are.
pub(crate) fn compare_with_golden(disk: &Simulated, golden: &Path) -> usize {
    let is_to_be_written = std::env::var("CAIRN_GOLDEN").is_ok_and(|v| v == "write");
    if is_to_be_written {
        let _ = fs::remove_dir_all(golden);
        fs::create_dir_all(golden).unwrap();
    }
    let mut paths = disk.paths();
    // What a repair has set aside is not what is written.
    paths.retain(|path| path.parent() == Some(dir()));
    for path in &paths {
        let name = path.file_name().unwrap();
        let content = disk.content(path).unwrap();
        if is_to_be_written {
            fs::write(golden.join(name), &content).unwrap();
        }
        let is_same = fs::read(golden.join(name)).unwrap() == content;
        assert!(is_same, "{} differs", name.display());
    }
    assert_eq!(fs::read_dir(golden).unwrap().count(), paths.len());
    paths.len()
}
