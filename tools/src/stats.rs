//! What a journal is made of: counts, sizes, spans, and which paths are written most.
//!
//! One pass; memory grows with the number of different paths, not with history.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use cairn_journal::{EndState, Entry, Op, Record, Revision, Timestamp};
use serde::Serialize;

use crate::dump::GapSeen;
use crate::source::time_of;
use crate::text::escaped_path;

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Records of every kind.
    pub records: u64,
    /// Their bytes on disk, with headers and padding.
    pub record_bytes: u64,
    /// Files that hold them.
    pub files: u64,
    /// Values that were set.
    pub sets: u64,
    /// Paths that were deleted.
    pub deletes: u64,
    /// Bytes of all values that were set.
    pub value_bytes: u64,
    /// Different paths.
    pub paths: u64,
    /// Paths that exist after the last change.
    pub keys: u64,
    /// Bytes of their values.
    pub key_value_bytes: u64,
    /// The lowest revision of a change.
    pub first_revision: Option<i64>,
    /// The highest.
    pub last_revision: Option<i64>,
    /// When the earliest record was observed.
    pub first_observed_at_ms: Option<i64>,
    /// When the latest was.
    pub last_observed_at_ms: Option<i64>,
    /// Gaps that lose history.
    pub gaps: u64,
    /// Timelines begun.
    pub timelines: u64,
    /// Bytes at the end that are no record.
    pub torn_bytes: u64,
    /// The paths that changed most often, the first the most.
    pub hottest: Vec<Hot>,
}

/// A path that changes often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hot {
    /// The path, escaped as in the text form.
    pub path: String,
    /// How often it was set or deleted.
    pub changes: u64,
    /// Bytes of all its values.
    pub value_bytes: u64,
}

/// Counts records one by one.
#[derive(Debug, Default)]
pub struct Counter {
    stats: Stats,
    paths: HashMap<Bytes, PathCount>,
    file: Option<std::sync::Arc<std::path::PathBuf>>,
}

#[derive(Debug, Default)]
struct PathCount {
    changes: u64,
    value_bytes: u64,
    /// The length of its value; `None`: it is deleted.
    now: Option<u64>,
}

impl Counter {
    /// Takes in one record.
    pub fn add(&mut self, record: &Record) {
        let stats = &mut self.stats;
        stats.records += 1;
        stats.record_bytes += record.location.length;
        if self.file.as_ref() != Some(&record.location.file) {
            self.file = Some(record.location.file.clone());
            stats.files += 1;
        }
        if let Some(Timestamp(time)) = time_of(&record.entry) {
            widen(
                &mut stats.first_observed_at_ms,
                &mut stats.last_observed_at_ms,
                time,
            );
        }
        if GapSeen::of(&record.entry).is_some_and(|gap| gap.is_loss()) {
            stats.gaps += 1;
        }
        match &record.entry {
            Entry::Timeline(_) => stats.timelines += 1,
            Entry::Changes { changes, .. } => {
                for change in changes {
                    let Revision(revision) = change.revision.unwrap_or(record.revision);
                    self.add_change(revision, &change.path, &change.op);
                }
            }
            _ => {}
        }
    }

    fn add_change(&mut self, revision: i64, path: &Bytes, op: &Op) {
        let stats = &mut self.stats;
        widen(
            &mut stats.first_revision,
            &mut stats.last_revision,
            revision,
        );
        if !self.paths.contains_key(path) {
            // A copy: a part of a larger buffer would keep all of that alive.
            let key = Bytes::copy_from_slice(path);
            self.paths.insert(key, PathCount::default());
        }
        let count = self.paths.get_mut(path).expect("inserted above");
        count.changes += 1;
        count.now = match op {
            Op::Set(value) => {
                let bytes = value.len() as u64;
                stats.sets += 1;
                stats.value_bytes += bytes;
                count.value_bytes += bytes;
                Some(bytes)
            }
            Op::Delete => {
                stats.deletes += 1;
                None
            }
        };
    }

    /// The result, with so many of the hottest paths.
    #[must_use]
    pub fn finish(self, end: &EndState, top: usize) -> Stats {
        let mut stats = self.stats;
        stats.paths = self.paths.len() as u64;
        let live = || self.paths.values().filter_map(|count| count.now);
        stats.keys = live().count() as u64;
        stats.key_value_bytes = live().sum();
        if let EndState::TornTail { bytes, .. } = end {
            stats.torn_bytes = *bytes;
        }
        let mut paths: Vec<_> = self.paths.iter().collect();
        // By path where equal, so that the same journal always gives the same answer.
        paths.sort_unstable_by(|(a, x), (b, y)| y.changes.cmp(&x.changes).then(a.cmp(b)));
        stats.hottest = paths
            .into_iter()
            .take(top)
            .map(|(path, count)| Hot {
                path: escaped_path(path),
                changes: count.changes,
                value_bytes: count.value_bytes,
            })
            .collect();
        stats
    }
}

fn widen(first: &mut Option<i64>, last: &mut Option<i64>, value: i64) {
    *first = Some(first.map_or(value, |first| first.min(value)));
    *last = Some(last.map_or(value, |last| last.max(value)));
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revision = |r: Option<i64>| r.map_or_else(|| "none".to_owned(), |r| r.to_string());
        let time = |t: Option<i64>| t.map_or_else(|| "unknown".to_owned(), |t| Timestamp(t).show());
        writeln!(
            f,
            "records    {} ({} bytes in {} files)",
            self.records, self.record_bytes, self.files
        )?;
        writeln!(
            f,
            "changes    {} ({} sets of {} bytes, {} deletes)",
            self.sets + self.deletes,
            self.sets,
            self.value_bytes,
            self.deletes
        )?;
        writeln!(
            f,
            "keys       {} ({} bytes), of {} paths that ever were",
            self.keys, self.key_value_bytes, self.paths
        )?;
        writeln!(
            f,
            "revisions  {} to {}",
            revision(self.first_revision),
            revision(self.last_revision)
        )?;
        writeln!(
            f,
            "times      {} to {}",
            time(self.first_observed_at_ms),
            time(self.last_observed_at_ms)
        )?;
        writeln!(
            f,
            "gaps       {}, timelines {}, torn bytes {}",
            self.gaps, self.timelines, self.torn_bytes
        )?;
        if !self.hottest.is_empty() {
            writeln!(f, "hottest    changes      bytes  path")?;
        }
        for hot in &self.hottest {
            writeln!(
                f,
                "           {:>7} {:>10}  {}",
                hot.changes, hot.value_bytes, hot.path
            )?;
        }
        Ok(())
    }
}
