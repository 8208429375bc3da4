//! The `dumpjournal` command: messages and exit codes around [`crate::read::dump`] and its
//! siblings.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;

use cairn_journal::{Checkpoint, EndState, Error, Reader};
use serde::Serialize;

use crate::commands::dumpjournal::args::Args;
use crate::commands::exit;
use crate::forms::json;
use crate::read::checkpoint;
use crate::read::dump::{self, DumpError, GapSeen, Item, Seen, Summary};
use crate::read::filter::Filter;
use crate::read::follow::follow;
use crate::read::headers::headers;
use crate::read::source::{Skipped, Source, SourceError};
use crate::read::stats::Counter;
use crate::read::tree::{TreeError, require_point, tree, write_tree};

/// Runs the command.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    ExitCode::from(code(args))
}

/// The command ends with another code than 0.
enum DumpFailure {
    Dump(DumpError),
    Tree(TreeError),
}

impl From<DumpError> for DumpFailure {
    fn from(error: DumpError) -> Self {
        Self::Dump(error)
    }
}

impl From<SourceError> for DumpFailure {
    fn from(error: SourceError) -> Self {
        Self::Dump(error.into())
    }
}

impl From<TreeError> for DumpFailure {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

fn code(args: &Args) -> u8 {
    match look(args) {
        Ok(code) => code,
        Err(DumpFailure::Dump(error)) if error.is_closed_pipe() => exit::OK,
        Err(
            DumpFailure::Dump(DumpError::Source(error))
            | DumpFailure::Tree(TreeError::Source(error)),
        ) => failed(&error),
        Err(DumpFailure::Dump(error)) => {
            tell(format_args!("{error}"));
            exit::UNUSABLE
        }
        Err(DumpFailure::Tree(error)) => {
            tell(format_args!("{error}"));
            exit::USAGE
        }
    }
}

fn look(args: &Args) -> Result<u8, DumpFailure> {
    let source = Source::open(&args.path)?;
    let source = match args.control {
        true => source.with_control(),
        false => source,
    };
    if let Some(wrong) = args.in_the_future().or_else(|| args.misfit(&source)) {
        tell(format_args!("{wrong}"));
        return Ok(exit::USAGE);
    }
    let filter = args.filter(&source, tell_doubt)?;
    let form = args.form();
    if let Source::Checkpoint(checkpoint) = &source {
        return look_at_checkpoint(args, checkpoint, &filter);
    }
    if let Source::Journal(reader) = &source
        && !args.state
    {
        tell_beginning(reader);
    }
    if args.headers {
        return list_headers(args, &source, &filter);
    }
    if args.state {
        let state = tree(&source, args.at(), tell_doubt)?;
        write_tree(&state, form, &filter, &mut buffered_stdout())?;
        return Ok(exit::OK);
    }
    if args.stats {
        return count(args, &source, &filter);
    }
    let mut records = source.records(filter.begin())?;
    if args.check {
        let summary = dump::check(&mut records, tell_seen)?;
        tell_end(&summary.end);
        return verdict(&source, &summary);
    }
    let mut out = unbuffered_stdout().map_err(DumpError::Output)?;
    if args.follow {
        follow(&mut records, form, &filter, &mut out, tell_seen)?;
        return Ok(exit::OK);
    }
    let summary = dump::dump(&mut records, form, &filter, &mut out, tell_seen)?;
    tell_end(&summary.end);
    Ok(exit::OK)
}

/// Prints the counts up to the damage before it reports the damage.
fn count(args: &Args, source: &Source, filter: &Filter) -> Result<u8, DumpFailure> {
    let mut records = source.records(filter.begin())?;
    let mut counter = Counter::of(source)?;
    let read = dump::read(&mut records, |item| {
        match item {
            Item::Record(record) => {
                if let Some(record) = filter.apply(record) {
                    counter.add(&record, filter)?;
                }
            }
            // Gaps are counted.
            Item::Seen(seen @ Seen::Skipped(_)) => tell_seen(seen),
            Item::Seen(Seen::Gap(_)) => {}
        }
        Ok(())
    });
    let stats = counter.finish(&records.end_state(), filter, args.top)?;
    print_stats(args, &stats)?;
    read?;
    Ok(exit::OK)
}

fn look_at_checkpoint(
    args: &Args,
    checkpoint: &Checkpoint,
    filter: &Filter,
) -> Result<u8, DumpFailure> {
    require_point(checkpoint, args.at())?;
    if args.check {
        checkpoint.verify().map_err(SourceError::from)?;
        tell(format_args!(
            "whole: the state at revision {}, {} keys",
            checkpoint.revision(),
            checkpoint.len()
        ));
        return Ok(exit::OK);
    }
    if args.stats {
        print_stats(args, &checkpoint::stats(checkpoint, filter, args.top)?)?;
        return Ok(exit::OK);
    }
    let mut out = unbuffered_stdout().map_err(DumpError::Output)?;
    if args.headers {
        let mut out = BufWriter::with_capacity(256 << 10, out);
        checkpoint::headers(checkpoint, args.json, filter, &mut out)?;
    } else {
        checkpoint::write_state(checkpoint, args.form(), filter, &mut out)?;
    }
    Ok(exit::OK)
}

fn print_stats(args: &Args, stats: &(impl Serialize + ToString)) -> Result<(), DumpError> {
    let mut text = Vec::new();
    if args.json {
        json::write_object(&mut text, stats);
    } else {
        text.extend_from_slice(stats.to_string().as_bytes());
    }
    let mut out = io::stdout().lock();
    let written = out.write_all(&text).and_then(|()| out.flush());
    written.map_err(DumpError::Output)
}

fn buffered_stdout() -> BufWriter<io::StdoutLock<'static>> {
    BufWriter::with_capacity(256 << 10, io::stdout().lock())
}

/// Standard output without a buffer of its own: what is written is large already, and the standard
/// handle looks for newlines in it, to flush there.
fn unbuffered_stdout() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

fn list_headers(args: &Args, source: &Source, filter: &Filter) -> Result<u8, DumpFailure> {
    let mut code = exit::OK;
    let end = headers(source, args.json, filter, &mut buffered_stdout(), |error| {
        code = failed(error);
    })?;
    tell_end(&end);
    Ok(code)
}

fn failed(error: &SourceError) -> u8 {
    if let SourceError::Journal(Error::NotInHistory { .. }) = error {
        tell(format_args!(
            "{error}. Without --from, everything that is there is printed"
        ));
        return exit::USAGE;
    }
    tell(format_args!("{error}"));
    if error.is_corruption() {
        exit::CORRUPT
    } else {
        exit::UNUSABLE
    }
}

/// What a check says of records that could be read to the end.
fn verdict(source: &Source, summary: &Summary) -> Result<u8, DumpFailure> {
    let mut is_torn = matches!(summary.end, EndState::TornTail { .. });
    let counts = format!(
        "{} records, {} changes, {} gaps",
        summary.records, summary.changes, summary.gaps
    );
    if let Source::Journal(reader) = source {
        let damaged = reader.verify_checkpoints().map_err(SourceError::from)?;
        if !damaged.is_empty() {
            for error in &damaged {
                tell(format_args!("{error}"));
            }
            tell(format_args!(
                "damaged: {} checkpoints. The records that are there are whole: {counts}. State \
                 and history can be told without these checkpoints",
                damaged.len()
            ));
            return Ok(exit::CORRUPT);
        }
        if let Some((file, bytes)) = reader.headless_segment().map_err(SourceError::from)? {
            is_torn = true;
            tell_torn(&file, 0, bytes);
        }
    }
    if let Source::Snapshot(snapshot) = source {
        let window = snapshot.window();
        tell(format_args!(
            "whole: a snapshot of etcd, with the state at revision {} and the history to {}",
            window.compacted, window.revision
        ));
        return Ok(exit::OK);
    }
    if matches!(source, Source::Foreign(_)) && summary.records == 0 && !is_torn {
        tell(format_args!(
            "an empty file: a journal of the original Go program is one before its first change, \
             and so is a file that lost everything"
        ));
        return Ok(exit::OK);
    }
    // A gap is history that is missing, a torn tail hardly ever is: the worse of the two decides.
    let (code, word) = match (summary.gaps > 0, is_torn) {
        (true, true) => (exit::GAPS, "whole but for its torn tail, with gaps"),
        (true, false) => (exit::GAPS, "whole, with gaps"),
        (false, true) => (exit::TORN_TAIL, "whole but for its torn tail"),
        (false, false) => (exit::OK, "whole"),
    };
    tell(format_args!("{word}: {counts}"));
    Ok(code)
}

/// Reports where history begins, if retention has shortened it.
fn tell_beginning(reader: &Reader) {
    // Damage is told where it is met.
    let (Ok(beginning), Ok(checkpoints)) = (reader.beginning(), reader.checkpoints()) else {
        return;
    };
    if let Some(oldest) = checkpoints.usable.last()
        && beginning.is_retired()
    {
        tell(format_args!(
            "history begins after revision {}, with sequence {}: retention has removed older \
             records. Their result is in the state, which can be told from revision {} on \
             (--state --at-revision)",
            beginning.covered,
            beginning.sequence,
            oldest.revision()
        ));
    }
}

fn tell_seen(seen: Seen) {
    match seen {
        Seen::Gap(GapSeen {
            first,
            last,
            reason,
        }) => {
            if first <= last {
                tell(format_args!(
                    "gap: revisions {first} to {last} were not seen one by one ({reason})"
                ));
            }
        }
        Seen::Skipped(Skipped { first, next }) => tell(format_args!(
            "retention was faster: it removed sequences {first} to {} before they could be read. \
             Their result is in the state (--state)",
            next.previous()
        )),
    }
}

fn tell_doubt(doubt: String) {
    tell(format_args!("{doubt}"));
}

fn tell_end(end: &EndState) {
    if let EndState::TornTail {
        file,
        offset,
        bytes,
    } = end
    {
        tell_torn(file, *offset, *bytes);
    }
}

/// The newest group of records has no witness: nobody can tell a write that was cut off from one
/// that was acknowledged and damaged since.
fn tell_torn(file: &Path, offset: u64, bytes: u64) {
    tell(format_args!(
        "{}: torn tail: {bytes} bytes from offset {offset} on are no whole record: a write that a \
         crash cut off, which nobody was told is durable, or one that is under way. Should the \
         disk have damaged the newest write after it was acknowledged, it would look the same",
        file.display()
    ));
}

fn tell(message: std::fmt::Arguments<'_>) {
    // Nothing is left to be done about a closed standard error.
    let _ = writeln!(io::stderr().lock(), "dumpjournal: {message}");
}
