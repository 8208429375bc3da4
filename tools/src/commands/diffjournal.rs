//! The `diffjournal` command: arguments, messages and exit codes around [`crate::read::diff`].

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use cairn_client::path::Prefix;
use cairn_journal::{Change, Revision};

use crate::commands::exit;
use crate::forms::form::Form;
use crate::read::diff::{Compared, History, Side, changes, states};
use crate::read::dump::DumpError;
use crate::read::filter::Filter;
use crate::read::source::{Source, SourceError};
use crate::read::tree::TreeError;

/// The command line.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "diffjournal",
    version,
    about = "Prints where two journals of the same cluster differ",
    long_about = "Prints where two journals of the same cluster differ. A line that begins with \
        '<' is a change that only A has; one that begins with '>' is a change that only B has. \
        Changes that both have are not printed.\n\nCompares the revisions that both journals saw. \
        Revisions that one of them could not see (before its beginning, after its end, within a \
        gap) are reported on standard error and left out; --state compares their result. Times, \
        and the grouping of changes on disk, are not compared.",
    after_long_help = LONG_HELP
)]
pub struct Args {
    /// A journal's directory, a segment, a snapshot file of etcd, another program's journal, or
    /// with --state a checkpoint
    #[arg(value_name = "A")]
    pub a: PathBuf,
    /// The journal to compare it with
    #[arg(value_name = "B")]
    pub b: PathBuf,
    /// Compare the states at the newest revision that both cover, instead of the changes
    #[arg(long)]
    pub state: bool,
    /// With --state: at this revision
    #[arg(
        long,
        value_name = "REV",
        requires = "state",
        allow_negative_numbers = true
    )]
    pub at_revision: Option<i64>,
    /// Compare only the file PATH and what is below it; with a slash at its end, only what is below
    #[arg(long, value_name = "PATH")]
    pub prefix: Option<String>,
}

const LONG_HELP: &str = "\
Examples:
  diffjournal /var/lib/cairn/1 /mnt/other/cairn/2                do both have the same history?
  diffjournal --state /var/lib/cairn/1 /mnt/other/cairn/2        do both have the same state?
  diffjournal --prefix /app /var/lib/cairn/1 /mnt/other/cairn/2  below /app only

Exit codes:
  0   no difference in what was compared
  1   they differ
  2   one of them is corrupt: the error names file, offset and revision
  3   nothing to compare: no revision that both saw, or two different clusters
  4   one of them is not readable: no journal there, or the disk failed
  64  wrong command line, or a revision that one of them does not have";

/// Runs the command.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    let code = compare(args).unwrap_or_else(|failure| match failure {
        DiffFailure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => exit::DIFFERENT,
        DiffFailure::Output(error) => {
            tell(format_args!("cannot write the output: {error}"));
            exit::UNUSABLE
        }
        DiffFailure::Source(error) => {
            tell(format_args!("{error}"));
            if error.is_corruption() {
                exit::CORRUPT
            } else {
                exit::UNUSABLE
            }
        }
        DiffFailure::Unknown(message) => {
            tell(format_args!("{message}"));
            exit::USAGE
        }
    });
    ExitCode::from(code)
}

enum DiffFailure {
    Source(SourceError),
    Output(io::Error),
    Unknown(String),
}

impl From<SourceError> for DiffFailure {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl From<TreeError> for DiffFailure {
    fn from(error: TreeError) -> Self {
        match error {
            TreeError::Source(error) => Self::Source(error),
            other => Self::Unknown(other.to_string()),
        }
    }
}

impl From<DumpError> for DiffFailure {
    fn from(error: DumpError) -> Self {
        match error {
            DumpError::Source(error) => Self::Source(error),
            DumpError::Output(error) => Self::Output(error),
        }
    }
}

fn compare(args: &Args) -> Result<u8, DiffFailure> {
    let (a, b) = (Source::open(&args.a)?, Source::open(&args.b)?);
    if !args.state && [&a, &b].iter().any(|s| matches!(s, Source::Checkpoint(_))) {
        return Err(DiffFailure::Unknown(
            "a checkpoint is one state and has no history: compare it with --state".to_owned(),
        ));
    }
    let (in_a, in_b) = (History::of(&a)?, History::of(&b)?);
    if !in_a.is_related_to(&in_b) {
        let id = |history: &History| {
            history
                .timeline
                .as_ref()
                .map_or("?".into(), |t| t.id.clone())
        };
        tell(format_args!(
            "nothing to compare: A follows the cluster {}, B follows {}. Give two journals of one \
             cluster",
            id(&in_a),
            id(&in_b)
        ));
        return Ok(exit::NOTHING_IN_COMMON);
    }
    let after = in_a.after.max(in_b.after);
    let newest = in_a.newest.min(in_b.newest);
    tell_span("A", &in_a);
    tell_span("B", &in_b);
    if after >= newest {
        tell(format_args!("nothing to compare: no revision is in both"));
        return Ok(exit::NOTHING_IN_COMMON);
    }
    let filter = Filter {
        prefix: args.prefix.as_deref().map(Prefix::new),
        ..Filter::default()
    };
    let mut out = BufWriter::with_capacity(256 << 10, io::stdout().lock());
    let mut line = Vec::new();
    let mut print = |side, revision: Revision, change: &Change| -> Result<(), DiffFailure> {
        line.clear();
        line.extend_from_slice(match side {
            Side::A => b"< ",
            Side::B => b"> ",
        });
        let change = cairn_journal::ChangeRef::from(change);
        Form::Text.write_change(&mut line, revision, change);
        out.write_all(&line).map_err(DiffFailure::Output)
    };
    let (compared, what) = if args.state {
        let at = args.at_revision.map_or(newest, Revision);
        let compared = states(&a, &b, at, &filter, &mut print)?;
        (compared, format!("files at revision {at}"))
    } else {
        let compared = changes((&a, &in_a), (&b, &in_b), &filter, &mut print)?;
        let what = format!("changes of revisions {} to {newest}", after.next());
        (compared, what)
    };
    out.flush().map_err(DiffFailure::Output)?;
    Ok(verdict(compared, &what))
}

fn verdict(compared: Compared, what: &str) -> u8 {
    let Compared {
        same,
        only_a,
        only_b,
    } = compared;
    tell(format_args!(
        "{what}: {same} in both, {only_a} only in A, {only_b} only in B"
    ));
    if only_a + only_b == 0 {
        exit::OK
    } else {
        exit::DIFFERENT
    }
}

fn tell_span(name: &str, history: &History) {
    tell(format_args!(
        "{name}: revisions {} to {}",
        history.after.next(),
        history.newest
    ));
    for (first, last) in &history.unseen {
        tell(format_args!(
            "{name}: not compared: revisions {first} to {last} were not seen one by one"
        ));
    }
}

fn tell(message: std::fmt::Arguments<'_>) {
    // Nothing is left to be done about a closed standard error.
    let _ = writeln!(io::stderr().lock(), "diffjournal: {message}");
}
