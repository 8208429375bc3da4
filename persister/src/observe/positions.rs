//! The newest revisions that were seen, journaled and made durable.

use std::time::{Duration, Instant};

use cairn_journal::{Revision, Timestamp};

/// The newest revisions of each kind, and since when one lags behind the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Positions {
    pub(super) cluster: Option<String>,
    pub(super) connected: bool,
    /// The newest revision that the cluster is known to have.
    pub(super) head: Revision,
    /// The newest revision that was seen.
    pub(super) seen: Revision,
    /// The newest revision that was handed to the journal.
    pub(super) handed: Revision,
    /// The newest revision that is durable.
    pub(super) durable: Revision,
    /// When the oldest change that is not durable yet was seen.
    pub(super) waiting_since: Option<Instant>,
    /// When the commit that is under way began.
    pub(super) committing_since: Option<Instant>,
    pub(super) last_durable: Option<Timestamp>,
}

impl Positions {
    /// The newest revision that is durable or needs no journaling.
    pub(super) fn settled(&self) -> Revision {
        if self.handed > self.durable {
            self.durable
        } else {
            self.seen.max(self.durable)
        }
    }

    pub(super) fn lag_revisions(&self) -> i64 {
        self.head.max(self.seen).0 - self.settled().0
    }

    pub(super) fn lag(&self) -> Duration {
        self.waiting_since
            .map_or(Duration::ZERO, |since| since.elapsed())
    }
}
