//! What writes into a cluster cost where files would bring it back, told before the first one.

use std::fmt;
use std::time::Duration;

use cairn_journal::Revision;
use serde::Serialize;

use crate::cluster::capabilities::{Restores, WriteRates};
use crate::error::Error;
use crate::restore::target::Files;

/// What a restore by writes takes, about, and what it cannot bring back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Forecast {
    /// Revisions that have keys.
    pub revisions: u64,
    /// Revisions without keys that are filled, to take the counter where it was.
    pub fillers: u64,
    /// Revisions without keys that are not filled: no key gets the revision that it had.
    pub skipped: u64,
    /// Seconds.
    pub seconds: u64,
}

impl Forecast {
    /// What it takes to write `files` into a cluster at `from`, and to take its counter to `upto`;
    /// `None` where writes bring everything back.
    ///
    /// # Errors
    /// [`Error::WouldLose`] if there is more to be filled than is waited for, unless that is
    /// accepted.
    pub(super) fn of(
        restores: Restores,
        files: &Files,
        from: Revision,
        upto: Revision,
        accept_loss: bool,
    ) -> Result<Option<Self>, Error> {
        let Restores::Files(rates) = restores else {
            return Ok(None);
        };
        let mut revisions: Vec<Revision> = files.values().map(|key| key.revision).collect();
        revisions.sort_unstable();
        revisions.dedup();
        let revisions = revisions.len() as u64;
        let way = u64::try_from(upto.0.saturating_sub(from.0)).unwrap_or(0);
        let fillers = way.saturating_sub(revisions);
        if fillers <= rates.most_fillers.unsigned_abs() {
            return Ok(Some(Self::timed(rates, revisions, fillers, 0)));
        }
        if accept_loss {
            return Ok(Some(Self::timed(rates, revisions, 0, fillers)));
        }
        let filled = Self::timed(rates, revisions, fillers, 0);
        Err(Error::WouldLose(format!(
            "writes cannot take this cluster from revision {from} to {upto}, where the journal \
             ends: {fillers} revisions without keys would be filled, in about {}, and the cluster \
             would keep each. Without them no key gets the revision that it had, and numbers that \
             clients remember mean something else. `persister restore --to-snapshot` brings back \
             all of it, in any time",
            filled.time()
        )))
    }

    fn timed(rates: WriteRates, revisions: u64, fillers: u64, skipped: u64) -> Self {
        let seconds = revisions / u64::from(rates.writes.max(1))
            + fillers / u64::from(rates.fillers.max(1))
            + 1;
        Self {
            revisions,
            fillers,
            skipped,
            seconds,
        }
    }

    /// Whether keys get the revisions that they had.
    pub(super) fn fills(&self) -> bool {
        self.skipped == 0
    }

    fn time(&self) -> humantime::FormattedDuration {
        humantime::format_duration(Duration::from_secs(self.seconds))
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "by writes: {} revisions with keys and {} without take about {}. Create revisions and \
             versions begin anew, older values and watches from before are gone; `persister \
             restore --to-snapshot` brings them back",
            self.revisions,
            self.fillers,
            self.time()
        )?;
        if !self.fills() {
            write!(
                f,
                ". {} revisions are not filled: keys come back in order, each at another revision, \
                 and the counter stays lower than it was. All clients must begin anew",
                self.skipped
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_journal::KeyValue;

    const RATES: WriteRates = WriteRates {
        writes: 10,
        fillers: 100,
        most_fillers: 1_000,
    };

    fn forecast(upto: i64, accept_loss: bool) -> Result<Option<Forecast>, Error> {
        let keys = [("a", 5), ("b", 5), ("c", 7)];
        let keys = keys.map(|(path, at)| KeyValue::new(path, Revision(at), "x"));
        let files = keys
            .into_iter()
            .map(|key| (key.path.clone(), key))
            .collect();
        let restores = Restores::Files(RATES);
        Forecast::of(restores, &files, Revision(2), Revision(upto), accept_loss)
    }

    #[test]
    fn what_takes_too_long_is_left_out_only_where_that_is_accepted() {
        let few = forecast(500, false).expect("few").expect("told");
        assert_eq!((few.revisions, few.fillers, few.skipped), (2, 496, 0));
        assert_eq!(few.seconds, 5);
        assert!(few.fills());
        let error = forecast(5_000, false).expect_err("too many");
        assert_eq!(error.exit_status(), 25);
        let skipped = forecast(5_000, true).expect("accepted").expect("told");
        assert_eq!((skipped.fillers, skipped.skipped), (0, 4_996));
        assert!(skipped.to_string().contains("must begin anew"));
        let none = Forecast::of(
            Restores::Writes,
            &Files::new(),
            Revision(1),
            Revision(1 << 40),
            false,
        );
        assert_eq!(none.expect("it is waited for"), None);
    }
}
