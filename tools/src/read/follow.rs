//! The live tail of a journal: prints its records, then those that are appended, until the output
//! is closed or the end of what is wanted has passed.

use std::io::Write;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::forms::form::Form;
use crate::read::dump::{DumpError, Seen, dump};
use crate::read::filter::Filter;
use crate::read::source::SourceRecords;

/// The longest time from writing a record to printing it: short for people, and reading a directory
/// ten times a second costs nothing measurable.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Prints until the journal's newest record lies behind the filter's end. Returns also when the
/// reader of `out` has gone away, even if nothing is written then, or when the journal cannot be
/// read further.
///
/// Takes an incomplete end for a write under way, and waits for it.
pub fn follow(
    records: &mut SourceRecords,
    form: Form,
    filter: &Filter,
    out: &mut (impl Write + AsFd + Send),
    mut on_seen: impl FnMut(Seen),
) -> Result<(), DumpError> {
    loop {
        // Where revisions began anew, an older record may be beyond the end, and more is wanted.
        let newest = dump(records, form, filter, out, &mut on_seen)?.newest;
        let is_over =
            newest.is_some_and(|(revision, sequence)| filter.is_passed(revision, sequence));
        if is_over || is_closed_within(out, LOOK_EVERY)? {
            return Ok(());
        }
    }
}

/// Waits so long, or until the other end of `out` is closed; returns whether it is.
fn is_closed_within(out: &impl AsFd, wait: Duration) -> Result<bool, DumpError> {
    let mut watched = [PollFd::new(out, PollFlags::empty())];
    let wait = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(wait.subsec_nanos()),
    };
    match poll(&mut watched, Some(&wait)) {
        Ok(_) => Ok(watched[0]
            .revents()
            .intersects(PollFlags::ERR | PollFlags::HUP)),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(DumpError::Output(error.into())),
    }
}
