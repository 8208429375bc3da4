//! The segments as a whole: that they form one chain (step 2), that the newest sealed history is
//! sound (step 3), and that what there is begins and ends where the checkpoints say.
//!
//! Reads only: what is wrong here is reported before anything is changed.

use std::path::PathBuf;

use crate::{
    checkpoint::history::{History, ends_before},
    directory::listing::Listing,
    error::{Error, Result},
    format::layout::SegmentHeader,
    model::ids::Revision,
    replay::last_segment::LastSegment,
    segment::{chain, open::Segment},
    storage::traits::Storage,
};

/// A segment in the chain, by its header. Its file is not held open: there may be more segments
/// than a process may have open files.
pub(super) struct Link {
    path: PathBuf,
    header: SegmentHeader,
}

/// All segments, oldest first, with sound headers and no segment missing between them; and the last
/// one, open.
pub(super) fn read(storage: &dyn Storage, listing: &Listing) -> Result<(Vec<Link>, Segment)> {
    let mut chain: Vec<Link> = Vec::with_capacity(listing.segments.len());
    let mut last = None;
    for (first, path) in &listing.segments {
        let before = chain.last();
        let covered = before.map_or(Revision::NONE, |link| link.header.covered);
        let segment = Segment::open(storage, path, *first).map_err(|e| e.after(covered))?;
        if let Some(before) = before {
            chain::link(&before.header, &segment.header, path)?;
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
/// what the journal does not have: one is made of durable records only, so it is a witness for
/// them.
pub(super) fn checkpoints_fit(
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
            detail: ends_before(witness),
        }),
        _ => Ok(()),
    }
}

/// Reads the newest segments that have a successor, until so many bytes were read.
pub(super) fn verify_newest(storage: &dyn Storage, chain: &[Link], bytes: u64) -> Result<()> {
    let mut left = bytes;
    for pair in chain.windows(2).rev() {
        if left == 0 {
            break;
        }
        let extent = chain::link(&pair[0].header, &pair[1].header, &pair[1].path)?;
        let segment = Segment::open(storage, &pair[0].path, pair[0].header.first)?;
        chain::verify(&segment, &extent, |_| Ok(()))?;
        left = left.saturating_sub(extent.end);
    }
    Ok(())
}
