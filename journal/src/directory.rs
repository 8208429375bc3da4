//! The files of a journal: their names, and how segments hang together.
//!
//! Reads only. What is said here of the chain of segments holds for recovery, reading and repair.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    Error, Result, Revision, Sequence,
    layout::{FORMAT_VERSION, HeaderFault, MAGIC, SEGMENT_HEADER_BYTES, SegmentHeader},
    scan::{self, Scan, Stop},
    segment,
    source::{Source, unreadable_detail},
    storage::{Access, Named, Storage},
};

/// The lock file.
pub(crate) const LOCK: &str = "LOCK";
/// Exists while a repair is under way.
pub(crate) const REPAIR: &str = "REPAIR";
/// Files that are being written: of no value after a crash.
pub(crate) const TEMPORARY: &str = ".tmp";

/// The file that is made ready to be the next segment. It is one as soon as its header says so, and
/// keeps this name until it is given its own: see [`Listing::give_name`].
pub(crate) const NEXT: &str = "NEXT";

/// The lock of the one who makes checkpoints or removes what they cover.
pub(crate) const CHECKPOINT: &str = "CHECKPOINT";

/// A sorted part of a checkpoint that is being made, with [`TEMPORARY`] behind it.
pub(crate) const RUN: &str = ".run";

/// The name of the checkpoint at this revision.
pub(crate) fn checkpoint_name(revision: Revision) -> String {
    format!("{:020}.ckpt", revision.0)
}

/// The name of the segment that begins with this sequence.
pub(crate) fn segment_name(first: Sequence) -> String {
    format!("{:020}.seg", first.0)
}

/// What a name in the directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Segment(Sequence),
    Checkpoint(Revision),
    Temporary,
    /// The next segment, or what is to become it.
    Next,
    /// Ours, and not looked at: lock, kept damage, torn tails.
    Kept,
    /// Ends like a segment and is not named like one.
    Misnamed,
    Unknown,
}

pub(crate) fn classify(name: &str) -> Name {
    fn number(digits: &str) -> Option<u64> {
        (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
            .then(|| digits.parse().ok())
            .flatten()
    }
    if let Some(stem) = name.strip_suffix(".seg") {
        return number(stem)
            .filter(|n| *n > 0)
            .map_or(Name::Misnamed, |n| Name::Segment(Sequence(n)));
    }
    if let Some(stem) = name.strip_suffix(".ckpt") {
        return number(stem)
            .and_then(|n| i64::try_from(n).ok())
            .map_or(Name::Misnamed, |n| Name::Checkpoint(Revision(n)));
    }
    if let Some(stem) = name.strip_suffix(TEMPORARY) {
        // Only what this library would write there: a stranger's file is not ours to remove.
        let ours = stem.ends_with(".torn")
            || stem.strip_suffix(RUN).and_then(number).is_some()
            || !matches!(classify(stem), Name::Unknown);
        return if ours { Name::Temporary } else { Name::Unknown };
    }
    if name == NEXT {
        return Name::Next;
    }
    if name == LOCK
        || name == CHECKPOINT
        || name == REPAIR
        || name.ends_with(".bad")
        || name.ends_with(".torn")
    {
        return Name::Kept;
    }
    Name::Unknown
}

/// How often a directory is listed again because names came or went meanwhile. A writer needs several
/// syncs for each.
const LISTINGS: usize = 64;

/// How often a directory is looked at again in which there is nothing but [`NEXT`], not begun: a writer
/// and its retention may both have been faster than the look at it.
const LOOKS_AT_NEXT: usize = 8;

/// The names in a directory, sorted. Not as of one moment: a name that comes while it is listed may be left
/// out, and one that comes after it be there.
fn names(storage: &dyn Storage, dir: &Path) -> Result<Vec<String>> {
    let names = storage.list(dir);
    let mut names = names.map_err(|e| Error::io(dir, "list the directory", e))?;
    names.sort();
    Ok(names)
}

/// What a directory holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    pub(crate) segments: BTreeMap<Sequence, PathBuf>,
    pub(crate) checkpoints: BTreeMap<Revision, PathBuf>,
    pub(crate) temporary: Vec<PathBuf>,
    pub(crate) kept: Vec<String>,
    pub(crate) unknown: Vec<String>,
    /// Which of the segments still has the name [`NEXT`].
    unnamed: Option<Sequence>,
    /// End like a segment or checkpoint and are not named like one.
    pub(crate) misnamed: Vec<PathBuf>,
}

impl Listing {
    pub(crate) fn read(storage: &dyn Storage, dir: &Path) -> Result<Self> {
        let listing = Self::read_damaged(storage, dir)?;
        match listing.misnamed.first() {
            Some(path) => Err(Error::ForeignFile {
                path: path.clone(),
                detail: "it is not named by 20 digits".to_owned(),
            }),
            None => Ok(listing),
        }
    }

    /// The same, of a directory in which names may be wrong.
    ///
    /// As of one moment: the names are the same before and after, and what is called [`NEXT`] is looked
    /// into in between. (Otherwise the file that was listed under that name may have got its own, and the
    /// one that was looked into be its successor: a segment would seem to be missing between the two.)
    pub(crate) fn read_damaged(storage: &dyn Storage, dir: &Path) -> Result<Self> {
        let mut before = names(storage, dir)?;
        let mut looks = 0;
        loop {
            let listing = Self::of(storage, dir, &before)?;
            let after = names(storage, dir)?;
            looks += 1;
            let is_settled = before == after
                && (looks >= LOOKS_AT_NEXT
                    || !listing.segments.is_empty()
                    || !after.iter().any(|name| name == NEXT));
            if is_settled || looks >= LISTINGS {
                return Ok(listing);
            }
            before = after;
        }
    }

    fn of(storage: &dyn Storage, dir: &Path, names: &[String]) -> Result<Self> {
        let mut listing = Self::default();
        let mut next = None;
        for name in names {
            let path = dir.join(name);
            match classify(name) {
                Name::Segment(first) => {
                    listing.segments.insert(first, path);
                }
                Name::Checkpoint(revision) => {
                    listing.checkpoints.insert(revision, path);
                }
                Name::Temporary => listing.temporary.push(path),
                Name::Next => next = Some(path),
                Name::Kept => listing.kept.push(name.clone()),
                Name::Misnamed => listing.misnamed.push(path),
                Name::Unknown => listing.unknown.push(name.clone()),
            }
        }
        if let Some(path) = next {
            listing.look_into_next(storage, dir, path)?;
        }
        Ok(listing)
    }

    /// What is called [`NEXT`] is a segment if it has the header of one. If it has not, nothing in it
    /// was acknowledged: it was never used, or power failed during its first sync.
    fn look_into_next(&mut self, storage: &dyn Storage, dir: &Path, path: PathBuf) -> Result<()> {
        let file = match Named::open(storage, &path, Access::Read) {
            Ok(file) => file,
            // A writer has given it its name in this very moment.
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        match scan::decode_header(&file)?.0 {
            Ok(header) if !self.segments.contains_key(&header.first) => {
                self.unnamed = Some(header.first);
                let named = dir.join(segment_name(header.first));
                self.segments.insert(header.first, named);
            }
            Err(HeaderFault::Format(found)) => {
                return Err(Error::OtherFormat {
                    path,
                    found,
                    supported: FORMAT_VERSION,
                });
            }
            // A crash leaves a header's first sector old or new: zeros, or the magic.
            Err(_) if !begins_like_ours(&file)? => {
                return Err(Error::ForeignFile {
                    path,
                    detail: "it is no segment, nor was it made ready to be one".to_owned(),
                });
            }
            _ => self.temporary.push(path),
        }
        Ok(())
    }

    /// Gives a segment that is still called [`NEXT`] its own name, durably. Its header is written once
    /// more before: nothing but the page cache may have it, if the sync that was to cover it failed.
    pub(crate) fn give_name(&self, storage: &dyn Storage, dir: &Path) -> Result<()> {
        let Some(first) = self.unnamed else {
            return Ok(());
        };
        let mut file = Named::open(storage, &dir.join(NEXT), Access::ReadWrite)?;
        let mut block = vec![0; SEGMENT_HEADER_BYTES];
        let n = file.read_at(&mut block, 0)?;
        file.write_at(&block[..n], 0)?;
        file.sync_all()?;
        segment::publish(storage, dir, &mut file, dir.join(segment_name(first)))
    }

    /// The error for a directory that holds no segment.
    pub(crate) fn not_a_journal(&self, dir: &Path) -> Error {
        let remains = self.kept.iter().any(|n| n != LOCK) || !self.checkpoints.is_empty();
        let detail = if remains {
            "all its segments are missing".to_owned()
        } else if self.unknown.is_empty() {
            "it holds no segment".to_owned()
        } else {
            let mut some = self.unknown.clone();
            some.sort();
            some.truncate(3);
            format!("it holds no segment, but {}", some.join(", "))
        };
        Error::NotAJournal {
            path: dir.to_owned(),
            detail,
        }
    }

    /// Whether a new journal may be begun here: nothing is in the directory that somebody else
    /// put there, and nothing that says that there once was a journal.
    pub(crate) fn is_vacant(&self) -> bool {
        self.segments.is_empty()
            && self.checkpoints.is_empty()
            && self.kept.iter().all(|n| n == LOCK)
            // The root of a file system of its own is a good place for a journal.
            && self.unknown.iter().all(|n| n == "lost+found")
    }

    /// The segment after this one.
    pub(crate) fn after(&self, first: Sequence) -> Option<(Sequence, &PathBuf)> {
        self.segments
            .range(first.next()..)
            .next()
            .map(|(s, p)| (*s, p))
    }
}

/// The same error, naming the file that is there: a segment that is still called [`NEXT`] is spoken of by the name
/// that it is going to have, which nobody finds in the directory.
pub(crate) fn as_found(storage: &dyn Storage, dir: &Path, mut error: Error) -> Error {
    let (Error::Corrupt { path, .. } | Error::OtherFormat { path, .. } | Error::Io { path, .. }) =
        &mut error
    else {
        return error;
    };
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(Name::Segment(first)) = name.map(classify) else {
        return error;
    };
    let next = dir.join(NEXT);
    let is_there = Named::open(storage, path, Access::Read).is_ok();
    let is_next = || {
        let file = Named::open(storage, &next, Access::Read)?;
        scan::read_header(&file, first)
    };
    if !is_there && is_next().is_ok() {
        *path = next;
    }
    error
}

/// Whether a file that is no segment may be what is made ready to be one.
fn begins_like_ours(file: &Named) -> Result<bool> {
    let mut begin = [0; MAGIC.len()];
    file.read_around(&mut begin, 0)?;
    Ok(begin == [0; MAGIC.len()] || begin == *MAGIC)
}

/// A segment whose header is sound.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) file: Arc<Named>,
    pub(crate) header: SegmentHeader,
}

impl Segment {
    pub(crate) fn open(storage: &dyn Storage, path: &Path, first: Sequence) -> Result<Self> {
        match Self::open_named(storage, path, first) {
            // A writer was stopped before it could give it this name, or is about to.
            Err(error) if error.is_not_found() => Self::open_unnamed(storage, path, first)
                // Or has given it the name meanwhile.
                .map_or_else(|| Self::open_named(storage, path, first), Ok),
            other => other,
        }
    }

    fn open_named(storage: &dyn Storage, path: &Path, first: Sequence) -> Result<Self> {
        let file = Arc::new(Named::open(storage, path, Access::Read)?);
        let header = scan::read_header(&file, first)?;
        Ok(Self { file, header })
    }

    /// The file called [`NEXT`], if it is this segment.
    fn open_unnamed(storage: &dyn Storage, path: &Path, first: Sequence) -> Option<Self> {
        let mut file = Named::open(storage, &path.with_file_name(NEXT), Access::Read).ok()?;
        let header = scan::read_header(&file, first).ok()?;
        file.renamed(path.to_owned());
        Some(Self {
            file: Arc::new(file),
            header,
        })
    }

    /// A walk that reads the file as it is at each moment.
    pub(crate) fn scan_live(&self) -> Scan {
        let source = Source::window(self.file.clone());
        Scan::new(self.file.path.clone(), source, &self.header)
    }

    /// The same, going past what the disk cannot read: it counts as zeros, and is noted.
    pub(crate) fn scan_patiently(&self) -> Scan {
        let source = Source::patient(self.file.clone());
        Scan::new(self.file.path.clone(), source, &self.header)
    }

    /// A walk over a segment that has a successor, whose extent is known and final.
    pub(crate) fn scan_whole(&self, extent: &Extent) -> Result<Scan> {
        self.has_length(extent)?;
        let source = Source::mapped(self.file.clone(), extent.end)?;
        Ok(Scan::new(self.file.path.clone(), source, &self.header))
    }

    fn has_length(&self, extent: &Extent) -> Result<()> {
        let length = self.file.len()?;
        if length < extent.end {
            return Err(Error::Corrupt {
                path: self.file.path.to_path_buf(),
                offset: length,
                sequence: extent.last,
                revision: self.header.covered,
                detail: format!(
                    "the file has {length} bytes, its successor says that its records take {}",
                    extent.end
                ),
            });
        }
        Ok(())
    }
}

/// Where a segment that has a successor ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) last: Sequence,
    pub(crate) digest: u32,
    pub(crate) end: u64,
    pub(crate) seal: Option<u64>,
}

/// Checks that `next` is the direct successor of `segment`, and says where `segment` ends.
pub(crate) fn link(
    segment: &SegmentHeader,
    next: &SegmentHeader,
    next_path: &Path,
) -> Result<Extent> {
    same_journal(segment, next, next_path)?;
    let c = &next.context;
    let corrupt = |detail: String| Error::Corrupt {
        path: next_path.to_owned(),
        offset: 0,
        sequence: next.first,
        revision: next.covered,
        detail,
    };
    if next.predecessor_last.next() != next.first {
        return Err(corrupt(format!(
            "the segment begins with sequence {}, its predecessor is said to end with {}",
            next.first, next.predecessor_last
        )));
    }
    if c.predecessor_first != segment.first {
        return Err(corrupt(format!(
            "the segment before it, {}, is missing",
            segment_name(c.predecessor_first)
        )));
    }
    let by_next = Extent {
        last: next.predecessor_last,
        digest: next.predecessor_digest,
        end: c.predecessor_end,
        seal: c.predecessor_seal,
    };
    match segment.context.repaired {
        // The repaired segment takes the place of the one that the successor knew.
        Some(r) if r.stands_for == Some(by_next.digest) && r.last == by_next.last => Ok(Extent {
            last: r.last,
            digest: r.digest,
            end: r.end,
            seal: None,
        }),
        _ => Ok(by_next),
    }
}

pub(crate) fn same_journal(a: &SegmentHeader, b: &SegmentHeader, b_path: &Path) -> Result<()> {
    if a.uuid == b.uuid {
        return Ok(());
    }
    Err(Error::ForeignFile {
        path: b_path.to_owned(),
        detail: format!(
            "it belongs to the journal {}, the segment before it to {}",
            b.uuid, a.uuid
        ),
    })
}

/// Walks a whole segment that has a successor. `visit` sees every record. Reads by position: a sector
/// that the disk cannot read is damage like any other.
pub(crate) fn verify(
    segment: &Segment,
    extent: &Extent,
    mut visit: impl FnMut(&crate::scan::RawRecord<'_>) -> Result<(), String>,
) -> Result<Scan> {
    segment.has_length(extent)?;
    let mut scan = segment.scan_patiently();
    let mut covered = segment.header.covered;
    while scan.last() < extent.last {
        let offset = scan.offset;
        let expected = scan.expected;
        let corrupt = |detail: String| Error::Corrupt {
            path: segment.file.path.to_path_buf(),
            offset,
            sequence: expected,
            revision: covered,
            detail,
        };
        let stop = match scan.step()? {
            Ok(raw) => {
                visit(&raw).map_err(corrupt)?;
                covered = covered.max(raw.header.revision);
                continue;
            }
            Err(stop) => stop,
        };
        let unreadable = scan.source.unreadable();
        return Err(corrupt(
            unreadable.map_or_else(|| stop.detail(), unreadable_detail),
        ));
    }
    check_extent(&scan, extent, covered)?;
    // What verifies although it could not be read is zeros; a reader's mapping would fail there.
    if let Some(offset) = scan.source.unreadable().filter(|at| *at < extent.end) {
        return Err(Error::Corrupt {
            path: segment.file.path.to_path_buf(),
            offset,
            sequence: scan.expected,
            revision: covered,
            detail: unreadable_detail(offset),
        });
    }
    Ok(scan)
}

/// Checks a scan that has come to the last sequence of its segment against what the successor says.
pub(crate) fn check_extent(scan: &Scan, extent: &Extent, covered: Revision) -> Result<()> {
    let detail = if scan.last() != extent.last {
        format!(
            "the successor says that the segment ends with sequence {}",
            extent.last
        )
    } else if scan.offset != extent.end {
        format!(
            "the successor says that the segment's records end at {}",
            extent.end
        )
    } else if scan.digest.value() != extent.digest {
        "the segment's digest is not the one that its successor names: a record was replaced"
            .to_owned()
    } else if extent.seal.is_some() && scan.seal != extent.seal {
        "the segment's seal is not where its successor says".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::Corrupt {
        path: scan.path.to_path_buf(),
        offset: scan.offset,
        sequence: scan.expected,
        revision: covered,
        detail,
    })
}

/// How a stop at the end of a live segment is to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Nothing but zeros, or nothing, after the last record.
    Clean,
    /// So many bytes of something that was never known to be synced.
    Torn(u64),
    /// The record at `proof` was written when the one that is bad here had been synced.
    Corrupt { proof: u64, detail: String },
}

/// Decides between a torn tail and corruption, by the synced sequences of later records.
///
/// Looks at the next `look` bytes only.
pub(crate) fn judge(
    scan: &mut Scan,
    stop: &Stop,
    header: &SegmentHeader,
    look: u64,
) -> Result<Tail> {
    if scan.seal.is_some() {
        // Preallocated zeros may follow a seal; nothing that counts.
        return Ok(Tail::Clean);
    }
    let expected = scan.expected;
    if header.context.repaired.is_some_and(|r| r.last >= expected) {
        return Ok(Tail::Corrupt {
            proof: 0,
            detail: format!(
                "{}; the repair that wrote this segment wrote more",
                stop.detail()
            ),
        });
    }
    if let Some(proof) = scan.proof_of_sync(expected, look)? {
        return Ok(Tail::Corrupt {
            proof,
            detail: format!(
                "{}; the record at offset {proof} proves that it had been acknowledged",
                stop.detail()
            ),
        });
    }
    if *stop == Stop::EndOfFile {
        return Ok(Tail::Clean);
    }
    Ok(match scan.nonzero_bytes(look)? {
        0 => Tail::Clean,
        n => Tail::Torn(n),
    })
}
