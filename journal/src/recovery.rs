//! Opening after whatever happened: verifies, decides between torn tail and corruption, cuts, and
//! starts a new segment.
//!
//! Every step leaves a directory from which opening again ends in the same place, so a crash here
//! is just another crash. Corruption is reported before anything is changed. The steps are numbered
//! as in `docs/format.md`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use crate::{
    Entry, Error, Options, Result, Sequence,
    checkpoint::History,
    directory::{self, Extent, LOCK, Listing, NEXT, REPAIR, Segment, Tail},
    layout::SegmentHeader,
    payload::{self, Context},
    prepare,
    repair::aside,
    scan::{RawRecord, Scan},
    segment,
    source::{Source, unreadable_detail},
    storage::{Access, Lock, Named, Storage},
    tracker::Tracker,
};

/// How much is copied at once.
const COPY_BYTES: usize = 1 << 20;

/// What opening found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Everything up to here is whole and durable.
    pub valid_to: Sequence,
    /// `None` if the journal was closed in good order, or is new: nothing can be missing. Otherwise
    /// the sequence from which on an acknowledged record would be missing if the disk had lost what
    /// it had synced. After a crash this is always given: the newest group has no witness. If
    /// `torn_bytes` is 0 as well, nothing hints at a loss.
    pub maybe_lost_from: Option<Sequence>,
    /// How many bytes of a torn tail were cut.
    pub torn_bytes: u64,
    /// Where they are kept.
    pub torn_file: Option<PathBuf>,
    /// Whether the journal was created by this opening.
    pub created: bool,
}

/// A journal ready to be written to.
pub(crate) struct Opened {
    pub(crate) lock: Box<dyn Lock>,
    pub(crate) file: Named,
    pub(crate) header: SegmentHeader,
    pub(crate) tracker: Tracker,
    pub(crate) recovery: Recovery,
}

pub(crate) fn open(storage: &dyn Storage, dir: &Path, options: &Options) -> Result<Opened> {
    let fill = if options.preallocate {
        prepare::first_fill(options.segment_bytes)
    } else {
        0
    };
    // 1. The directory, and nobody else in it.
    let lock = enter(storage, dir)?;
    let listing = Listing::read(storage, dir)?;
    not_half_repaired(&listing, dir)?;

    let Some((&last_first, _)) = listing.segments.last_key_value() else {
        if !listing.is_vacant() {
            return Err(listing.not_a_journal(dir));
        }
        remove_temporary(storage, dir, &listing)?;
        return begin(storage, dir, lock, fill);
    };

    // 2. The headers, and that they form one chain.
    let (chain, last) = chain(storage, &listing)?;
    debug_assert_eq!(last.header.first, last_first);
    let last = &last;

    // 3. The newest sealed history, within bounds.
    verify_some(storage, &chain, options.verify_bytes)?;

    // 4. The last segment, record by record, and what its end is.
    let end = read_last(last)?;
    checkpoints_fit(storage, &listing, &chain, &end)?;

    // From here on the directory is changed.
    let kept_next = remove_temporary(storage, dir, &listing)?;
    listing.give_name(storage, dir)?;
    let mut ended = end_segment(storage, dir, last, &end, fill)?;
    if let Some((path, bytes)) = kept_next {
        ended.torn_bytes += bytes;
        ended.torn_file.get_or_insert(path);
    }
    let valid_to = end.scan.last();
    Ok(Opened {
        lock,
        file: ended.file,
        header: ended.header,
        tracker: end.tracker,
        recovery: Recovery {
            valid_to,
            maybe_lost_from: (!end.closed || ended.torn_bytes > 0).then(|| valid_to.next()),
            torn_bytes: ended.torn_bytes,
            torn_file: ended.torn_file,
            created: false,
        },
    })
}

/// A last segment that has been given a successor.
pub(crate) struct Ended {
    pub(crate) header: SegmentHeader,
    file: Named,
    torn_bytes: u64,
    torn_file: Option<PathBuf>,
}

/// Steps 5 to 7: keeps the torn tail aside, makes the records durable, starts a new segment.
pub(crate) fn end_segment(
    storage: &dyn Storage,
    dir: &Path,
    last: &Segment,
    end: &LastSegment,
    fill: u64,
) -> Result<Ended> {
    let (mut torn_bytes, mut torn_file) = match end.tail {
        // 5. What is cut is kept aside.
        Tail::Torn(bytes) => (
            bytes,
            Some(keep_torn(storage, dir, last, end.scan.offset, bytes)?),
        ),
        _ => (0, None),
    };
    let header = if end.scan.records == 0 {
        // 7a. A segment without records is replaced by one with another salt.
        successor_of_empty(storage, last, &end.tracker)
    } else {
        // 6. What the page cache says is written down, the rest is cut.
        settle(storage, last, end)?;
        if torn_file.is_none() {
            (torn_bytes, torn_file) = torn_before(storage, dir, last, end.scan.offset)?;
        }
        // 7b. A new segment, so that nothing that was ever in the old blocks can follow.
        successor(storage, last, end)
    };
    let file = segment::create(storage, dir, &header, fill)?;
    Ok(Ended {
        header,
        file,
        torn_bytes,
        torn_file,
    })
}

fn not_half_repaired(listing: &Listing, dir: &Path) -> Result<()> {
    if listing.kept.iter().any(|n| n == REPAIR) {
        return Err(Error::RepairInterrupted {
            path: dir.join(REPAIR),
        });
    }
    Ok(())
}

/// An error if a repair was interrupted.
pub(crate) fn refuse_half_repaired(storage: &dyn Storage, dir: &Path) -> Result<()> {
    not_half_repaired(&Listing::read(storage, dir)?, dir)
}

/// Makes sure that the directory is there and may be ours, and locks it.
pub(crate) fn enter(storage: &dyn Storage, dir: &Path) -> Result<Box<dyn Lock>> {
    storage
        .create_dir(dir)
        .map_err(|e| Error::io(dir, "create the directory", e))?;
    // Before the lock file is put into somebody else's directory.
    let listing = Listing::read(storage, dir)?;
    if listing.segments.is_empty() && !listing.is_vacant() {
        return Err(listing.not_a_journal(dir));
    }
    take_lock(storage, dir)
}

pub(crate) fn take_lock(storage: &dyn Storage, dir: &Path) -> Result<Box<dyn Lock>> {
    let path = dir.join(LOCK);
    let lock = storage
        .lock(&path)
        .map_err(|e| Error::io(path.as_path(), "lock", e))?;
    let Some(lock) = lock else {
        return Err(Error::Locked {
            holder: holder(storage, &path),
            path,
        });
    };
    // Only a courtesy to whoever is refused, so a full disk does not matter.
    let _ = lock.write_holder(&format!("process {}", std::process::id()));
    Ok(lock)
}

fn holder(storage: &dyn Storage, path: &Path) -> String {
    let mut note = [0; 64];
    Named::open(storage, path, Access::Read)
        .and_then(|f| f.read_at(&mut note, 0))
        .ok()
        .filter(|n| *n > 0)
        .map_or_else(
            || "another process".to_owned(),
            |n| String::from_utf8_lossy(&note[..n]).trim().to_owned(),
        )
}

/// Removes what was never used. A file called [`NEXT`] that has no sound header and yet holds something is
/// kept under another name, which is returned with its length: a crash while its first records were written
/// leaves such a file, but so does damage to the header of a segment.
pub(crate) fn remove_temporary(
    storage: &dyn Storage,
    dir: &Path,
    listing: &Listing,
) -> Result<Option<(PathBuf, u64)>> {
    let mut kept = None;
    for path in &listing.temporary {
        if path.ends_with(NEXT)
            && let Some(bytes) = content_bytes(storage, path)?
        {
            let aside = aside::keep_bad(storage, dir, path)?;
            tracing::warn!(kept = %aside.display(), "NEXT has no sound header, and is not empty");
            kept = Some((aside, bytes));
        }
        segment::remove_if_there(storage, path)?;
    }
    Ok(kept)
}

/// How many bytes are behind the header of a file, if any of them is not zero.
fn content_bytes(storage: &dyn Storage, path: &Path) -> Result<Option<u64>> {
    let begin = crate::layout::SEGMENT_HEADER_BYTES as u64;
    let file = Arc::new(Named::open(storage, path, Access::Read)?);
    let bytes = file.len()?.saturating_sub(begin);
    let mut source = Source::patient(file);
    let mut at = begin;
    loop {
        let chunk = source.get(at, COPY_BYTES)?;
        if chunk.is_empty() {
            // What cannot be read may be anything.
            return Ok(source.unreadable().map(|_| bytes));
        }
        if chunk.iter().any(|b| *b != 0) {
            return Ok(Some(bytes));
        }
        at += chunk.len() as u64;
    }
}

fn begin(storage: &dyn Storage, dir: &Path, lock: Box<dyn Lock>, fill: u64) -> Result<Opened> {
    let header = SegmentHeader {
        uuid: Uuid::from_u128(storage.random()),
        salt: salt(storage),
        first: Sequence(1),
        predecessor_last: Sequence::NONE,
        predecessor_digest: 0,
        covered: crate::Revision::NONE,
        created_at: storage.now(),
        synced: Sequence::NONE,
        context: Context::default(),
    };
    let file = segment::create(storage, dir, &header, fill)?;
    Ok(Opened {
        lock,
        file,
        header,
        tracker: Tracker::default(),
        recovery: Recovery {
            valid_to: Sequence::NONE,
            maybe_lost_from: None,
            torn_bytes: 0,
            torn_file: None,
            created: true,
        },
    })
}

#[allow(clippy::cast_possible_truncation)] // The low half of a random number is a random number.
pub(crate) fn salt(storage: &dyn Storage) -> u64 {
    storage.random() as u64
}

/// A segment in the chain, by its header. Its file is not held open: there may be more segments than a
/// process may have open files.
pub(crate) struct Link {
    path: PathBuf,
    header: SegmentHeader,
}

/// All segments, oldest first, with sound headers and no segment missing between them; and the last
/// one, open.
fn chain(storage: &dyn Storage, listing: &Listing) -> Result<(Vec<Link>, Segment)> {
    let mut chain: Vec<Link> = Vec::with_capacity(listing.segments.len());
    let mut last = None;
    for (first, path) in &listing.segments {
        let before = chain.last();
        let covered = before.map_or(crate::Revision::NONE, |link| link.header.covered);
        let segment = Segment::open(storage, path, *first).map_err(|e| e.after(covered))?;
        if let Some(before) = before {
            directory::link(&before.header, &segment.header, path)?;
        }
        chain.push(Link {
            path: path.clone(),
            header: segment.header.clone(),
        });
        last = Some(segment);
    }
    Ok((chain, last.expect("there is a last segment")))
}

/// History begins with the first record, or with what a checkpoint covers. And no checkpoint covers
/// what the journal does not have: one is made of durable records only, so it is a witness for them.
fn checkpoints_fit(
    storage: &dyn Storage,
    listing: &Listing,
    chain: &[Link],
    end: &LastSegment,
) -> Result<()> {
    let (oldest, last) = match chain {
        [oldest, .., last] => (oldest, last),
        [only] => (only, only),
        [] => return Ok(()),
    };
    let history = History::of(storage, listing, &oldest.header)?;
    if !history.is_complete() && history.checkpoints.usable.is_empty() {
        return Err(history.not_covered(&oldest.path));
    }
    for error in &history.checkpoints.damaged {
        tracing::warn!(%error, "a damaged checkpoint");
    }
    match history.checkpoints.usable.first() {
        Some(witness) if witness.sequence() > end.scan.last() => Err(Error::Corrupt {
            path: last.path.clone(),
            offset: end.scan.offset,
            sequence: end.scan.expected,
            revision: end.tracker.covered,
            detail: format!(
                "the journal ends here; {} proves that sequence {} had been acknowledged",
                witness.path().display(),
                witness.sequence()
            ),
        }),
        _ => Ok(()),
    }
}

fn verify_some(storage: &dyn Storage, chain: &[Link], bytes: u64) -> Result<()> {
    let mut left = bytes;
    for pair in chain.windows(2).rev() {
        if left == 0 {
            break;
        }
        let extent = directory::link(&pair[0].header, &pair[1].header, &pair[1].path)?;
        let segment = Segment::open(storage, &pair[0].path, pair[0].header.first)?;
        directory::verify(&segment, &extent, |_| Ok(()))?;
        left = left.saturating_sub(extent.end);
    }
    Ok(())
}

/// What the last segment was found to be.
pub(crate) struct LastSegment {
    pub(crate) scan: Scan,
    pub(crate) tracker: Tracker,
    pub(crate) tail: Tail,
    /// Whether it ends with the record of an orderly close.
    pub(crate) closed: bool,
    /// Offset of the first record that is not known to be synced.
    pub(crate) unsynced_from: u64,
}

/// The tracker as it was before the segment's first record.
pub(crate) fn tracker_before(header: &SegmentHeader) -> Tracker {
    Tracker {
        covered: header.covered,
        timeline: header.context.timeline.clone(),
        open_gap: header.context.open_gap,
        unhealed: header.context.unhealed,
    }
}

pub(crate) fn read_last(last: &Segment) -> Result<LastSegment> {
    read_last_after(last, tracker_before(&last.header), |_, _, _| {})
}

/// The same, where `tracker` is what is known before it. `visit` sees every record, and what was known.
pub(crate) fn read_last_after(
    last: &Segment,
    mut tracker: Tracker,
    mut visit: impl FnMut(&Tracker, &RawRecord<'_>, &Entry),
) -> Result<LastSegment> {
    let mut scan = last.scan_patiently();
    let mut closed = false;
    let mut unsynced_from = scan.offset;
    let mut synced = scan.synced;
    let stop = loop {
        let (offset, expected) = (scan.offset, scan.expected);
        match scan.step()? {
            Ok(raw) => {
                let entry = payload::decode(raw.header.kind, raw.payload).map_err(|detail| {
                    Error::Corrupt {
                        path: last.file.path.to_path_buf(),
                        offset,
                        sequence: expected,
                        revision: tracker.covered,
                        detail,
                    }
                })?;
                if raw.header.synced > synced {
                    // Exactly the records of the newest group name the newest synced sequence.
                    synced = raw.header.synced;
                    unsynced_from = raw.offset;
                }
                closed = match entry {
                    Entry::Watermark { closed, .. } => closed,
                    // The closing record may have filled the segment.
                    Entry::Seal { .. } => closed,
                    _ => false,
                };
                visit(&tracker, &raw, &entry);
                tracker.apply(raw.header.revision, &entry);
            }
            Err(stop) => break stop,
        }
    };
    let tail = directory::judge(&mut scan, &stop, &last.header, u64::MAX)?;
    // No crash makes a sector unreadable, so this is no torn tail, wherever it is.
    let unreadable = scan.source.unreadable().map(unreadable_detail);
    let corrupt = match &tail {
        Tail::Corrupt { detail, .. } => Some(unreadable.unwrap_or_else(|| detail.clone())),
        _ => unreadable,
    };
    if let Some(detail) = corrupt {
        return Err(Error::Corrupt {
            path: last.file.path.to_path_buf(),
            offset: scan.offset,
            sequence: scan.expected,
            revision: tracker.covered,
            detail,
        });
    }
    Ok(LastSegment {
        scan,
        tracker,
        tail,
        closed,
        unsynced_from,
    })
}

fn torn_name(dir: &Path, last: &Segment, offset: u64, n: u32) -> PathBuf {
    let number = if n == 1 {
        String::new()
    } else {
        format!(".{n}")
    };
    dir.join(format!("{:020}.{offset}{number}.torn", last.header.first.0))
}

/// The torn tail that an interrupted opening has cut here: it kept it, cut it, and came no further. A
/// segment that has records is ended at one offset only once, so the file can be of nothing else.
fn torn_before(
    storage: &dyn Storage,
    dir: &Path,
    last: &Segment,
    offset: u64,
) -> Result<(u64, Option<PathBuf>)> {
    let mut newest = (0, None);
    for n in 1_u32.. {
        let path = torn_name(dir, last, offset, n);
        match Named::open(storage, &path, Access::Read) {
            Ok(file) => newest = (file.len()?, Some(path)),
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => break,
            Err(other) => return Err(other),
        }
    }
    Ok(newest)
}

/// A name for a torn tail, which no *other* torn tail has: an empty last segment keeps its name when it
/// is replaced, so the next tail may be torn at the same offset of a segment of the same name.
fn torn_path(
    storage: &dyn Storage,
    dir: &Path,
    last: &Segment,
    offset: u64,
    bytes: u64,
) -> Result<PathBuf> {
    for n in 1_u32.. {
        let path = torn_name(dir, last, offset, n);
        let there = match Named::open(storage, &path, Access::Read) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(path);
            }
            other => Arc::new(other?),
        };
        // An interrupted recovery has kept this very tail.
        if there.len()? == bytes && same_bytes(&there, 0, &last.file, offset, bytes)? {
            return Ok(path);
        }
    }
    unreachable!("there are more numbers than files")
}

fn same_bytes(
    a: &Arc<Named>,
    from_a: u64,
    b: &Arc<Named>,
    from_b: u64,
    bytes: u64,
) -> Result<bool> {
    let (mut a, mut b) = (Source::window(a.clone()), Source::window(b.clone()));
    let mut done = 0;
    while done < bytes {
        let want = usize::try_from((bytes - done).min(COPY_BYTES as u64)).expect("bounded");
        let (left, right) = (a.get(from_a + done, want)?, b.get(from_b + done, want)?);
        if left != right || left.is_empty() {
            return Ok(false);
        }
        done += left.len() as u64;
    }
    Ok(true)
}

/// Copies the bytes that are going to be cut into a file of their own, durably.
fn keep_torn(
    storage: &dyn Storage,
    dir: &Path,
    last: &Segment,
    offset: u64,
    bytes: u64,
) -> Result<PathBuf> {
    let path = torn_path(storage, dir, last, offset, bytes)?;
    let mut kept = segment::create_temporary(storage, &path)?;
    let mut source = Source::window(last.file.clone());
    let mut done = 0;
    while done < bytes {
        let want = usize::try_from((bytes - done).min(COPY_BYTES as u64)).expect("bounded");
        let chunk = source.get(offset + done, want)?;
        if chunk.is_empty() {
            break;
        }
        kept.write_at(chunk, done)?;
        done += chunk.len() as u64;
    }
    kept.sync_all()?;
    segment::publish(storage, dir, &mut kept, path.clone())?;
    Ok(path)
}

/// Writes the records that are not known to be on disk once more, in place and byte for byte, cuts
/// what is behind them, and syncs: after a failed sync the page cache may hold what the disk does not.
fn settle(storage: &dyn Storage, last: &Segment, end: &LastSegment) -> Result<()> {
    let file = Named::open(storage, &last.file.path, Access::ReadWrite)?;
    let mut source = Source::window(last.file.clone());
    let mut at = end.unsynced_from;
    while at < end.scan.offset {
        let want = usize::try_from((end.scan.offset - at).min(COPY_BYTES as u64)).expect("bounded");
        let chunk = source.get(at, want)?;
        assert!(
            !chunk.is_empty(),
            "these bytes were read a moment ago, under the lock"
        );
        file.write_at(chunk, at)?;
        at += chunk.len() as u64;
    }
    file.set_len(end.scan.offset)?;
    file.sync_all()
}

fn successor(storage: &dyn Storage, last: &Segment, end: &LastSegment) -> SegmentHeader {
    let extent = Extent {
        last: end.scan.last(),
        digest: end.scan.digest.value(),
        end: end.scan.offset,
        seal: end.scan.seal,
    };
    next_header(storage, salt(storage), &last.header, &extent, &end.tracker)
}

/// The header of the segment after `before`, which ends as `extent` says.
pub(crate) fn next_header(
    storage: &dyn Storage,
    salt: u64,
    before: &SegmentHeader,
    extent: &Extent,
    tracker: &Tracker,
) -> SegmentHeader {
    SegmentHeader {
        uuid: before.uuid,
        salt,
        first: extent.last.next(),
        predecessor_last: extent.last,
        predecessor_digest: extent.digest,
        covered: tracker.covered,
        created_at: storage.now(),
        synced: extent.last,
        context: Context {
            timeline: tracker.timeline.clone(),
            open_gap: tracker.open_gap,
            unhealed: tracker.unhealed,
            predecessor_first: before.first,
            predecessor_end: extent.end,
            predecessor_seal: extent.seal,
            predecessor_salt: before.salt,
            repaired: None,
        },
    }
}

fn successor_of_empty(storage: &dyn Storage, empty: &Segment, tracker: &Tracker) -> SegmentHeader {
    SegmentHeader {
        salt: salt(storage),
        created_at: storage.now(),
        covered: tracker.covered,
        context: Context {
            timeline: tracker.timeline.clone(),
            open_gap: tracker.open_gap,
            unhealed: tracker.unhealed,
            repaired: None,
            ..empty.header.context.clone()
        },
        ..empty.header.clone()
    }
}
