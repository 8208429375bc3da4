//! Decides what the new journal holds: one sweep over what is left of the own journal, in the
//! order in which it was written. What is missing between two items is what happened between them;
//! donors are asked for it, and what nobody knows is a loss.
//!
//! # What is lost
//!
//! Every record says what was covered before it and in which timeline, so between two records that
//! are whole exactly the revisions between what the one covers and what was covered before the
//! other are lost: nothing is guessed. A record whose header alone verifies is named by it. If
//! nothing is left that says how far the journal went (the last segment cannot be read), at least
//! one revision is named. Sequences that nothing proves to have been acknowledged, and that left
//! no whole record, are no loss. A *lost* record's revision is what was covered before it. If it
//! is less, a record of a timeline is among what is lost that took revisions back: nothing more is
//! known of that one, not even its name, and all that it counted up to there is unknown.
//!
//! # What comes into a hole
//!
//! It depends only on what is whole around it and on what donors know:
//!
//! * between records of one timeline, the revisions between them; between records of two, the rest
//!   of the first up to where the next begins, a record of each timeline that began in between (by
//!   the chain of parents that records, headers and donors name), and what each of those counted;
//! * what the first donor knows that knows it; each revision in a record of its own; a *lost*
//!   record for what nobody knows;
//! * in a donor's journal every whole record counts by itself: an event, for all revisions from
//!   what was covered before it up to its own. Its snapshot diffs tell no single revision, and do
//!   not count;
//! * what donors know behind the journal's end comes behind it; *lost* records of earlier repairs
//!   are holes like any other as soon as somebody knows more;
//! * records of a timeline of which nobody knows the name keep its tag, so that a later repair
//!   that learns the name still finds them.
//!
//! # Snapshot diffs
//!
//! If everything that a gap stands for is known singly, that is told in its place. Else the own
//! journal's diff stays, if it is whole. A hole of one record at its beginning or its end can only
//! have been its opening or its end, which is put back. A diff is not whole
//!
//! * if a part of it is lost;
//! * if it was to make an earlier loss good and something was given back that it was taken
//!   without: the state that it leads to would keep what was deleted since;
//! * if a timeline begins in it, and something before it was found to be lost.
//!
//! Then what is known singly of its gap is told, the rest is named as lost, and what is left of
//! the diff stands before that loss: it is newer than any of it. A loss that a whole diff has made
//! good stays as it is, unless all that the diff stands for is known. A loss that *this* repair
//! found is not made good by a diff that was in the journal already: the diff was taken when
//! nothing was missing. The loss stays an open gap of reason *damage* until a later diff is taken.
//!
//! # Checkpoints
//!
//! They keep their states, so a loss before one costs no newer state. One that was made while
//! something was lost that is there again is left out; if it is the only one to begin with,
//! nothing before it is given back. If the journal ends before what one covers, the rest is named
//! as lost.

pub(crate) mod decided;
mod diff;
mod end;
mod planner;
pub(crate) mod sweep;
mod turn;
