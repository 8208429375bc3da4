//! Text or JSON to journal: every line becomes a change or a record, in order; on return everything
//! is on disk.
//!
//! The inverse of a dump: dumping what was loaded gives the same text.

use std::io::{BufRead, Read};

use cairn_journal::{Journal, Timestamp};

use crate::forms::json;
use crate::forms::text::parse_line;
use crate::write::writer::{Limits, LoadError, Loaded, Place, Writer};

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// A change in the text form.
    Text,
    /// A record in JSON.
    Json,
}

impl Lines {
    /// The longest line that a record which the journal takes can need.
    fn max_bytes(self, limits: Limits) -> usize {
        let (per_byte, frame) = match self {
            // \xHH
            Self::Text => (4, 64),
            // \u00HH; a marker or a change of nothing has some hundred bytes of names, and a
            // record can have one such change for each 64 bytes of payload.
            Self::Json => (6, 4096),
        };
        limits
            .max_payload_bytes
            .saturating_mul(per_byte)
            .saturating_add(frame)
    }
}

/// Reads lines to the end of `input` and stores them; changes without a time are observed `now`.
pub fn load(
    journal: &Journal,
    limits: Limits,
    lines: Lines,
    input: &mut impl BufRead,
    now: Timestamp,
) -> Result<Loaded, LoadError> {
    let mut writer = Writer::new(journal, limits);
    let read = read_lines(&mut writer, lines, lines.max_bytes(limits), input, now);
    // Also after a bad line: everything before it is promised to be on disk.
    let written = writer.finish();
    read.and(written)
}

fn read_lines(
    writer: &mut Writer<'_>,
    lines: Lines,
    limit: usize,
    input: &mut impl BufRead,
    now: Timestamp,
) -> Result<(), LoadError> {
    let mut bytes = Vec::new();
    let mut number = 0;
    loop {
        bytes.clear();
        let taken = (&mut *input)
            .take(limit as u64 + 1)
            .read_until(b'\n', &mut bytes)
            .map_err(|source| LoadError::Input {
                place: Place::Line(number),
                source,
            })?;
        if taken == 0 {
            return Ok(());
        }
        number += 1;
        let place = Place::Line(number);
        let bad = |detail: String| LoadError::Bad { place, detail };
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        } else if bytes.len() > limit {
            return Err(bad(format!(
                "longer than {limit} bytes, the most that a record of this journal can need"
            )));
        }
        if bytes.is_empty() {
            continue;
        }
        match lines {
            Lines::Text => {
                let line = parse_line(&bytes).map_err(|error| bad(error.to_string()))?;
                writer.push(place, line, now)?;
            }
            Lines::Json => {
                let (revision, entry) = json::parse_record(&bytes).map_err(bad)?;
                writer.push_record(place, revision, entry)?;
            }
        }
    }
}
