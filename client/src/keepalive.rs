//! When to probe a silent server, and when to give it up.
//!
//! Pure: it is told the time. A server that sends anything at all is alive.

use std::time::Duration;

use tokio::time::Instant;

/// When the server was last heard, and whether a probe is unanswered.
#[derive(Debug)]
pub(crate) struct Keepalive {
    /// A server that is silent for this long is probed.
    interval: Duration,
    /// A server that is silent for this much longer is lost.
    timeout: Duration,
    heard: Instant,
    probed: Option<Instant>,
}

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing before this time.
    Wait(Instant),
    /// Send a probe.
    Probe,
    /// Give up.
    Lost,
}

impl Keepalive {
    pub(crate) fn new(interval: Duration, timeout: Duration, now: Instant) -> Self {
        Self {
            interval,
            timeout,
            heard: now,
            probed: None,
        }
    }

    /// Something came from the server.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// A probe was sent.
    pub(crate) fn probed(&mut self, now: Instant) {
        self.probed = Some(now);
    }

    /// The probe was answered.
    pub(crate) fn answered(&mut self) {
        self.probed = None;
    }

    pub(crate) fn check(&self, now: Instant) -> Action {
        let quiet_from = self.heard + self.interval;
        let (until, then) = match self.probed {
            // A probe that is overtaken by other answers is no reason to give up.
            Some(probed) => (probed.max(quiet_from) + self.timeout, Action::Lost),
            None => (quiet_from, Action::Probe),
        };
        if now < until {
            Action::Wait(until)
        } else {
            then
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);
    const TIMEOUT: Duration = Duration::from_secs(3);

    #[test]
    fn silence_is_first_questioned_and_then_final() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(INTERVAL, TIMEOUT, start);
        let quiet = start + INTERVAL;
        assert_eq!(keepalive.check(start), Action::Wait(quiet));
        assert_eq!(keepalive.check(quiet), Action::Probe);
        keepalive.probed(quiet);
        assert_eq!(keepalive.check(quiet), Action::Wait(quiet + TIMEOUT));
        assert_eq!(keepalive.check(quiet + TIMEOUT), Action::Lost);
    }

    #[test]
    fn any_byte_is_a_sign_of_life() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(INTERVAL, TIMEOUT, start);
        keepalive.probed(start + INTERVAL);
        let heard = start + INTERVAL + TIMEOUT / 2;
        keepalive.heard(heard);
        let until = heard + INTERVAL + TIMEOUT;
        assert_eq!(keepalive.check(heard), Action::Wait(until));
        assert_eq!(keepalive.check(until), Action::Lost);
        keepalive.answered();
        assert_eq!(keepalive.check(heard), Action::Wait(heard + INTERVAL));
    }
}
