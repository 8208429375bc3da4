//! The past as it is asked for.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_journal::Reader;

use crate::moment::Moment;
use crate::past::answers::{Changes, Diff, Keys, Marker, PAGE, keys};
use crate::past::changes::changes;
use crate::past::diff::diff;
use crate::past::shown::{Shown, unreadable};
use crate::past::text::unescaped;
use crate::told::refusal::Refusal;
use crate::told::state::History;
use crate::told::time::now;

/// How many marks of this program are kept.
const MARKS: usize = 250;

/// The past. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Past(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Held while a journal is read.
    known: Mutex<Known>,
    /// As of the last reading.
    history: Mutex<History>,
    /// What this program knows of, and no journal.
    marks: Mutex<VecDeque<Marker>>,
}

/// What is known of it.
#[derive(Debug)]
struct Known {
    /// The persisters' directories.
    disks: Vec<PathBuf>,
    shown: Option<Shown>,
}

impl Past {
    /// Of the journals below the persisters' directories.
    pub(crate) fn new(disks: Vec<PathBuf>) -> Self {
        let known = Known { disks, shown: None };
        Self(Arc::new(Inner {
            known: Mutex::new(known),
            history: Mutex::default(),
            marks: Mutex::default(),
        }))
    }

    /// How much there is, as of the last reading.
    pub(crate) fn history(&self) -> History {
        *lock(&self.0.history)
    }

    /// This happened now, after the changes that have been read.
    pub(crate) fn mark(&self, kind: &'static str, says: String) {
        let mut marks = lock(&self.0.marks);
        if marks.len() == MARKS {
            marks.pop_front();
        }
        marks.push_back(Marker {
            index: self.history().count,
            kind,
            says,
            time: Some(now()),
        });
    }

    /// Reads what was journaled since.
    pub(crate) async fn advance(&self) {
        let _ = self.read(|_| Ok(())).await;
    }

    /// The changes from this one on.
    pub(crate) async fn changes(&self, from: u64, count: u64) -> Result<Changes, Refusal> {
        let read = move |shown: &mut Shown| changes(shown, from.max(1), count.min(PAGE));
        let mut changes = self.read(read).await?;
        changes.markers.extend(lock(&self.0.marks).iter().cloned());
        changes.markers.sort_by_key(|marker| marker.index);
        Ok(changes)
    }

    /// The keys at a change; `None`: now. Those that begin with `prefix`, after `after`.
    pub(crate) async fn keys(
        &self,
        at: Option<u64>,
        prefix: &str,
        after: &str,
        count: u64,
    ) -> Result<Keys, Refusal> {
        let bytes = |text: &str| {
            let bad = || Refusal::Impossible(format!("{text}: a backslash is written \\\\"));
            unescaped(text).ok_or_else(bad)
        };
        let (prefix, after) = (bytes(prefix)?, bytes(after)?);
        self.read(move |shown| {
            let state = shown.state(at)?;
            Ok(keys(&state, &prefix, &after, count.clamp(1, PAGE)))
        })
        .await
    }

    /// What changed between two changes; `None`: now.
    pub(crate) async fn diff(&self, from: Option<u64>, to: Option<u64>) -> Result<Diff, Refusal> {
        self.read(move |shown| {
            let (before, after) = (shown.state(from)?, shown.state(to)?);
            Ok(diff(&before, &after))
        })
        .await
    }

    /// The journal that is shown, and the revision at a change.
    pub(crate) async fn place(&self, at: u64) -> Result<(PathBuf, i64), Refusal> {
        self.read(move |shown| {
            let state = shown.state(Some(at))?;
            Ok((shown.journal.clone(), state.revision.0))
        })
        .await
    }

    /// What there was at a change.
    pub(crate) async fn moment(&self, at: u64) -> Result<Moment, Refusal> {
        self.read(move |shown| Ok(Moment::of_state(&shown.state(Some(at))?)))
            .await
    }

    /// The journal that is shown.
    pub(crate) async fn journal(&self) -> Result<PathBuf, Refusal> {
        self.read(|shown| Ok(shown.journal.clone())).await
    }

    /// Reads on, and then does it, on a thread that may wait for the disk.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Shown) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let this = Arc::clone(&self.0);
        let read = tokio::task::spawn_blocking(move || {
            let mut known = lock(&this.known);
            let shown = known.newest()?;
            *lock(&this.history) = shown.index.history();
            read(shown)
        });
        let ended = |_| Refusal::Failed("reading the journal was given up".to_owned());
        read.await.map_err(ended)?
    }
}

impl Known {
    /// The journal that is shown, read up to its end.
    fn newest(&mut self) -> Result<&mut Shown, Refusal> {
        let is_same = |shown: &Shown| {
            let reader = Reader::open(&shown.journal);
            reader.is_ok_and(|reader| {
                let is_same = reader.uuid().is_ok_and(|uuid| uuid == shown.uuid);
                // Retention may have removed what it begins with.
                is_same && (reader.beginning()).is_ok_and(|it| it.sequence <= shown.begin)
            })
        };
        if !self.shown.as_ref().is_some_and(is_same) {
            self.shown = None;
        }
        if self.shown.is_none() {
            self.shown = self
                .disks
                .iter()
                .find_map(|disk| Shown::open(disk.join("journal")));
        }
        let empty = "the journal is empty: nothing has been written since the persister began";
        let empty = || Refusal::NotNow(empty.to_owned());
        let shown = self.shown.as_mut().ok_or_else(empty)?;
        shown.index.advance().map_err(|error| unreadable(&error))?;
        Ok(shown)
    }
}

/// What is behind these locks is whole, or is read anew.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context as _, Result, ensure};
    use cairn_journal::{Change, Journal, NewRecord, Options, Retention, Revision, Timestamp};

    fn write(journal: &Journal, revisions: std::ops::Range<i64>) -> Result<()> {
        for at in revisions {
            let change = Change::set(format!("/k{}", at % 7), at.to_string());
            let record = NewRecord::changes(Revision(at), vec![change], Timestamp(at));
            journal.append_and_commit(record)?;
        }
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_retention_has_removed_is_no_obstacle_to_the_rest() -> Result<()> {
        let disk = tempfile::tempdir()?;
        let dir = disk.path().join("journal");
        let (journal, _) = Journal::open(&dir, Options::default())?;
        write(&journal, 1..300)?;
        let past = Past::new(vec![disk.path().to_owned()]);
        ensure!(past.changes(1, 1).await?.count == 299);
        ensure!(past.keys(Some(3), "", "", 9).await?.total == 3);

        journal.close()?;
        let (journal, _) = Journal::open(&dir, Options::default())?;
        // A window that begins with a segment is told from the checkpoint before it.
        journal.checkpoint()?;
        write(&journal, 300..305)?;
        journal.close()?;
        let (journal, _) = Journal::open(&dir, Options::default())?;
        let nothing = Retention {
            age: None,
            bytes: Some(0),
        };
        ensure!(!journal.retire(&nothing)?.segments.is_empty());
        // The page was open all the time.
        let changes = past.changes(1, 9).await?;
        ensure!(
            changes.count == 5 && changes.changes.len() == 5,
            "{changes:?}"
        );
        ensure!(changes.changes[0].revision == 300, "{changes:?}");
        ensure!(changes.markers[0].kind == "retired", "{changes:?}");
        let before = past.keys(Some(0), "", "", 9).await?;
        let newest = before.keys.iter().map(|key| key.revision).max();
        ensure!((before.total, newest) == (7, Some(299)), "{before:?}");
        let now = past.keys(None, "", "", 9).await?;
        let newest = now
            .keys
            .iter()
            .max_by_key(|key| key.revision)
            .context("a key")?;
        ensure!((newest.revision, newest.value.value.as_deref()) == (304, Some("304")));
        Ok(())
    }
}
