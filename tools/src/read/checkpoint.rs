//! One checkpoint file: the state that it holds, where its blocks lie, and its numbers.
//!
//! Everything streams: one block of the checkpoint is in memory at a time. A block is printed only
//! after it has verified.

use std::fmt;
use std::io::Write;

use cairn_journal::{
    Checkpoint, State, Timestamp,
    inspect::{CheckpointFacts, StoredBlock},
};
use serde::Serialize;

use crate::forms::form::Form;
use crate::forms::json::{write_lease, write_object};
use crate::forms::text::escaped_path;
use crate::read::background::BackgroundWriter;
use crate::read::dump::DumpError;
use crate::read::filter::Filter;
use crate::read::ranking::{Ranking, write_rows};
use crate::read::source::SourceError;

/// Prints the keys of the state that `filter` wants, in the order of their paths.
pub fn write_state(
    checkpoint: &Checkpoint,
    form: Form,
    filter: &Filter,
    out: &mut (impl Write + Send),
) -> Result<(), DumpError> {
    std::thread::scope(|scope| {
        let mut out = BackgroundWriter::new(scope, out);
        if form == Form::Json && filter.prefix.is_none() {
            for (id, granted_ttl) in checkpoint.leases().map_err(SourceError::from)? {
                write_lease(&mut out.text, checkpoint.revision(), id, granted_ttl);
            }
        }
        let result = checkpoint
            .entries()
            .map_err(SourceError::from)?
            .try_for_each(|entry| {
                let entry = entry.map_err(SourceError::from)?;
                if filter.is_change_wanted(entry.revision, &entry.path) {
                    form.write_change(&mut out.text, entry.revision, (&entry).into());
                }
                out.offer().map_err(DumpError::Output)
            });
        if matches!(result, Ok(()) | Err(DumpError::Source(_))) {
            out.flush().map_err(DumpError::Output)?;
        }
        result
    })
}

/// The state as a whole.
pub fn state_of(checkpoint: &Checkpoint) -> Result<State, SourceError> {
    let mut state = State::default();
    for entry in checkpoint.entries()? {
        let entry = entry?;
        state.files.insert(entry.path.clone(), entry);
    }
    state.leases = checkpoint.leases()?;
    state.revision = checkpoint.revision();
    state.timeline = checkpoint.timeline().cloned();
    state.open_gap = checkpoint.facts().open_gap;
    Ok(state)
}

#[derive(Serialize)]
struct FactsRow<'a> {
    r#type: &'a str,
    journal: String,
    salt: String,
    revision: i64,
    sequence: u64,
    segment_first: u64,
    segment_salt: String,
    counting_from: u64,
    counting_at: i64,
    timeline: Option<&'a str>,
    open_gap: Option<(i64, i64)>,
    observed_at_ms: i64,
    created_at_ms: i64,
    keys: u64,
    leases: u64,
    blocks: u64,
    content_bytes: u64,
    file_bytes: u64,
    digest: String,
}

#[derive(Serialize)]
struct BlockRow<'a> {
    r#type: &'a str,
    offset: u64,
    length: u64,
    body_bytes: u32,
    keys_before: u64,
    keys: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_path: Option<String>,
    body_crc: String,
    header_crc: String,
}

impl<'a> FactsRow<'a> {
    fn of(facts: &'a CheckpointFacts) -> Self {
        Self {
            r#type: "checkpoint",
            journal: facts.uuid.to_string(),
            salt: format!("{:016x}", facts.salt),
            revision: facts.revision.0,
            sequence: facts.sequence.0,
            segment_first: facts.segment_first.0,
            segment_salt: format!("{:016x}", facts.segment_salt),
            counting_from: facts.counting_from.0,
            counting_at: facts.counting_at.0,
            timeline: timeline_of(facts),
            open_gap: facts.open_gap.map(|gap| (gap.first.0, gap.last.0)),
            observed_at_ms: facts.observed_at.0,
            created_at_ms: facts.created_at.0,
            keys: facts.entries - facts.leases,
            leases: facts.leases,
            blocks: facts.blocks,
            content_bytes: facts.content_bytes,
            file_bytes: facts.file_bytes,
            digest: format!("{:08x}", facts.digest),
        }
    }
}

fn timeline_of(facts: &CheckpointFacts) -> Option<&str> {
    facts.timeline.as_ref().map(|timeline| timeline.id.as_str())
}

/// Appends the facts of header and footer.
pub(crate) fn write_facts(line: &mut Vec<u8>, facts: &CheckpointFacts, json: bool) {
    if json {
        return write_object(line, &FactsRow::of(facts));
    }
    let damaged = facts.open_gap.map_or_else(String::new, |gap| {
        format!(", revisions {} to {} damaged", gap.first, gap.last)
    });
    let result = writeln!(
        line,
        "# checkpoint of revision {}, journal {}, salt {:016x}, up to sequence {} (segment {}, \
         salt {:016x}), observed {}, created {}, timeline {}{damaged}: {} keys and {} \
         leases of {} bytes in {} blocks, {} bytes, digest {:08x}",
        facts.revision,
        facts.uuid,
        facts.salt,
        facts.sequence,
        facts.segment_first,
        facts.segment_salt,
        facts.observed_at.show(),
        facts.created_at.show(),
        timeline_of(facts).unwrap_or("none"),
        facts.entries - facts.leases,
        facts.leases,
        facts.content_bytes,
        facts.blocks,
        facts.file_bytes,
        facts.digest,
    );
    result.expect("memory takes everything");
}

/// Prints header, footer, and the blocks that hold a key that `filter` wants.
pub fn headers(
    checkpoint: &Checkpoint,
    json: bool,
    filter: &Filter,
    out: &mut impl Write,
) -> Result<(), DumpError> {
    let mut line = Vec::new();
    write_facts(&mut line, &checkpoint.facts(), json);
    if !json {
        let result = writeln!(
            line,
            "{:>10} {:>10} {:>7} {:>9} {:>9} {:>8} {:>8} first path",
            "offset", "before", "keys", "length", "body", "b-crc", "h-crc"
        );
        result.expect("memory takes everything");
    }
    out.write_all(&line).map_err(DumpError::Output)?;
    let result = checkpoint
        .stored_blocks()
        .map_err(SourceError::from)?
        .try_for_each(|block| {
            let block = block.map_err(SourceError::from)?;
            let mut entries = block.entries.iter();
            if block.is_footer || entries.any(|e| filter.is_change_wanted(e.revision, &e.path)) {
                line.clear();
                write_block(&mut line, &block, json);
                out.write_all(&line).map_err(DumpError::Output)?;
            }
            Ok(())
        });
    out.flush().map_err(DumpError::Output)?;
    result
}

fn write_block(line: &mut Vec<u8>, block: &StoredBlock, json: bool) {
    let first_path = block.entries.first().map(|entry| escaped_path(&entry.path));
    if json {
        return write_object(
            line,
            &BlockRow {
                r#type: if block.is_footer { "footer" } else { "block" },
                offset: block.offset,
                length: block.length,
                body_bytes: block.body_bytes,
                keys_before: block.before,
                keys: block.entries.len(),
                first_path,
                body_crc: format!("{:08x}", block.body_crc),
                header_crc: format!("{:08x}", block.header_crc),
            },
        );
    }
    let result = writeln!(
        line,
        "{:>10} {:>10} {:>7} {:>9} {:>9} {:08x} {:08x} {}",
        block.offset,
        block.before,
        block.entries.len(),
        block.length,
        block.body_bytes,
        block.body_crc,
        block.header_crc,
        first_path.as_deref().unwrap_or("(footer)"),
    );
    result.expect("memory takes everything");
}

/// The numbers of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckpointStats {
    /// The revision whose state it holds.
    pub revision: i64,
    /// The record up to which it stands for all.
    pub sequence: u64,
    /// The cluster that was followed then.
    pub timeline: Option<String>,
    /// Paths.
    pub keys: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
    /// Length of the file.
    pub file_bytes: u64,
    /// The lowest revision of a key.
    pub first_revision: Option<i64>,
    /// The highest.
    pub last_revision: Option<i64>,
    /// When the newest record that it stands for was observed.
    pub observed_at_ms: i64,
    /// When it was made.
    pub created_at_ms: i64,
    /// The largest keys, the first the largest.
    pub largest: Vec<Large>,
}

/// A key with a large value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Large {
    /// The path, escaped as in the text form.
    pub path: String,
    /// The revision of its value.
    pub revision: i64,
    /// Bytes of its value.
    pub value_bytes: u64,
}

/// Counts the keys of a checkpoint that `filter` wants, and names the `top` largest. Reads all of
/// it.
pub fn stats(
    checkpoint: &Checkpoint,
    filter: &Filter,
    top: usize,
) -> Result<CheckpointStats, SourceError> {
    let facts = checkpoint.facts();
    let mut stats = CheckpointStats {
        revision: facts.revision.0,
        sequence: facts.sequence.0,
        timeline: facts.timeline.map(|timeline| timeline.id),
        file_bytes: facts.file_bytes,
        observed_at_ms: facts.observed_at.0,
        created_at_ms: facts.created_at.0,
        ..CheckpointStats::default()
    };
    let mut largest = Ranking::of(top);
    for entry in checkpoint.entries()? {
        let entry = entry?;
        if !filter.is_change_wanted(entry.revision, &entry.path) {
            continue;
        }
        let (revision, bytes) = (entry.revision.0, entry.value.len() as u64);
        stats.keys += 1;
        stats.value_bytes += bytes;
        stats.first_revision = Some(stats.first_revision.map_or(revision, |r| r.min(revision)));
        stats.last_revision = Some(stats.last_revision.map_or(revision, |r| r.max(revision)));
        largest.offer(&entry.path, bytes, revision);
    }
    stats.largest = largest
        .highest_first()
        .map(|large| Large {
            path: large.path,
            revision: large.note,
            value_bytes: large.weight,
        })
        .collect();
    Ok(stats)
}

impl fmt::Display for CheckpointStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revision = |r: Option<i64>| r.map_or_else(|| "none".to_owned(), |r| r.to_string());
        writeln!(
            f,
            "state      at revision {}, sequence {}, timeline {}",
            self.revision,
            self.sequence,
            self.timeline.as_deref().unwrap_or("none")
        )?;
        writeln!(
            f,
            "keys       {} ({} bytes of values, {} bytes of file)",
            self.keys, self.value_bytes, self.file_bytes
        )?;
        writeln!(
            f,
            "revisions  {} to {}",
            revision(self.first_revision),
            revision(self.last_revision)
        )?;
        writeln!(
            f,
            "times      observed {}, created {}",
            Timestamp(self.observed_at_ms).show(),
            Timestamp(self.created_at_ms).show()
        )?;
        let rows = self.largest.iter();
        write_rows(
            f,
            "largest      bytes   revision  path",
            rows.map(|large| (large.value_bytes, large.revision, &large.path)),
        )
    }
}
