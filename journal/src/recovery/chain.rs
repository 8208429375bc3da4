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
    replay::last_segment::{LastSegment, read_last},
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
        let after = |error| placed(storage, chain.last(), error);
        let segment = Segment::open(storage, path, *first).map_err(after)?;
        if let Some(before) = chain.last() {
            chain::link(&before.header, &segment.header, path).map_err(after)?;
        }
        chain.push(Link {
            path: path.clone(),
            header: segment.header.clone(),
        });
        last = Some(segment);
    }
    Ok((chain, last.expect("there is a last segment")))
}

/// Adds the newest revision that is sound before the damage, as a reader comes to it: it has read
/// all of the segment before. A header alone tells only what was covered before that.
fn placed(storage: &dyn Storage, before: Option<&Link>, error: Error) -> Error {
    if !error.is_corruption() {
        return error;
    }
    let Some(Link { path, header }) = before else {
        return error.after(Revision::NONE);
    };
    let read = Segment::open(storage, path, header.first).and_then(|segment| read_last(&segment));
    error.after(match read {
        Ok(whole) => whole.tracker.covered,
        Err(Error::Corrupt { revision, .. }) => revision,
        Err(_) => header.covered,
    })
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
