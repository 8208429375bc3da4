//! How segments hang together: each one's header says where the one before it ends, and what it is
//! made of. So a segment that has a successor can be checked to the last byte.

use std::path::Path;

use crate::{
    error::{Error, Result},
    format::{layout::SegmentHeader, names::segment_name},
    model::ids::Revision,
    segment::{
        open::{Extent, Segment},
        scan::{RawRecord, Scan},
        window::unreadable_detail,
    },
};

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
    Ok(Extent {
        last: next.predecessor_last,
        digest: next.predecessor_digest,
        end: c.predecessor_end,
        seal: c.predecessor_seal,
    })
}

fn same_journal(a: &SegmentHeader, b: &SegmentHeader, b_path: &Path) -> Result<()> {
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

/// Walks a whole segment that has a successor. `visit` sees every record. Reads by position: a
/// sector that the disk cannot read is damage like any other.
pub(crate) fn verify(
    segment: &Segment,
    extent: &Extent,
    mut visit: impl FnMut(&RawRecord<'_>) -> Result<(), String>,
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
    // What verifies although it could not be read is zeros; the disk is failing all the same.
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
