//! The work of the thread: checks what is due, makes a checkpoint, removes history that has left
//! the window.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_journal::maintain::{CheckpointOutcome, RetiredHistory};
use cairn_journal::{Error, Journal, Sequence, Span, Stop};

use crate::maintenance::bell::Bell;
use crate::maintenance::policy::Policy;
use crate::observe::vitals::Vitals;

/// How often to check whether a checkpoint is due. At a gigabyte in ten seconds, as much as a disk
/// takes, one comes half of the default threshold late.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// How often to look whether something has left the window: by age, or because the segment that a
/// checkpoint lies in has got a successor. Reads headers only, unless there is something to remove.
const RETIRE_EVERY: Duration = Duration::from_secs(10);

/// How long to wait after a failure: long enough not to fill the log, short enough that an operator
/// who makes room sees the effect.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// The newest checkpoint, and how much was journaled since.
#[derive(Clone, Copy, Debug, Default)]
struct Since {
    /// Its length.
    bytes: u64,
    /// Bytes of records after it that had been written before this journal was opened.
    earlier: u64,
    /// [`Journal::appended_bytes`] when it was made.
    appended: u64,
    /// [`Journal::appended_bytes`] when its name was found taken: with nothing new, it still is.
    taken_at: Option<u64>,
}

pub(super) struct Work {
    journal: Arc<Journal>,
    policy: Policy,
    vitals: Arc<Vitals>,
    stop: Stop,
    since: Since,
    /// The damaged checkpoints that were reported the last time.
    damaged: Vec<String>,
}

impl Work {
    /// For a journal that was just opened.
    pub(super) fn new(
        journal: Arc<Journal>,
        policy: Policy,
        vitals: Arc<Vitals>,
        stop: Stop,
    ) -> Self {
        Self {
            journal,
            policy,
            vitals,
            stop,
            since: Since::default(),
            damaged: Vec::new(),
        }
    }

    /// Does it, again and again, until asked to stop.
    pub(super) fn run(mut self, bell: &Bell) {
        let mut wanted = false;
        // From when on the next attempt may be made, after one that failed.
        let (mut not_before, mut retire_at) = (Instant::now(), Instant::now());
        // What there is can be told at once. If it cannot be read now, the first turn says so.
        let mut looked = self.look().is_ok();
        loop {
            wanted |= bell.wait(LOOK_EVERY);
            if self.stop.is_asked() {
                return;
            }
            let now = Instant::now();
            if now < not_before {
                continue;
            }
            let done = self.turn(&mut looked, &mut wanted, &mut retire_at);
            match done {
                Ok(()) => self.vitals.checkpoint_works(),
                Err(Error::Stopped) => return,
                Err(error) => {
                    not_before = now + AGAIN_AFTER;
                    self.vitals.checkpoint_failed(&error.to_string());
                    tracing::error!(
                        %error,
                        "no checkpoint, or nothing retired; changes are journaled as before. \
                         Trying again in {AGAIN_AFTER:?}"
                    );
                }
            }
        }
    }

    /// One look at what is due, and doing it.
    fn turn(
        &mut self,
        looked: &mut bool,
        wanted: &mut bool,
        retire_at: &mut Instant,
    ) -> Result<(), Error> {
        if !*looked {
            self.look()?;
            *looked = true;
        }
        let made = self.checkpoint_if_due(wanted, retire_at);
        if matches!(made, Err(Error::Stopped)) {
            return made;
        }
        // Also where no checkpoint can be made: what an older one covers may be what takes the
        // room.
        if self.policy.retires() && Instant::now() >= *retire_at {
            let retired = self.retire();
            *retire_at = Instant::now() + RETIRE_EVERY;
            return made.and(retired);
        }
        made
    }

    fn checkpoint_if_due(
        &mut self,
        wanted: &mut bool,
        retire_at: &mut Instant,
    ) -> Result<(), Error> {
        let appended = self.journal.appended_bytes();
        let since = self.since.earlier + appended - self.since.appended;
        let is_due = self.policy.is_due(since, self.since.bytes, *wanted);
        if is_due && self.since.taken_at != Some(appended) {
            *wanted &= !self.checkpoint(since)?;
            // What it covers may go now.
            *retire_at = Instant::now();
        }
        Ok(())
    }

    /// Where the journal stands after opening. Reads headers only.
    fn look(&mut self) -> Result<(), Error> {
        let found = self.journal.reader()?.checkpoints()?;
        for error in &found.damaged {
            tracing::error!(%error, "a checkpoint is damaged");
        }
        let newest = found.usable.first();
        let after = newest.map_or(Sequence::NONE, |newest| newest.sequence());
        self.since.earlier = self.journal.segment_bytes_after(after)?;
        if let Some(newest) = newest {
            self.since.bytes = newest.file_bytes();
            self.vitals.checkpoint(newest);
        }
        Ok(())
    }

    /// Whether that is done; if not, the next change may help.
    fn checkpoint(&mut self, since: u64) -> Result<bool, Error> {
        self.leave_room(since)?;
        let (start, appended) = (Instant::now(), self.journal.appended_bytes());
        let report = self.journal.checkpoint_unless(&self.stop)?;
        if report.outcome == CheckpointOutcome::NameTaken {
            self.since.taken_at = Some(appended);
            return Ok(false);
        }
        self.since.earlier = 0;
        self.since.appended = appended;
        let Some(newest) = report.newest else {
            return Ok(true);
        };
        self.since.bytes = newest.file_bytes();
        if report.outcome == CheckpointOutcome::Written {
            let took = start.elapsed();
            self.vitals.checkpoint(&newest);
            self.vitals.checkpoint_took(took);
            tracing::info!(
                revision = %newest.revision(), keys = newest.len(), bytes = newest.file_bytes(),
                "checkpoint made in {took:?}"
            );
        }
        Ok(true)
    }

    /// An error while the disk has no room for a checkpoint and for what the journal takes
    /// meanwhile.
    fn leave_room(&self, since: u64) -> Result<(), Error> {
        let dir = self.journal.dir();
        let Ok(disk) = rustix::fs::statvfs(dir) else {
            // A file system that cannot say: then writing will.
            return Ok(());
        };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        // What is merged with the last one is first sorted in files of its own, if it is much.
        let needed = self.since.bytes + 2 * since + 2 * self.journal.options().segment_bytes;
        if free < needed {
            let full = std::io::Error::new(
                std::io::ErrorKind::StorageFull,
                format!(
                    "{free} bytes are free, a checkpoint and the journal meanwhile may need \
                     {needed}: make room"
                ),
            );
            return Err(Error::Io {
                path: dir.to_owned(),
                op: "make a checkpoint",
                source: Arc::new(full),
            });
        }
        Ok(())
    }

    fn retire(&mut self) -> Result<(), Error> {
        let report = self
            .journal
            .retire_unless(&self.policy.retention, &self.stop)?;
        let damaged: Vec<String> = report.damaged.iter().map(ToString::to_string).collect();
        // It is there until it is repaired: said once, not at each look.
        for error in damaged.iter().filter(|error| !self.damaged.contains(error)) {
            tracing::error!(%error, "a checkpoint is damaged; nothing was removed on its word");
        }
        self.damaged = damaged;
        if let Some(base) = report.base
            && report.bytes > 0
        {
            self.vitals.retired(report.bytes);
            let (segments, checkpoints) = (report.segments.len(), report.checkpoints.len());
            match report.history {
                Some(RetiredHistory {
                    revisions: Some(Span { first, last }),
                    from,
                    until,
                }) => tracing::info!(
                    segments,
                    checkpoints,
                    bytes = report.bytes,
                    "history of revisions {first} to {last}, journaled from {} to {}, was \
                     removed: the checkpoint of revision {base} alone tells of it now",
                    from.show(),
                    until.show()
                ),
                _ => tracing::info!(
                    segments,
                    checkpoints,
                    bytes = report.bytes,
                    "what history no longer needs was removed; it begins with the checkpoint of \
                     revision {base}"
                ),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_journal::{NewRecord, Retention, Revision};

    fn open(dir: &std::path::Path) -> Arc<Journal> {
        let options = cairn_journal::Options::default();
        Arc::new(Journal::open(dir, options).expect("opened").0)
    }

    fn append(journal: &Journal, revision: i64) {
        let change = vec![cairn_journal::Change::set("/a", "x")];
        let at = cairn_journal::Timestamp(0);
        let record = NewRecord::changes(Revision(revision), change, at);
        journal.append_and_commit(record).expect("appended");
    }

    fn work(journal: &Arc<Journal>, retention: Retention) -> Work {
        let vitals = Vitals::new(1, journal.dir().to_owned(), Duration::ZERO);
        let policy = Policy {
            every_bytes: 1,
            retention,
        };
        Work::new(Arc::clone(journal), policy, Arc::new(vitals), Stop::new())
    }

    #[test]
    fn what_an_older_checkpoint_covers_goes_also_while_no_newer_one_can_be_made() {
        let dir = tempfile::tempdir().expect("a directory");
        // Each opening begins a segment; the checkpoint in the second covers the first.
        append(&open(dir.path()), 1);
        let journal = open(dir.path());
        append(&journal, 2);
        journal.checkpoint().expect("a checkpoint");
        drop(journal);
        let journal = open(dir.path());
        append(&journal, 3);
        let nothing = Retention {
            age: None,
            bytes: Some(0),
        };
        let mut work = work(&journal, nothing);
        // No disk has so much room.
        work.since.bytes = u64::MAX / 2;
        let (mut looked, mut wanted, mut retire_at) = (true, true, Instant::now());
        let made = work.turn(&mut looked, &mut wanted, &mut retire_at);
        assert!(made.is_err_and(|error| error.to_string().contains("make room")));
        assert!(wanted, "it is still to be made");
        let oldest = journal.reader().expect("a reader").records().next();
        let oldest = oldest.expect("a record").expect("sound");
        assert!(oldest.revision > Revision(1), "{oldest:?}");
    }

    /// The checkpoint that history is to begin with is read in full first: an end does not wait for
    /// that.
    #[test]
    fn retention_ends_when_asked_to() {
        let dir = tempfile::tempdir().expect("a directory");
        append(&open(dir.path()), 1);
        let journal = open(dir.path());
        append(&journal, 2);
        journal.checkpoint().expect("a checkpoint");
        drop(journal);
        let journal = open(dir.path());
        let nothing = Retention {
            age: None,
            bytes: Some(0),
        };
        let mut work = work(&journal, nothing);
        work.stop.ask();
        assert!(matches!(work.retire(), Err(Error::Stopped)));
        let oldest = journal.reader().expect("a reader").beginning();
        assert!(!oldest.expect("read").is_retired());
        work.stop = Stop::new();
        work.retire().expect("nothing failed");
        let oldest = journal.reader().expect("a reader").beginning();
        assert!(oldest.expect("read").is_retired());
    }

    #[test]
    fn a_name_that_is_taken_is_tried_again_after_the_next_change_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let journal = open(dir.path());
        let timeline = |id: &str| {
            let timeline = cairn_journal::Timeline {
                id: id.to_owned(),
                parent: None,
                at: Revision(0),
                kept: false,
                observed_at: cairn_journal::Timestamp(0),
            };
            NewRecord::timeline(Revision::NONE, timeline)
        };
        journal.append_and_commit(timeline("a")).expect("appended");
        append(&journal, 7);
        journal.checkpoint().expect("a checkpoint");
        journal.append_and_commit(timeline("b")).expect("appended");
        append(&journal, 7);
        let mut work = work(&journal, Retention::default());
        let (mut looked, mut wanted, mut retire_at) = (false, true, Instant::now());
        let mut turn = |work: &mut Work| {
            let turned = work.turn(&mut looked, &mut wanted, &mut retire_at);
            turned.expect("nothing failed");
            wanted
        };
        assert!(turn(&mut work), "the name is taken");
        assert_eq!(work.since.taken_at, Some(journal.appended_bytes()));
        assert!(turn(&mut work));
        append(&journal, 8);
        assert!(!turn(&mut work), "it is made");
        let found = journal.reader().expect("a reader").checkpoints();
        let newest = found.expect("read").usable[0].revision();
        assert_eq!(newest, Revision(8));
    }

    #[test]
    fn a_damaged_checkpoint_is_said_once_and_what_works_again_is_no_error_any_more() {
        let dir = tempfile::tempdir().expect("a directory");
        let journal = open(dir.path());
        append(&journal, 1);
        let made = journal.checkpoint().expect("a checkpoint");
        let path = made.newest.expect("there is one").path().to_owned();
        std::fs::write(&path, b"damage").expect("written");
        let mut work = work(&journal, Retention::default());
        for _ in 0..2 {
            work.retire().expect("nothing failed");
            assert_eq!(work.damaged.len(), 1);
        }
        std::fs::remove_file(path).expect("removed");
        work.retire().expect("nothing failed");
        assert_eq!(work.damaged.len(), 0);

        let error = || work.vitals.status().checkpoint.error;
        work.vitals.checkpoint_failed("no room");
        assert_eq!(error().as_deref(), Some("no room"));
        work.vitals.checkpoint_works();
        assert_eq!(error(), None);
    }
}
