//! What a name in a journal's directory says.
//!
//! Promise: what [`classify`] calls [`Name::Temporary`] was written by this library and is of no
//! value, so it may be removed; what it does not know is never touched.

use crate::model::ids::{Revision, Sequence};

/// The lock file.
pub(crate) const LOCK: &str = "LOCK";
/// Exists from the moment at which a repair has written a new journal in full: the old files are
/// being moved away.
pub(crate) const REPAIR: &str = "REPAIR";
/// What [`REPAIR`] becomes once they are: the new files are being moved to their places.
pub(crate) const REPAIR_MOVED: &str = "REPAIR-MOVED";
/// The directory in which a repair writes the new journal.
pub(crate) const REPAIRED_DIR: &str = "repaired";
/// The directories with the files that repairs have replaced, with a number behind it.
const DAMAGED: &str = "damaged-";
/// Files that are being written: of no value after a crash.
pub(crate) const TEMPORARY: &str = ".tmp";

/// The file that is made ready to be the next segment. It is one as soon as its header says so, and
/// keeps this name until it is given its own: see
/// [`Listing::give_name`](super::Listing::give_name).
pub(crate) const NEXT: &str = "NEXT";

/// The lock of the one who makes checkpoints or removes what they cover.
pub(crate) const CHECKPOINT: &str = "CHECKPOINT";

/// A sorted part of a checkpoint that is being made, with [`TEMPORARY`] behind it.
const RUN: &str = ".run";

/// The name of the checkpoint at this revision.
pub(crate) fn checkpoint_name(revision: Revision) -> String {
    format!("{:020}.ckpt", revision.0)
}

/// The name of a sorted part of a checkpoint.
pub(crate) fn run_name(number: u64) -> String {
    format!("{number:020}{RUN}")
}

/// The name of the segment that begins with this sequence.
pub(crate) fn segment_name(first: Sequence) -> String {
    format!("{:020}.seg", first.0)
}

/// The name of the directory with the files that the `number`th repair has replaced.
pub(crate) fn damaged_name(number: u64) -> String {
    format!("{DAMAGED}{number}")
}

/// Which of those directories this is.
pub(crate) fn damaged_number(name: &str) -> Option<u64> {
    name.strip_prefix(DAMAGED)?.parse().ok()
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
        || [REPAIR, REPAIR_MOVED, REPAIRED_DIR].contains(&name)
        || damaged_number(name).is_some()
        || name.ends_with(".bad")
        || name.ends_with(".torn")
    {
        return Name::Kept;
    }
    Name::Unknown
}
