//! Checkpoints and retention, beside the pipeline.
//!
//! Promises:
//!
//! * The pipeline never waits for any of this. It has a thread of its own, reads files only, and
//!   takes no lock that a commit needs.
//! * Records go only behind a checkpoint that was read in full (the journal sees to that). So
//!   *whoever needs what was before the oldest record begins with a checkpoint*:
//!   [`attach`](crate::attach) for whether there is anything in the journal and what it holds
//!   beyond a restore, the [snapshot diff](crate::attach::snapshot_diff) and the restore for the
//!   state, and the [mirror](crate::mirror::backlog), whose place may be among what has gone.
//! * What fails here is said loudly, counted, and tried again; it does not end a persister whose
//!   journal still takes records.
//! * A checkpoint does not take the journal's last room: it is put off while the disk has too
//!   little.

mod bell;
pub mod policy;
mod work;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use cairn_journal::{Journal, Stop};
use tokio::sync::oneshot;

use crate::maintenance::bell::Bell;
use crate::maintenance::policy::Policy;
use crate::maintenance::work::Work;
use crate::observe::vitals::Vitals;

/// How long an end waits for the thread: as long as one system call on a busy disk may take.
const LAST_CALL: Duration = Duration::from_secs(3);

/// The thread that does it.
#[derive(Debug)]
pub struct Maintenance {
    bell: Arc<Bell>,
    stop: Stop,
    thread: JoinHandle<()>,
    /// Closed by the thread when it is done.
    done: oneshot::Receiver<()>,
}

impl Maintenance {
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
        let (closing, done) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("checkpoints".to_owned())
            .spawn(move || {
                let _closed = closing;
                work.run(&heard);
            })?;
        Ok(Self {
            bell,
            stop,
            thread,
            done,
        })
    }

    /// Asks for a checkpoint as soon as possible: the journal has just taken a whole state.
    pub fn checkpoint_soon(&self) {
        self.bell.ring();
    }

    /// Ends, leaving a checkpoint that is under way unfinished. A thread that hangs in a system
    /// call is left behind.
    pub async fn end(self) {
        self.stop.ask();
        self.bell.ring();
        if tokio::time::timeout(LAST_CALL, self.done).await.is_err() {
            tracing::warn!("the thread that makes checkpoints hangs: the disk does not answer");
        } else if self.thread.join().is_err() {
            tracing::error!(
                "the thread that makes checkpoints has panicked; the journal is not affected"
            );
        }
    }
}
