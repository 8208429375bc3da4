//! How a record is printed: text, raw text or JSON.

use cairn_journal::{ChangeRef, RecordRef, Revision};

use crate::forms::json;
use crate::forms::text::{write_line, write_revision};

/// How a record is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One change a line, escaped so that it can be read again: [`crate::forms::text`].
    Text,
    /// One change a line as the original Go program prints it: nothing is escaped.
    Raw,
    /// One record a line, with everything it says: [`crate::forms::json`].
    Json,
}

impl Form {
    /// Appends one record; in the text forms, its changes.
    pub fn write(self, out: &mut Vec<u8>, record: &RecordRef<'_>) {
        if self == Self::Json {
            return json::write_record(out, record);
        }
        for change in record.entry.changes() {
            self.write_change(out, record.revision, change);
        }
    }

    /// Appends one change that stands alone. It happened at `revision`, unless it says otherwise.
    pub fn write_change(self, out: &mut Vec<u8>, revision: Revision, change: ChangeRef<'_>) {
        let revision = change.revision.unwrap_or(revision);
        match self {
            Self::Text => write_line(out, revision, change.path, change.value),
            Self::Json => json::write_change(out, revision, change),
            Self::Raw => {
                write_revision(out, revision);
                out.extend_from_slice(change.path);
                if let Some(value) = change.value {
                    out.push(b'=');
                    out.extend_from_slice(value);
                }
                out.push(b'\n');
            }
        }
    }
}
