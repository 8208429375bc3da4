//! The `writejournal` command: arguments, messages and exit codes around [`crate::write::load`] and
//! [`crate::write::import`].

use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cairn_journal::{EndState, Journal, Options, Timestamp};

use crate::commands::exit;
use crate::forms::foreign::file::{DamagedPart, ForeignFile, Format};
use crate::write::import::{ImportError, import};
use crate::write::load::{Lines, load};
use crate::write::writer::Limits;

/// The command line.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "writejournal",
    version,
    about = "Makes a journal from what dumpjournal prints, or from another program's journal",
    long_about = "Makes a new journal from standard input or from another program's journal. \
        Standard input has one change a line (REV:PATH=BODY for a set, REV:PATH for a delete, \
        escapes as dumpjournal writes them), or with --json one record a line. Once it exits with \
        0, everything is on disk.",
    after_long_help = LONG_HELP
)]
pub struct Args {
    /// The directory of the new journal: absent or empty
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Read records in JSON, one a line, as dumpjournal --json prints them
    #[arg(long, conflicts_with = "import")]
    pub json: bool,
    /// Read FILE, a journal of the original Go program or a text log of doozer-journal
    #[arg(long, value_name = "FILE")]
    pub import: Option<PathBuf>,
    /// With --import: the format of FILE [default: its first entry tells]
    #[arg(long, value_enum, requires = "import")]
    pub format: Option<Format>,
    /// With --import: leave out damaged parts, report each, and exit with 3
    #[arg(long, requires = "import")]
    pub skip_damaged: bool,
}

const LONG_HELP: &str = "\
Consecutive lines with the same revision become one record. A change whose revision is lower than
one before it counts as found after a gap, and keeps its revision. Empty lines are ignored.
Escapes: \\\\ \\n \\r \\t and \\xHH. Text and imported files have no times, so the time of writing
is recorded. JSON has times, gaps and timelines; sequences and seals are made anew.

An imported file that ends in the middle of an entry has a torn tail, left by a crash: everything
before it is imported, and the tail is reported. A part that does not verify, with a sound entry
behind it, is damaged: the import ends there and names the offset, unless --skip-damaged is given.

Examples:
  dumpjournal old | writejournal new                 copy a journal, leaving damage behind
  dumpjournal --json old | writejournal --json new   the same with times, gaps and timelines
  dumpjournal old | grep -v ':/tmp/' | writejournal new
  printf '1:/app/db=one\\n2:/app/db\\n' | writejournal new
  writejournal --import /var/lib/doozer/journal new  a journal of the original Go program

Exit codes:
  0   everything is on disk (a torn tail of an imported file is only mentioned)
  1   something could not be read or stored: the error names its line or offset, and everything
      before it is on disk
  3   --skip-damaged: damaged parts were left out and reported; everything else is on disk
  4   no journal could be made: the directory is not empty, or the disk failed
  64  wrong command line";

/// Runs the command.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    match write(args) {
        Ok(code) => ExitCode::from(code),
        Err((code, message)) => {
            tell(format_args!("{message}"));
            ExitCode::from(code)
        }
    }
}

fn write(args: &Args) -> Result<u8, (u8, String)> {
    let unusable = |message: String| (exit::UNUSABLE, message);
    let dir = &args.dir;
    require_empty(dir).map_err(unusable)?;
    // Before a directory is made: a file that is none of these leaves nothing behind.
    let foreign = args
        .import
        .as_deref()
        .map(|path| open_foreign(path, args.format))
        .transpose()?;
    let options = Options::default();
    let limits = Limits {
        max_payload_bytes: options.max_payload_bytes as usize,
    };
    let (journal, recovery) =
        Journal::open(dir, options).map_err(|error| unusable(error.to_string()))?;
    if !recovery.created {
        return Err(unusable(not_empty(dir)));
    }
    let result = match foreign {
        Some(file) => write_foreign(&journal, limits, &file, args.skip_damaged),
        None => write_lines(&journal, limits, args.json),
    };
    let closed = journal.close();
    let code = result?;
    closed.map_err(|error| unusable(error.to_string()))?;
    Ok(code)
}

fn write_lines(journal: &Journal, limits: Limits, json: bool) -> Result<u8, (u8, String)> {
    let lines = if json { Lines::Json } else { Lines::Text };
    // The standard lock buffers only 8 KiB; lines may be long.
    let mut input = BufReader::with_capacity(256 << 10, io::stdin().lock());
    let loaded = load(journal, limits, lines, &mut input, Timestamp::now());
    let loaded = loaded.map_err(|error| {
        let code = bad_or_unusable(error.is_bad_input());
        (code, format!("standard input, {error}"))
    })?;
    if loaded.losses > 0 {
        tell(format_args!(
            "the journal that was read had lost revisions in {} places: they are recorded as gaps",
            loaded.losses
        ));
    }
    Ok(exit::OK)
}

fn write_foreign(
    journal: &Journal,
    limits: Limits,
    file: &ForeignFile,
    skip_damaged: bool,
) -> Result<u8, (u8, String)> {
    let path = file.path().display();
    let on_skip = |part: &DamagedPart| {
        tell(format_args!(
            "{path}: left out: offset {} to {}, after revision {}: {}",
            part.offset, part.end, part.after, part.detail
        ));
    };
    let now = Timestamp::now();
    let imported = import(journal, limits, file, skip_damaged, now, on_skip).map_err(|error| {
        let message = match &error {
            ImportError::Load(error) => format!("{path}: {error}"),
            ImportError::Foreign(error) => error.to_string(),
        };
        (bad_or_unusable(error.is_bad_input()), message)
    })?;
    if let EndState::TornTail { offset, bytes, .. } = imported.end {
        tell(format_args!(
            "{path}: torn tail: the {bytes} bytes from offset {offset} on are no whole entry and \
             were left out; everything before them is on disk"
        ));
    }
    tell(format_args!(
        "{path}: {}: {} changes",
        file.format().name(),
        imported.loaded.changes
    ));
    Ok(if imported.skipped > 0 {
        exit::LEFT_OUT
    } else {
        exit::OK
    })
}

fn open_foreign(path: &Path, format: Option<Format>) -> Result<ForeignFile, (u8, String)> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err((
            exit::BAD_INPUT,
            format!(
                "{}: is a directory, and --import takes a file. Copy a journal of Cairn with \
                 dumpjournal --json | writejournal --json",
                path.display()
            ),
        )),
        Ok(_) => match format {
            Some(format) => Ok(ForeignFile::new(path, format)),
            None => ForeignFile::detect(path).map_err(|error| (exit::BAD_INPUT, error.to_string())),
        },
        Err(error) => Err((
            exit::BAD_INPUT,
            format!("{}: cannot open: {error}", path.display()),
        )),
    }
}

fn bad_or_unusable(is_bad: bool) -> u8 {
    if is_bad {
        exit::BAD_INPUT
    } else {
        exit::UNUSABLE
    }
}

fn require_empty(dir: &Path) -> Result<(), String> {
    match std::fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(not_empty(dir)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!(
            "{}: cannot list the directory: {error}",
            dir.display()
        )),
    }
}

fn not_empty(dir: &Path) -> String {
    format!(
        "{}: is not empty, and writejournal only makes new journals. Nothing was changed. \
         Give a directory that is empty or does not exist",
        dir.display()
    )
}

fn tell(message: std::fmt::Arguments<'_>) {
    // Nothing is left to be done about a closed standard error.
    let _ = writeln!(io::stderr().lock(), "writejournal: {message}");
}
