//! Steps 5 to 7: the last segment is ended, and another begun, so that nothing that was ever in the
//! old one's blocks can follow its last record.

use std::path::{Path, PathBuf};

use crate::{
    error::Result,
    format::{context::Context, layout::SegmentHeader},
    recovery::torn,
    replay::{last_segment::LastSegment, tracker::Tracker},
    segment::{
        create,
        ending::Tail,
        open::{Extent, Segment},
        window::Source,
    },
    storage::{
        file_handle::FileHandle,
        salt::new_salt,
        traits::{Access, Storage},
    },
};

/// A last segment that has been given a successor.
pub(crate) struct Ended {
    pub(crate) header: SegmentHeader,
    pub(crate) file: FileHandle,
    pub(super) torn_bytes: u64,
    pub(super) torn_file: Option<PathBuf>,
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
            Some(torn::keep(storage, dir, last, end.scan.offset, bytes)?),
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
            (torn_bytes, torn_file) = torn::before(storage, dir, last, end.scan.offset)?;
        }
        // 7b. A new segment, so that nothing that was ever in the old blocks can follow.
        successor(storage, last, end)
    };
    let file = create::segment(storage, dir, &header, fill)?;
    Ok(Ended {
        header,
        file,
        torn_bytes,
        torn_file,
    })
}

/// Writes the records that are not known to be on disk once more, in place and byte for byte, cuts
/// what is behind them, and syncs: after a failed sync the page cache may hold what the disk does
/// not.
fn settle(storage: &dyn Storage, last: &Segment, end: &LastSegment) -> Result<()> {
    let file = FileHandle::open(storage, &last.file.path, Access::ReadWrite)?;
    let unsynced = end.unsynced_from..end.scan.offset;
    let copied = Source::window(last.file.clone()).copy(unsynced.clone(), &file, unsynced.start)?;
    assert_eq!(
        copied,
        unsynced.end - unsynced.start,
        "these bytes were read a moment ago, under the lock"
    );
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
    next_header(
        storage,
        new_salt(storage),
        &last.header,
        &extent,
        &end.tracker,
    )
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
        },
    }
}

fn successor_of_empty(storage: &dyn Storage, empty: &Segment, tracker: &Tracker) -> SegmentHeader {
    SegmentHeader {
        salt: new_salt(storage),
        created_at: storage.now(),
        covered: tracker.covered,
        context: Context {
            timeline: tracker.timeline.clone(),
            open_gap: tracker.open_gap,
            unhealed: tracker.unhealed,
            ..empty.header.context.clone()
        },
        ..empty.header.clone()
    }
}
