//! Opening after whatever happened: verifies, decides between torn tail and corruption, cuts, and
//! starts a new segment.
//!
//! Every step leaves a directory from which opening again ends in the same place, so a crash here
//! is just another crash. Corruption is reported before anything is changed. The steps are numbered
//! as in `docs/format.md`.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::{
    directory::{listing::Listing, lock::enter},
    error::Result,
    format::{context::Context, layout::SegmentHeader},
    model::ids::{Revision, Sequence},
    options::Options,
    recovery::{chain, end::end_segment, leftovers::remove_temporary},
    replay::{last_segment::read_last, tracker::Tracker},
    segment::create,
    storage::{
        file_handle::FileHandle,
        salt::new_salt,
        traits::{Lock, Storage},
        zeros::first_fill,
    },
};

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
    pub(crate) file: FileHandle,
    pub(crate) header: SegmentHeader,
    pub(crate) tracker: Tracker,
    pub(crate) recovery: Recovery,
}

pub(crate) fn open(storage: &dyn Storage, dir: &Path, options: &Options) -> Result<Opened> {
    let fill = if options.preallocate {
        first_fill(options.segment_bytes)
    } else {
        0
    };
    // 1. The directory, and nobody else in it.
    let lock = enter(storage, dir)?;
    let listing = Listing::read(storage, dir)?;

    let Some((&last_first, _)) = listing.segments.last_key_value() else {
        if !listing.is_vacant() {
            return Err(listing.not_a_journal(dir));
        }
        remove_temporary(storage, dir, &listing)?;
        return begin(storage, dir, lock, fill);
    };

    // 2. The headers, and that they form one chain.
    let (chain, last) = chain::read(storage, &listing)?;
    debug_assert_eq!(last.header.first, last_first);
    let last = &last;

    // 3. The newest sealed history, within bounds.
    chain::verify_newest(storage, &chain, options.verify_bytes)?;

    // 4. The last segment, record by record, and what its end is.
    let end = read_last(last)?;
    chain::checkpoints_fit(storage, &listing, &chain, &end)?;

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

fn begin(storage: &dyn Storage, dir: &Path, lock: Box<dyn Lock>, fill: u64) -> Result<Opened> {
    let header = SegmentHeader {
        uuid: Uuid::from_u128(storage.random()),
        salt: new_salt(storage),
        first: Sequence(1),
        predecessor_last: Sequence::NONE,
        predecessor_digest: 0,
        covered: Revision::NONE,
        created_at: storage.now(),
        synced: Sequence::NONE,
        context: Context::default(),
    };
    let file = create::segment(storage, dir, &header, fill)?;
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
