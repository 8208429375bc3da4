//! Limits and times of a session.

use std::time::Duration;

/// What etcd allows of pings: a member ends an idle connection on which they come faster than every
/// 5 s (`--grpc-keepalive-min-time`).
const KEEPALIVE_MIN: Duration = Duration::from_secs(6);

/// Limits and times of a session. Each has a default.
#[derive(Clone, Debug)]
pub struct Options {
    /// The time to connect to one endpoint, first answer included. Default: 5 s.
    pub connect_timeout: Duration,
    /// The deadline of every call, and the longest pause within a snapshot. Default: 10 s, more
    /// than the 7 s after which a member without a majority answers of its own.
    pub request_timeout: Duration,
    /// How often the member is pinged while a call or a watch is open; at least 6 s, since members
    /// take faster pings, and pings at other times, for an attack.
    /// Default: 6 s.
    pub keepalive: Duration,
    /// A member that leaves a ping unanswered for this long is lost, and the session has ended.
    /// Default: 4 s.
    pub keepalive_timeout: Duration,
    /// Whether calls and watches fail at once on a member that knows no leader, instead of when
    /// their deadline passes or never. Default: true.
    pub require_leader: bool,
    /// The largest message to send or accept, in bytes. Default: 64 MiB.
    pub max_message: usize,
    /// The most bytes of one revision that a watch collects from fragments. Default: 64 MiB.
    pub max_revision: usize,
    /// The most unanswered calls; further ones wait for their turn. Default: 1,024.
    pub max_in_flight: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            keepalive: KEEPALIVE_MIN,
            keepalive_timeout: Duration::from_secs(4),
            require_leader: true,
            max_message: 64 << 20,
            max_revision: 64 << 20,
            max_in_flight: 1_024,
        }
    }
}

impl Options {
    pub(crate) fn keepalive(&self) -> Duration {
        self.keepalive.max(KEEPALIVE_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_are_never_faster_than_members_allow() {
        let options = Options {
            keepalive: Duration::from_millis(1),
            ..Options::default()
        };
        assert_eq!(options.keepalive(), KEEPALIVE_MIN);
    }
}
