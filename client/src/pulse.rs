//! When to ask a silent server for a sign of life, and when to give it up.
//!
//! Pure: it is told the time. A server that sends anything at all is alive.

use std::time::Duration;

use tokio::time::Instant;

/// What is known about the server's life.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// Silence for so long makes us ask.
    keepalive: Duration,
    /// Silence for so much longer means that the connection is lost.
    patience: Duration,
    heard: Instant,
    asked: Option<Instant>,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Nothing before this time.
    Wait(Instant),
    /// Send a probe.
    Ask,
    /// Give up.
    Lost,
}

impl Pulse {
    pub(crate) fn new(keepalive: Duration, patience: Duration, now: Instant) -> Self {
        Self {
            keepalive,
            patience,
            heard: now,
            asked: None,
        }
    }

    /// Something came from the server.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// A probe was sent.
    pub(crate) fn asked(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// The probe was answered.
    pub(crate) fn answered(&mut self) {
        self.asked = None;
    }

    pub(crate) fn check(&self, now: Instant) -> Beat {
        let quiet_from = self.heard + self.keepalive;
        let (until, then) = match self.asked {
            // A probe that is overtaken by other answers is no reason to give up.
            Some(asked) => (asked.max(quiet_from) + self.patience, Beat::Lost),
            None => (quiet_from, Beat::Ask),
        };
        if now < until { Beat::Wait(until) } else { then }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEPALIVE: Duration = Duration::from_secs(10);
    const PATIENCE: Duration = Duration::from_secs(3);

    #[test]
    fn silence_is_first_questioned_and_then_final() {
        let start = Instant::now();
        let mut pulse = Pulse::new(KEEPALIVE, PATIENCE, start);
        let quiet = start + KEEPALIVE;
        assert_eq!(pulse.check(start), Beat::Wait(quiet));
        assert_eq!(pulse.check(quiet), Beat::Ask);
        pulse.asked(quiet);
        assert_eq!(pulse.check(quiet), Beat::Wait(quiet + PATIENCE));
        assert_eq!(pulse.check(quiet + PATIENCE), Beat::Lost);
    }

    #[test]
    fn any_byte_is_a_sign_of_life() {
        let start = Instant::now();
        let mut pulse = Pulse::new(KEEPALIVE, PATIENCE, start);
        pulse.asked(start + KEEPALIVE);
        let heard = start + KEEPALIVE + PATIENCE / 2;
        pulse.heard(heard);
        let until = heard + KEEPALIVE + PATIENCE;
        assert_eq!(pulse.check(heard), Beat::Wait(until));
        assert_eq!(pulse.check(until), Beat::Lost);
        pulse.answered();
        assert_eq!(pulse.check(heard), Beat::Wait(heard + KEEPALIVE));
    }
}
