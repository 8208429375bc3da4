//! Whether a persister lives, by the heartbeats with which it holds its id. Pure: told the time.
//!
//! A persister refreshes its owner key every [`HEARTBEAT`], busy or idle, and deletes it when
//! it ends in good order. Silence counts only for as long as this client was there to listen.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::revision::Revision;

use cairn_protocol::owner::HEARTBEAT;

/// A heartbeat that is this late was missed: its interval, and what a busy cluster may add.
pub(crate) const LATE: Duration = HEARTBEAT.saturating_add(Duration::from_secs(2));

/// Whether a persister lives. All durations are counted back from the moment it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Liveness {
    /// It runs: busy, idle or waiting for its disk.
    Alive {
        /// Its last heartbeat.
        heartbeat: Duration,
    },
    /// It holds its id and its heartbeats have stopped: killed, hanging, or cut off from the
    /// cluster.
    Silent {
        /// At least this long.
        since: Duration,
    },
    /// Nobody holds its id: it ended in good order, was never started, or writes no heartbeats.
    Absent {
        /// When it ended; `None`: before this client looked.
        since: Option<Duration>,
    },
    /// Nobody can tell yet: this client has not listened for long enough, or has no connection.
    Unknown,
}

/// The heartbeats of one persister, as far as they were seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heartbeats {
    holder: Holder,
    listening: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Holder {
    #[default]
    Unread,
    Nobody {
        since: Option<Instant>,
    },
    Held {
        at: Revision,
        /// `None`: it was there when this client first looked.
        beat: Option<Instant>,
    },
}

impl Heartbeats {
    /// The owner key as it was read over a new connection: its revision, if there is one.
    pub(crate) fn read(&mut self, now: Instant, owner: Option<Revision>) {
        self.listening = Some(now);
        self.holder = match (self.holder, owner) {
            (Holder::Nobody { since }, None) => Holder::Nobody { since },
            (_, None) => Holder::Nobody { since: None },
            (Holder::Held { at, beat }, Some(found)) if at == found => Holder::Held { at, beat },
            (_, Some(at)) => Holder::Held { at, beat: None },
        };
    }

    /// The owner key was set at this revision.
    pub(crate) fn beat(&mut self, now: Instant, at: Revision) {
        self.holder = Holder::Held {
            at,
            beat: Some(now),
        };
    }

    /// The owner key was deleted.
    pub(crate) fn released(&mut self, now: Instant) {
        self.holder = Holder::Nobody { since: Some(now) };
    }

    pub(crate) fn liveness(&self, now: Instant) -> Liveness {
        let Some(listening) = self.listening else {
            return Liveness::Unknown;
        };
        let listened = now.saturating_duration_since(listening);
        match self.holder {
            Holder::Unread => Liveness::Unknown,
            Holder::Nobody { since } => Liveness::Absent {
                since: since.map(|since| now.saturating_duration_since(since)),
            },
            Holder::Held { beat, .. } => {
                let quiet = beat.map(|beat| now.saturating_duration_since(beat));
                match quiet {
                    Some(heartbeat) if heartbeat <= LATE => Liveness::Alive { heartbeat },
                    _ if listened <= LATE => Liveness::Unknown,
                    quiet => Liveness::Silent {
                        since: quiet.unwrap_or(listened),
                    },
                }
            }
        }
    }
}

impl fmt::Display for Liveness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alive { heartbeat } => write!(f, "and runs: heartbeat {heartbeat:.1?} ago"),
            Self::Silent { since } => write!(
                f,
                "and is dead, hangs or is cut off: no heartbeat for {since:.1?}"
            ),
            Self::Absent { since: Some(since) } => write!(f, "and ended {since:.1?} ago"),
            Self::Absent { since: None } => {
                write!(f, "and nobody holds its id: perhaps it is not started")
            }
            Self::Unknown => write!(f, "and it is too early to say whether it lives"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, secs: u64) -> Instant {
        start + Duration::from_secs(secs)
    }

    #[test]
    fn beats_mean_life_and_their_absence_death_once_listened_long_enough() {
        let (start, secs) = (Instant::now(), Duration::from_secs);
        let mut heartbeats = Heartbeats::default();
        assert_eq!(heartbeats.liveness(start), Liveness::Unknown);
        heartbeats.read(start, Some(Revision(60)));
        assert_eq!(heartbeats.liveness(after(start, 7)), Liveness::Unknown);
        let silent = Liveness::Silent { since: secs(8) };
        assert_eq!(heartbeats.liveness(after(start, 8)), silent);
        heartbeats.beat(after(start, 10), Revision(70));
        let alive = Liveness::Alive { heartbeat: secs(5) };
        assert_eq!(heartbeats.liveness(after(start, 15)), alive);
        let silent = Liveness::Silent { since: secs(20) };
        assert_eq!(heartbeats.liveness(after(start, 30)), silent);
    }

    #[test]
    fn what_was_not_listened_to_is_no_silence() {
        let start = Instant::now();
        let mut heartbeats = Heartbeats::default();
        heartbeats.read(start, Some(Revision(60)));
        heartbeats.beat(after(start, 5), Revision(70));
        // The connection was away for a minute.
        heartbeats.read(after(start, 65), Some(Revision(90)));
        assert_eq!(heartbeats.liveness(after(start, 66)), Liveness::Unknown);
        // It was, and there was no beat in all that time.
        let mut heartbeats = Heartbeats::default();
        heartbeats.read(start, Some(Revision(60)));
        heartbeats.beat(start, Revision(70));
        heartbeats.read(after(start, 60), Some(Revision(70)));
        let silent = Liveness::Silent {
            since: Duration::from_secs(68),
        };
        assert_eq!(heartbeats.liveness(after(start, 68)), silent);
    }

    #[test]
    fn an_orderly_end_is_not_death() {
        let start = Instant::now();
        let mut heartbeats = Heartbeats::default();
        heartbeats.read(start, None);
        assert_eq!(heartbeats.liveness(start), Liveness::Absent { since: None });
        heartbeats.beat(start, Revision(60));
        heartbeats.released(after(start, 1));
        let since = Some(Duration::from_secs(2));
        assert_eq!(
            heartbeats.liveness(after(start, 3)),
            Liveness::Absent { since }
        );
    }
}
