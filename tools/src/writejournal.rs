//! The `writejournal` command: arguments, messages and exit codes around [`crate::load`].

use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cairn_journal::{Journal, Options, Timestamp};

use crate::exit;
use crate::load::{Limits, Loaded, load};

/// The command line.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "writejournal",
    version,
    about = "Makes a journal from the text that dumpjournal prints",
    long_about = "Reads changes from standard input, one a line (REV:PATH=BODY for a set, REV:PATH \
        for a delete, escapes as dumpjournal writes them), and makes a new journal of them. When it \
        exits with 0, everything is on disk.",
    after_long_help = LONG_HELP
)]
pub struct Args {
    /// The directory of the new journal: absent or empty
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

const LONG_HELP: &str = "\
Lines with the same revision, one after another, become one record. A revision lower than one
before it is taken as part of what was found after a gap, and kept. Empty lines are passed over.
Escapes: \\\\ \\n \\r \\t and \\xHH.

Examples:
  dumpjournal old | writejournal new                 copy a journal, leaving damage behind
  dumpjournal old | grep -v ':/tmp/' | writejournal new
  printf '1:/app/db=one\\n2:/app/db\\n' | writejournal new

Exit codes:
  0   everything is on disk
  1   a line could not be read or stored; its number is told, what came before it is on disk
  4   no journal could be made: the directory is not empty, or the disk failed
  64  wrong command line";

/// Runs the command.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    match write(&args.dir) {
        Ok(_) => ExitCode::SUCCESS,
        Err((code, message)) => {
            // Nothing is left to be done about a closed standard error.
            let _ = writeln!(io::stderr().lock(), "writejournal: {message}");
            ExitCode::from(code)
        }
    }
}

fn write(dir: &Path) -> Result<Loaded, (u8, String)> {
    let unusable = |message: String| (exit::UNUSABLE, message);
    require_empty(dir).map_err(unusable)?;
    let options = Options::default();
    let limits = Limits {
        max_payload_bytes: options.max_payload_bytes as usize,
    };
    let (journal, recovery) =
        Journal::open(dir, options).map_err(|error| unusable(error.to_string()))?;
    if !recovery.created {
        return Err(unusable(not_empty(dir)));
    }
    // The standard lock buffers only 8 KiB; lines may be long.
    let mut input = BufReader::with_capacity(256 << 10, io::stdin().lock());
    let loaded = load(&journal, limits, &mut input, Timestamp::now());
    let closed = journal.close();
    let loaded = loaded.map_err(|error| {
        let code = if error.is_bad_text() {
            exit::BAD_LINE
        } else {
            exit::UNUSABLE
        };
        (code, format!("standard input, {error}"))
    })?;
    closed.map_err(|error| unusable(error.to_string()))?;
    Ok(loaded)
}

fn require_empty(dir: &Path) -> Result<(), String> {
    match std::fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(not_empty(dir)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!(
            "{}: cannot look into the directory: {error}",
            dir.display()
        )),
    }
}

fn not_empty(dir: &Path) -> String {
    format!(
        "{}: is not empty, and a journal is only written anew. Nothing was changed. \
         Give a directory that is empty or does not exist",
        dir.display()
    )
}
