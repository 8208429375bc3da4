//! The `dumpjournal` command: arguments, messages and exit codes around [`crate::dump`].

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use cairn_journal::{EndState, Reader};

use crate::dump::{self, DumpError, GapSeen, Summary};
use crate::exit;

/// The command line.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "dumpjournal",
    version,
    about = "Prints a journal as text, one change a line",
    long_about = "Prints a journal as text, one change a line: REV:PATH=BODY for a set, REV:PATH for \
        a delete.\n\n\
        Reading takes no lock and writes nothing, so a journal may be read while its persister runs, \
        when it is damaged, and on a full disk. What is valid is printed before what is wrong is \
        reported.",
    after_long_help = LONG_HELP
)]
pub struct Args {
    /// The journal's directory
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Print no changes; verify everything and tell the result by the exit code
    #[arg(long)]
    pub check: bool,
}

const LONG_HELP: &str = "\
Text form:
  Ordinary text stays as it is. Escaped are backslash (\\\\), newline (\\n), carriage return (\\r),
  and as \\xHH: other control characters, bytes that are not UTF-8, and in a path ':' and '='.
  So the first ':' of a line always ends the revision and the first '=' ends the path.
  Changes found after a gap are printed with the revision they really have, in no particular
  order; gaps themselves are told on standard error.

Examples:
  dumpjournal /var/lib/cairn/1                            everything
  dumpjournal /var/lib/cairn/1 | grep ':/app/db'          the life of one file
  dumpjournal /var/lib/cairn/1 | writejournal copy        a copy, without what was damaged
  dumpjournal --check /var/lib/cairn/1 || echo see above  is it whole?

Exit codes:
  0   whole (without --check: everything was printed; a torn tail is only mentioned)
  1   --check: a torn tail, left by a crash; nothing acknowledged is missing
  2   corrupt: the error names file, offset and revision
  3   --check: whole, but with gaps: revisions that the persister could not see
  4   not readable: no journal there, or the disk failed
  64  wrong command line";

/// Runs the command.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    ExitCode::from(code(args))
}

fn code(args: &Args) -> u8 {
    let reader = match Reader::open(&args.path) {
        Ok(reader) => reader,
        Err(error) => return failed(&error),
    };
    let result = if args.check {
        dump::check(&reader, tell_gap)
    } else {
        dump::dump(&reader, &mut io::stdout().lock(), tell_gap)
    };
    match result {
        Ok(summary) => {
            tell_end(&summary);
            if args.check {
                verdict(&summary)
            } else {
                exit::OK
            }
        }
        Err(error) if error.is_closed_pipe() => exit::OK,
        Err(DumpError::Journal(error)) => failed(&error),
        Err(error) => {
            tell(format_args!("{error}"));
            exit::UNUSABLE
        }
    }
}

fn failed(error: &cairn_journal::Error) -> u8 {
    tell(format_args!("{error}"));
    if error.is_corruption() {
        exit::CORRUPT
    } else {
        exit::UNUSABLE
    }
}

fn verdict(summary: &Summary) -> u8 {
    let gaps = summary.gaps;
    let (code, word) = match &summary.end {
        EndState::TornTail { .. } => (exit::TORN_TAIL, "whole but for its torn tail"),
        _ if gaps > 0 => (exit::GAPS, "whole, with gaps"),
        _ => (exit::OK, "whole"),
    };
    tell(format_args!(
        "{word}: {} records, {} changes, {gaps} gaps",
        summary.records, summary.changes
    ));
    code
}

fn tell_gap(gap: GapSeen) {
    if gap.first <= gap.last {
        let GapSeen {
            first,
            last,
            reason,
        } = gap;
        tell(format_args!(
            "gap: revisions {first} to {last} were not seen one by one ({reason})"
        ));
    }
}

fn tell_end(summary: &Summary) {
    if let EndState::TornTail {
        file,
        offset,
        bytes,
    } = &summary.end
    {
        tell(format_args!(
            "{}: torn tail: {bytes} bytes from offset {offset} on are no record, left by a crash or \
             a write under way; nothing acknowledged is missing",
            file.display()
        ));
    }
}

fn tell(message: std::fmt::Arguments<'_>) {
    // Nothing is left to be done about a closed standard error.
    let _ = writeln!(io::stderr().lock(), "dumpjournal: {message}");
}
