//! The command line of `dumpjournal`.

use std::path::PathBuf;

use cairn_client::path::Prefix;
use cairn_journal::{Revision, Timestamp};

use crate::forms::form::Form;
use crate::read::filter::{Filter, Point};
use crate::read::source::{Source, SourceError};
use crate::read::times::{Bounds, bounds};

/// The command line.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "dumpjournal",
    version,
    about = "Prints a journal as text, one change a line",
    long_about = "Prints a journal as text, one change a line: REV:PATH=BODY for a set, REV:PATH \
        for a delete.\n\nTakes no lock and writes nothing, so it reads a journal whose persister \
        runs, a damaged journal, and one on a full disk. Prints everything that is valid before \
        it reports what is wrong.",
    after_long_help = LONG_HELP
)]
pub struct Args {
    /// A journal's directory, one of its segments or checkpoints, a snapshot file of etcd, a
    /// journal file of the original Go program, or a text log of doozer-journal
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Print records as JSON, one object a line
    #[arg(long)]
    pub json: bool,
    /// Print changes exactly as the original Go program does: escape nothing
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
    /// Print the persister's own writes to the control area of a cluster, too, where a journal has
    /// any
    #[arg(long)]
    pub control: bool,
    /// Print where each record lies: offset, sequences, revision, sizes, checksums
    #[arg(long, conflicts_with = "raw")]
    pub headers: bool,
    /// Print the state at the end, or at another point: all files, by path
    #[arg(long, conflicts_with_all = ["headers", "from", "to"])]
    pub state: bool,
    /// With --state: at this revision
    #[arg(
        long,
        value_name = "REV",
        requires = "state",
        allow_negative_numbers = true
    )]
    pub at_revision: Option<i64>,
    /// With --state: at this time (see Times below)
    #[arg(
        long,
        value_name = "TIME",
        requires = "state",
        conflicts_with = "at_revision"
    )]
    pub at_time: Option<Timestamp>,
    /// Print counts, sizes, spans, and the paths that change most
    #[arg(long, conflicts_with_all = ["headers", "state", "raw"])]
    pub stats: bool,
    /// With --stats: print this many paths
    #[arg(long, value_name = "N", default_value_t = 10, requires = "stats")]
    pub top: usize,
    /// Print no changes; verify everything, and tell the result by the exit code
    #[arg(
        long,
        conflicts_with_all = ["json", "raw", "headers", "state", "stats", "from", "to", "prefix"]
    )]
    pub check: bool,
    /// At the end, wait for more records and print them, until the output is closed, or
    /// a revision after --to is there
    #[arg(long, conflicts_with_all = ["headers", "state", "stats", "check"])]
    pub follow: bool,
    /// Begin here: a revision, or a time (see Times below)
    #[arg(long, value_name = "REV|TIME", allow_negative_numbers = true)]
    pub from: Option<Point>,
    /// End here: a revision, or a time
    #[arg(long, value_name = "REV|TIME", allow_negative_numbers = true)]
    pub to: Option<Point>,
    /// Print only the file PATH and what is below it; with a slash at its end, only what is below
    #[arg(long, value_name = "PATH")]
    pub prefix: Option<String>,
}

const LONG_HELP: &str = "\
Text form:
  Ordinary text stays as it is. Escaped are backslash (\\\\), newline (\\n), carriage return (\\r),
  and as \\xHH: other control characters, bytes that are not UTF-8, and in a path ':' and '='.
  So the first ':' of a line ends the revision, and the first '=' ends the path.
  A gap is reported on standard error. The changes that closed it follow with the revisions that
  they really have, in no particular order.

JSON form:
  Each record is an object: revision, type, and the fields of the type. Gaps, timelines and
  watermarks are records too. A path or value that is UTF-8 is text in \"path\" or \"value\"; any
  other is in \"path_base64\" or \"value_base64\". What an engine knows of a key besides its value
  is in \"attributes_base64\". Times are Unix milliseconds.

Checkpoints:
  A checkpoint is the state at one revision. Its file is printed as --state prints it, and takes
  --headers (its blocks), --stats and --check. Where retention has removed old segments, history
  begins later, and standard error says where; --state then begins with a checkpoint. If retention
  removes records before they are read, the rest is printed, and standard error names what is
  missing.

Snapshots of etcd:
  What etcdctl snapshot save makes. It tells the state at its compacted revision, as a gap, and
  every revision after it. Its sha256 is verified first. It has no times.

Selection:
  --from and --to are inclusive, and select by the revision that is printed. Where a cluster was
  replaced and revisions began anew, --from REV means the newest cluster that reached REV.

Times:
  2026-01-31T10:00:00Z, 2026-01-31 11:00:00.250+01:00, 2026-01-31 (UTC where no offset is given),
  @1769853600 (Unix seconds), '10 minutes ago', now. A time that is still to come is refused.
  --from, --to and --at-time take a time for the place in history that the fewest records contradict
  by their own times, so one moment of a wrong clock moves nothing else. Where a record contradicts
  it, standard error says which revisions or records it may have been.

Examples:
  dumpjournal /var/lib/cairn/1                            everything
  dumpjournal /var/lib/cairn/1 --prefix /app/db           the history of one file
  dumpjournal /var/lib/cairn/1 --from '10 minutes ago'    what just happened
  dumpjournal /var/lib/cairn/1 --follow | grep /app       what is happening
  dumpjournal /var/lib/cairn/1 --state --at-revision 900  the state as it was then
  dumpjournal /var/lib/cairn/1 --stats --top 20           what changes most
  dumpjournal /var/lib/cairn/1 | writejournal copy        a copy, without what was damaged
  dumpjournal --check /var/lib/cairn/1 || echo see above  is this journal whole?
  dumpjournal --check /var/lib/cairn/1/*900.ckpt          is this checkpoint whole?

Exit codes:
  0   whole (without --check: everything was printed; a torn tail is only mentioned)
  1   --check: whole but for a torn tail: a write that a crash cut off (if the disk has damaged the
      newest write, that looks the same)
  2   corrupt: the error names file, offset and revision; everything valid before it was printed
  3   --check: whole, but with gaps: revisions that the persister could not see (and perhaps a
      torn tail as well)
  4   not readable: no journal at PATH, or the disk failed
  64  wrong command line, or a point in history that the journal does not have (any more)";

impl Args {
    /// The form in which records are printed.
    #[must_use]
    pub fn form(&self) -> Form {
        match (self.json, self.raw) {
            (true, _) => Form::Json,
            (_, true) => Form::Raw,
            _ => Form::Text,
        }
    }

    /// The part of the journal that is printed. `tell` is told what is in doubt about times.
    ///
    /// # Errors
    /// The journal cannot be read, for a time.
    pub fn filter(&self, source: &Source, tell: impl FnMut(String)) -> Result<Filter, SourceError> {
        let Bounds { from, to, doubts } = bounds(source, self.from, self.to)?;
        doubts.into_iter().for_each(tell);
        Ok(Filter {
            from,
            to,
            prefix: self.prefix.as_deref().map(Prefix::new),
        })
    }

    fn needs_times(&self) -> bool {
        let points = [self.from, self.to].into_iter().flatten();
        self.at_time.is_some() || points.filter_map(Point::time).next().is_some()
    }

    /// Why a time cannot be meant; `None`: all have been.
    #[must_use]
    pub fn in_the_future(&self) -> Option<String> {
        let point = |point: Option<Point>| point.and_then(Point::time);
        let times = [
            ("--from", point(self.from)),
            ("--to", point(self.to)),
            ("--at-time", self.at_time),
        ];
        times.into_iter().find_map(|(option, time)| {
            let wrong = time?.that_has_been().err()?;
            Some(format!(
                "{option} {wrong}. For the newest records leave it out"
            ))
        })
    }

    /// The point at which the state is printed.
    #[must_use]
    pub fn at(&self) -> Option<Point> {
        let revision = self.at_revision.map(|at| Point::Revision(Revision(at)));
        revision.or(self.at_time.map(Point::Time))
    }

    /// Why the options do not fit the source; `None`: they fit.
    #[must_use]
    pub fn misfit(&self, source: &Source) -> Option<String> {
        let path = self.path.display();
        match source {
            Source::Journal(_) => None,
            Source::Checkpoint(_) if self.needs_times() => Some(format!(
                "{path}: a checkpoint has no times of its keys: give revisions, or the \
                     journal's directory"
            )),
            _ if self.follow => Some(format!(
                "{path}: --follow needs a journal's directory: the tail moves on to new segments"
            )),
            Source::Snapshot(_) if self.needs_times() => Some(format!(
                "{path}: a snapshot of etcd has no times: give revisions"
            )),
            Source::Foreign(file) if self.needs_times() => Some(format!(
                "{path}: a {} has no times: give revisions",
                file.format().name()
            )),
            _ => None,
        }
    }
}
