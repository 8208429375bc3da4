//! Up to which revision a persister's disk and its mirror of paths are complete.
//!
//! | key | value |
//! |---|---|
//! | watermark | [a revision](parse_revision) |
//! | mirror entry of a path | [a revision](parse_revision) |
//! | progress of the mirror | [`MirrorProgress`] |

use std::fmt;
use std::str::FromStr;

/// Reads the value of a watermark or of a mirror entry: a revision in decimal, not negative. White
/// space around it is passed over, since people write such values by hand and with a line break.
///
/// # Errors
/// [`ParseProgressError`] if a stranger, or a person, wrote something else there.
pub fn parse_revision(value: &[u8]) -> Result<i64, ParseProgressError> {
    let text = std::str::from_utf8(value).map_err(|_| ParseProgressError)?;
    let revision = text.trim().parse().ok().filter(|revision| *revision >= 0);
    revision.ok_or(ParseProgressError)
}

/// How far the mirror of paths of one persister has come. The persister itself resumes from it;
/// clients need not read it.
///
/// The form is `REVISION JOURNAL SEQUENCE`, and ` incomplete` behind it while the mirror is being
/// made for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorProgress {
    /// The newest revision up to which the mirror is complete.
    pub revision: i64,
    /// The UUID of the journal from which it was written.
    pub journal: String,
    /// The record of that journal up to which it was written.
    pub sequence: u64,
    /// Whether the mirror was never complete: an interrupted first making, in which entries may
    /// have been written whose paths were deleted since.
    pub incomplete: bool,
}

/// Stands behind the progress of a mirror that was never complete.
const INCOMPLETE: &str = "incomplete";

impl fmt::Display for MirrorProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.revision, self.journal, self.sequence)?;
        if self.incomplete {
            write!(f, " {INCOMPLETE}")?;
        }
        Ok(())
    }
}

impl FromStr for MirrorProgress {
    type Err = ParseProgressError;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = value.split(' ').collect();
        let (revision, journal, sequence, incomplete) = match words[..] {
            [revision, journal, sequence] => (revision, journal, sequence, false),
            [revision, journal, sequence, INCOMPLETE] => (revision, journal, sequence, true),
            _ => return Err(ParseProgressError),
        };
        Ok(Self {
            revision: revision.parse().map_err(|_| ParseProgressError)?,
            journal: journal.to_owned(),
            sequence: sequence.parse().map_err(|_| ParseProgressError)?,
            incomplete,
        })
    }
}

impl MirrorProgress {
    /// Reads the value of the key.
    ///
    /// # Errors
    /// [`ParseProgressError`] if a stranger, or a person, wrote something else there.
    pub fn parse(value: &[u8]) -> Result<Self, ParseProgressError> {
        std::str::from_utf8(value)
            .map_err(|_| ParseProgressError)?
            .parse()
    }
}

/// The value of a watermark, a mirror entry or a mirror's progress is in no known form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseProgressError;

impl fmt::Display for ParseProgressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither a revision nor `REVISION JOURNAL SEQUENCE [incomplete]`")
    }
}

impl std::error::Error for ParseProgressError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_back() {
        for (incomplete, text) in [(false, "17 j 9"), (true, "17 j 9 incomplete")] {
            let progress = MirrorProgress {
                revision: 17,
                journal: "j".to_owned(),
                sequence: 9,
                incomplete,
            };
            assert_eq!(progress.to_string(), text);
            assert_eq!(MirrorProgress::parse(text.as_bytes()), Ok(progress));
        }
        for garbage in [&b""[..], b"17", b"x y z", b"17 incomplete", b"17 j 9 more"] {
            let parsed = MirrorProgress::parse(garbage);
            assert_eq!(parsed, Err(ParseProgressError), "{garbage:?}");
        }
    }

    #[test]
    fn a_revision_is_decimal() {
        assert_eq!(parse_revision(b"17"), Ok(17));
        assert_eq!(parse_revision(b" 17\n"), Ok(17));
        for garbage in [&b""[..], b"-1", b"17 j 9", b"x", b"\xff"] {
            assert_eq!(parse_revision(garbage), Err(ParseProgressError));
        }
    }
}
