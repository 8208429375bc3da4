//! The live tail of a journal: prints its records, then those that are appended, until the output
//! is closed.

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

/// Prints without end. Returns when the reader of `out` has gone away, also if nothing is written
/// then, or when the journal cannot be read further.
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
        dump(records, form, filter, out, &mut on_seen)?;
        if is_closed_within(out, LOOK_EVERY)? {
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
