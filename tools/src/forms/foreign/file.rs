//! Journals that other programs wrote, read as changes with the place where each stands.
//!
//! Reads a file as it was when it was opened, in memory that does not grow with it. An incomplete
//! end is a torn tail: these programs append without a sync that could be proved. An invalid part
//! with a sound entry behind it is damage: it is named by its offset, and left out only on request.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_journal::{EndState, Revision};

use crate::forms::foreign::blocks;
use crate::forms::foreign::entry::{Fault, ForeignEntry};
use crate::forms::foreign::text_log;
use crate::forms::foreign::window::Window;

/// Which program wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// The original Go program: SHA-1, length, `REV:PATH=BODY`.
    Blocks,
    /// SoundCloud's doozer-journal: eight digits of length, `REV|set|PATH|VALUE`.
    TextLog,
}

impl Format {
    /// The name that messages use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocks => "journal of the original Go program",
            Self::TextLog => "text log of doozer-journal",
        }
    }
}

/// Why a journal of another program cannot be read further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignError {
    /// Neither of the formats, as far as the beginning of the file tells.
    #[error(
        "{path}: no journal of a known format: offset 0 begins neither a segment, nor a block of \
         the original Go program ({blocks}), nor an entry of doozer-journal's text log \
         ({text_log}). If only its beginning is damaged, writejournal reads the rest with \
         --format and --skip-damaged",
        path = path.display()
    )]
    Unknown {
        /// The file.
        path: PathBuf,
        /// Why it is not the one.
        blocks: String,
        /// Why it is not the other.
        text_log: String,
    },
    /// Something is wrong, and sound entries follow.
    #[error(
        "{path}: damaged at offset {offset}, after revision {after}: {detail}{resumes}",
        path = path.display(), resumes = Resumes(*next)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the bad entry begins.
        offset: u64,
        /// The revision of the last good entry before it.
        after: Revision,
        /// What is wrong.
        detail: String,
        /// Where the next sound entry begins.
        next: Option<u64>,
    },
    /// The operating system refused.
    #[error("{path}: cannot read: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
}

struct Resumes(Option<u64>);

impl std::fmt::Display for Resumes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(next) => write!(f, "; the next sound entry begins at offset {next}"),
            None => f.write_str("; no sound entry follows"),
        }
    }
}

/// A damaged part of the file that was left out on request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedPart {
    /// Where it begins.
    pub offset: u64,
    /// Where the next sound entry begins, or the file ends.
    pub end: u64,
    /// The revision of the last good entry before it.
    pub after: Revision,
    /// What is wrong there.
    pub detail: String,
}

/// One file of another program.
#[derive(Clone, Debug)]
pub struct ForeignFile {
    path: Arc<PathBuf>,
    format: Format,
}

impl ForeignFile {
    /// Opens a file whose format is known.
    #[must_use]
    pub fn new(path: &Path, format: Format) -> Self {
        Self {
            path: Arc::new(path.to_owned()),
            format,
        }
    }

    /// Opens a file, and detects the format from its first entry. An empty file is an empty
    /// journal.
    pub fn detect(path: &Path) -> Result<Self, ForeignError> {
        let failed = |source| ForeignError::Io {
            path: path.to_owned(),
            source,
        };
        let mut window = Window::open(path).map_err(failed)?;
        if window.len() == 0 {
            return Ok(Self::new(path, Format::Blocks));
        }
        let mut why = Vec::new();
        for format in [Format::Blocks, Format::TextLog] {
            match parse(format, &mut window, 0).map_err(failed)? {
                Ok(_) => return Ok(Self::new(path, format)),
                Err(fault) => why.push(fault.detail),
            }
        }
        let text_log = why.pop().unwrap_or_default();
        let blocks = why.pop().unwrap_or_default();
        Err(ForeignError::Unknown {
            path: path.to_owned(),
            blocks,
            text_log,
        })
    }

    /// Which format it has.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Arc<PathBuf> {
        &self.path
    }

    /// Its entries, in the order of the file. `skip_damaged`: leave damaged parts out and note
    /// them, instead of ending at the first.
    pub fn entries(&self, skip_damaged: bool) -> Result<ForeignEntries, ForeignError> {
        let window = Window::open(&self.path).map_err(|source| ForeignError::Io {
            path: self.path.to_path_buf(),
            source,
        })?;
        Ok(ForeignEntries {
            path: self.path.clone(),
            format: self.format,
            window,
            offset: 0,
            after: Revision::NONE,
            skip_damaged,
            skipped: Vec::new(),
            end: EndState::Clean,
            ended: false,
        })
    }
}

/// Iterates over the entries of a file. After an error there is nothing more.
#[derive(Debug)]
pub struct ForeignEntries {
    path: Arc<PathBuf>,
    format: Format,
    window: Window,
    offset: u64,
    after: Revision,
    skip_damaged: bool,
    skipped: Vec<DamagedPart>,
    end: EndState,
    ended: bool,
}

impl ForeignEntries {
    /// The end of the file: what follows the last entry, once the iteration has ended.
    #[must_use]
    pub fn end_state(&self) -> EndState {
        self.end.clone()
    }

    /// Damaged parts that were left out since the last call.
    pub fn take_skipped(&mut self) -> Vec<DamagedPart> {
        std::mem::take(&mut self.skipped)
    }

    fn advance(&mut self) -> Result<Option<ForeignEntry>, ForeignError> {
        self.step().map_err(|failure| match failure {
            Stop::Io(source) => ForeignError::Io {
                path: self.path.to_path_buf(),
                source,
            },
            Stop::Damaged(fault, next) => ForeignError::Damaged {
                path: self.path.to_path_buf(),
                offset: self.offset,
                after: self.after,
                detail: fault.detail,
                next,
            },
        })
    }

    fn step(&mut self) -> Result<Option<ForeignEntry>, Stop> {
        loop {
            if self.offset >= self.window.len() {
                return Ok(None);
            }
            let fault = match parse(self.format, &mut self.window, self.offset)? {
                Ok(entry) => {
                    self.offset += entry.length;
                    self.after = entry.line.revision;
                    return Ok(Some(entry));
                }
                Err(fault) => fault,
            };
            let next = self.find_from(self.offset + 1)?;
            if next.is_none() && !fault.complete {
                self.end = EndState::TornTail {
                    file: self.path.to_path_buf(),
                    offset: self.offset,
                    bytes: self.window.len() - self.offset,
                };
                return Ok(None);
            }
            if !self.skip_damaged {
                return Err(Stop::Damaged(fault, next));
            }
            let end = next.unwrap_or(self.window.len());
            self.skipped.push(DamagedPart {
                offset: self.offset,
                end,
                after: self.after,
                detail: fault.detail,
            });
            self.offset = end;
        }
    }

    /// Where the next sound entry begins, looking at every offset.
    fn find_from(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        while at < self.window.len() {
            let candidate = match self.format {
                Format::Blocks => blocks::candidate(&mut self.window, at)?,
                Format::TextLog => text_log::candidate(&mut self.window, at)?,
            };
            let Some(candidate) = candidate else {
                return Ok(None);
            };
            if parse(self.format, &mut self.window, candidate)?.is_ok() {
                return Ok(Some(candidate));
            }
            at = candidate + 1;
        }
        Ok(None)
    }
}

enum Stop {
    Io(io::Error),
    Damaged(Fault, Option<u64>),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Iterator for ForeignEntries {
    type Item = Result<ForeignEntry, ForeignError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.advance();
        self.ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

fn parse(
    format: Format,
    window: &mut Window,
    offset: u64,
) -> io::Result<Result<ForeignEntry, Fault>> {
    match format {
        Format::Blocks => blocks::parse(window, offset),
        Format::TextLog => text_log::parse(window, offset),
    }
}
