//! Checkpoints and retention, beside the pipeline.
//!
//! Promises:
//!
//! * The pipeline never waits for any of this. It has a thread of its own, reads files only, and takes
//!   no lock that a commit needs.
//! * Records go only behind a checkpoint that was read in full (the journal sees to that). So
//!   *whoever needs what was before the oldest record begins with a checkpoint*:
//!   [`attach`](crate::attach) for whether there is anything in the journal and what it holds beyond a
//!   restore, [`difference`](crate::difference) and the restore for the state, and the
//!   [mirror](crate::stage::owed), whose place may be among what has gone.
//! * What fails here is said loudly, counted, and tried again; it does not end a persister whose
//!   journal still takes records.
//! * A checkpoint does not take the journal's last room: it is put off while the disk has too little.

mod work;

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use cairn_journal::{Journal, Retention, Stop};

use crate::observe::Vitals;

use work::Work;

/// When checkpoints are made, and what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// So many bytes of records after the last checkpoint the next one is due.
    pub every_bytes: u64,
    /// What is kept; by neither measure: everything.
    pub retention: Retention,
}

impl Policy {
    /// Whether a checkpoint is due `since` bytes of records after the last one, which has `newest` bytes.
    ///
    /// A large state is not written out again before as much has happened: so checkpoints never write
    /// more than the journal itself does.
    fn is_due(&self, since: u64, newest: u64, wanted: bool) -> bool {
        since > 0 && (wanted || since >= self.every_bytes.max(newest))
    }

    fn retires(&self) -> bool {
        self.retention != Retention::default()
    }
}

/// The thread that does it.
#[derive(Debug)]
pub struct Upkeep {
    bell: Arc<Bell>,
    stop: Stop,
    thread: JoinHandle<()>,
}

impl Upkeep {
    /// Starts for a journal that was just opened.
    ///
    /// # Errors
    /// The operating system has no thread left.
    pub fn start(
        journal: Arc<Journal>,
        policy: Policy,
        vitals: Arc<Vitals>,
    ) -> std::io::Result<Self> {
        let (bell, stop) = (Arc::new(Bell::default()), Stop::new());
        let work = Work::new(journal, policy, vitals, stop.clone());
        let heard = Arc::clone(&bell);
        let thread = std::thread::Builder::new()
            .name("checkpoints".to_owned())
            .spawn(move || work.run(&heard))?;
        Ok(Self { bell, stop, thread })
    }

    /// Asks for a checkpoint as soon as possible: the journal has just taken a whole state.
    pub fn checkpoint_soon(&self) {
        self.bell.ring();
    }

    /// Ends, leaving a checkpoint that is under way unfinished. Blocks for as long as one
    /// system call may take.
    pub fn end(self) {
        self.stop.ask();
        self.bell.ring();
        if self.thread.join().is_err() {
            tracing::error!(
                "the thread that makes checkpoints has panicked; the journal is not affected"
            );
        }
    }
}

/// Wakes the thread.
#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.heard.notify_all();
    }

    /// Waits until somebody rings, or for this long; whether somebody rang.
    fn wait(&self, most: Duration) -> bool {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.heard.wait_timeout_while(rung, most, |rung| !*rung);
        let mut rung = waited.unwrap_or_else(PoisonError::into_inner).0;
        std::mem::take(&mut *rung)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_after_so_many_bytes_or_as_many_as_the_last_one_has() {
        let policy = Policy {
            every_bytes: 64,
            retention: Retention::default(),
        };
        for (since, newest, wanted, due) in [
            (0, 0, true, false),
            (1, 0, true, true),
            (63, 0, false, false),
            (64, 0, false, true),
            (64, 1000, false, false),
            (999, 1000, false, false),
            (1000, 1000, false, true),
            (1, 1000, true, true),
        ] {
            assert_eq!(
                policy.is_due(since, newest, wanted),
                due,
                "{since} bytes since one of {newest}, wanted: {wanted}"
            );
        }
    }

    #[test]
    fn nothing_is_retired_unless_somebody_says_what_is_kept() {
        let mut policy = Policy {
            every_bytes: 64,
            retention: Retention::default(),
        };
        assert!(!policy.retires());
        policy.retention.bytes = Some(0);
        assert!(policy.retires());
    }
}
