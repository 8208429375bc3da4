//! What a journal is made of: counts, sizes, spans, and which paths are written most.
//!
//! One pass; memory grows with the number of different paths, not with history.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use cairn_journal::{Checkpoint, EndState, Entry, EntryRef, RecordRef, Revision, Timestamp};
use serde::Serialize;

use crate::read::dump::GapSeen;
use crate::read::filter::Filter;
use crate::read::ranking::{Ranking, write_rows};
use crate::read::source::{Source, SourceError, time_of};

/// The numbers of a journal.
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
    /// Checkpoints from which the journal can be read.
    pub checkpoints: u64,
    /// The revision of the newest.
    pub newest_checkpoint: Option<i64>,
    /// Where retention has removed history: the newest revision that was covered before what is
    /// left of it.
    pub history_after: Option<i64>,
    /// The paths that changed most often, the first the most.
    pub hottest: Vec<Hot>,
}

/// A path that changes often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hot {
    /// The path, escaped as in the text form.
    pub path: String,
    /// Sets and deletes of it.
    pub changes: u64,
    /// Bytes of all its values.
    pub value_bytes: u64,
}

/// Counts records one by one.
#[derive(Debug, Default)]
pub struct Counter {
    stats: Stats,
    paths: HashMap<Bytes, PathCount>,
    /// The checkpoint that stands for the history that retention removed, until it is taken in.
    base: Option<Checkpoint>,
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
    /// For the records of this source.
    pub fn of(source: &Source) -> Result<Self, SourceError> {
        let mut counter = Self::default();
        if let Source::Journal(reader) = source {
            let beginning = reader.beginning()?;
            let usable = reader.checkpoints()?.usable;
            counter.stats.checkpoints = usable.len() as u64;
            counter.stats.newest_checkpoint = usable.first().map(|c| c.revision().0);
            if beginning.is_retired() {
                counter.stats.history_after = Some(beginning.covered.0);
                counter.base = usable.into_iter().next_back();
            }
        }
        Ok(counter)
    }

    /// Takes in one record; `filter` is what it was selected by.
    pub fn add(&mut self, record: &RecordRef<'_>, filter: &Filter) -> Result<(), SourceError> {
        if self
            .base
            .as_ref()
            .is_some_and(|base| base.sequence() < record.sequence)
        {
            self.take_base(filter)?;
        }
        let stats = &mut self.stats;
        stats.records += 1;
        stats.record_bytes += record.length;
        if self.file.as_ref() != Some(record.file) {
            self.file = Some(record.file.clone());
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
        if let EntryRef::Marker(marker) = &record.entry {
            stats.timelines += u64::from(matches!(**marker, Entry::Timeline(_)));
        }
        for change in record.entry.changes() {
            let Revision(revision) = change.revision.unwrap_or(record.revision);
            self.add_change(revision, change.path, change.value);
        }
        Ok(())
    }

    /// Replaces the keys by those of the checkpoint.
    fn take_base(&mut self, filter: &Filter) -> Result<(), SourceError> {
        // With a later beginning only what happened since then counts.
        let Some(base) = self.base.take().filter(|_| filter.from.is_none()) else {
            return Ok(());
        };
        self.paths.values_mut().for_each(|count| count.now = None);
        for entry in base.entries()? {
            let entry = entry?;
            if filter.is_path_wanted(&entry.path) {
                self.count_of(&entry.path).now = Some(entry.value.len() as u64);
            }
        }
        Ok(())
    }

    fn count_of(&mut self, path: &[u8]) -> &mut PathCount {
        if !self.paths.contains_key(path) {
            // A copy: a part of a larger buffer would keep all of that alive.
            let key = Bytes::copy_from_slice(path);
            self.paths.insert(key, PathCount::default());
        }
        self.paths.get_mut(path).expect("inserted above")
    }

    fn add_change(&mut self, revision: i64, path: &[u8], value: Option<&[u8]>) {
        let now = value.map(|value| value.len() as u64);
        let count = self.count_of(path);
        count.changes += 1;
        count.value_bytes += now.unwrap_or(0);
        count.now = now;
        let stats = &mut self.stats;
        widen(
            &mut stats.first_revision,
            &mut stats.last_revision,
            revision,
        );
        match now {
            Some(bytes) => {
                stats.sets += 1;
                stats.value_bytes += bytes;
            }
            None => stats.deletes += 1,
        }
    }

    /// The result, with so many of the hottest paths.
    pub fn finish(
        mut self,
        end: &EndState,
        filter: &Filter,
        top: usize,
    ) -> Result<Stats, SourceError> {
        // Nothing happened since; unless only what was before is asked for.
        if filter.to.is_none() {
            self.take_base(filter)?;
        }
        let mut stats = self.stats;
        stats.paths = self.paths.len() as u64;
        let live = || self.paths.values().filter_map(|count| count.now);
        stats.keys = live().count() as u64;
        stats.key_value_bytes = live().sum();
        if let EndState::TornTail { bytes, .. } = end {
            stats.torn_bytes = *bytes;
        }
        let mut hottest = Ranking::of(top);
        for (path, count) in &self.paths {
            // A path that only the checkpoint has was never seen to change.
            if count.changes > 0 {
                hottest.offer(path, count.changes, count.value_bytes);
            }
        }
        stats.hottest = hottest
            .highest_first()
            .map(|hot| Hot {
                path: hot.path,
                changes: hot.weight,
                value_bytes: hot.note,
            })
            .collect();
        Ok(stats)
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
        if self.checkpoints > 0 || self.history_after.is_some() {
            write!(
                f,
                "state      {} checkpoints, the newest of revision {}",
                self.checkpoints,
                revision(self.newest_checkpoint)
            )?;
            match self.history_after {
                Some(after) => writeln!(f, "; history before revision {after} is gone")?,
                None => writeln!(f)?,
            }
        }
        let rows = self.hottest.iter();
        write_rows(
            f,
            "hottest    changes      bytes  path",
            rows.map(|hot| (hot.changes, hot.value_bytes, &hot.path)),
        )
    }
}
