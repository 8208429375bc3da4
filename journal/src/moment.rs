//! Moments as people write and read them, and the state that a journal held at one.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Entry, Error, GapPhase, Reader, Result, Revision, Timestamp, tracker::Tracker, turn};

/// A text that is not a moment, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}; write 2026-01-31T10:00:00Z, \"10 minutes ago\" or now")]
pub struct NoMoment {
    why: String,
}

impl FromStr for Timestamp {
    type Err = NoMoment;

    /// Reads `2026-01-31T10:00:00Z`, `2026-01-31 10:00:00` (UTC too), `10 minutes ago`, `now`.
    fn from_str(text: &str) -> std::result::Result<Self, NoMoment> {
        let refuse = |why: &dyn std::fmt::Display| NoMoment {
            why: why.to_string(),
        };
        let text = text.trim();
        let moment = if text == "now" {
            SystemTime::now()
        } else if let Some(ago) = text.strip_suffix("ago") {
            let ago = humantime::parse_duration(ago.trim()).map_err(|error| refuse(&error))?;
            SystemTime::now().checked_sub(ago).unwrap_or(UNIX_EPOCH)
        } else {
            humantime::parse_rfc3339_weak(text)
                .or_else(|_| humantime::parse_rfc3339(text))
                .map_err(|error| refuse(&error))?
        };
        let millis = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self(i64::try_from(millis.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Timestamp {
    /// As people read it; as a number of milliseconds if it is beyond all calendars.
    #[must_use]
    pub fn show(self) -> String {
        const LAST_OF_9999: u64 = 253_402_300_799_999;
        match u64::try_from(self.0) {
            Ok(millis) if millis <= LAST_OF_9999 => {
                let moment = UNIX_EPOCH + Duration::from_millis(millis);
                humantime::format_rfc3339_millis(moment).to_string()
            }
            _ => format!("{self} ms"),
        }
    }
}

/// The newest revision that was covered before anything was observed to change later than `time`:
/// [`state`](crate::state()) there is the state at that moment.
///
/// Times are those of the observers' clocks, taken in the order of the records: a clock that was set
/// back does not bring anything back.
///
/// # Errors
/// [`Error::MomentNotInHistory`] if the journal, or what retention has left of it, begins later, or if
/// revisions have begun anew since, so that the state can no longer be asked for by a revision.
pub fn revision_at(reader: &Reader, time: Timestamp) -> Result<Revision> {
    let base = reader.checkpoints()?.usable.pop();
    let mut records = match &base {
        // The oldest of them: what is before it may be gone.
        Some(base) if base.observed_at() <= time => reader.records_from(base.sequence().next()),
        _ => reader.records(),
    };
    let base = base.filter(|base| base.observed_at() <= time);
    let mut found = base.as_ref().map(crate::Checkpoint::revision);
    let mut tracker = Tracker {
        covered: found.unwrap_or_default(),
        ..Tracker::default()
    };
    let refuse = |detail: String| Error::MomentNotInHistory { time, detail };
    let (mut over, mut in_difference) = (false, false);
    records.try_for_each(|record| {
        let record = record?;
        let is_later = observed(&record.entry).is_some_and(|observed| observed > time);
        // That nothing had changed until later does not end the search.
        over |= is_later && !matches!(record.entry, Entry::Watermark { .. });
        if let Entry::Gap { phase, .. } = &record.entry {
            in_difference = *phase == GapPhase::Opened;
        }
        let covered = tracker.covered;
        tracker.apply(record.revision, &record.entry);
        match &record.entry {
            Entry::Changes { .. } if in_difference => {}
            Entry::Timeline(timeline)
                if over && turn::counts_anew(timeline, record.revision, covered) =>
            {
                return Err(refuse(format!(
                    "another cluster was followed then, at its revision {}; revisions began anew at {}. Its \
                     history is still there (dumpjournal --to), its state cannot be asked for",
                    found.unwrap_or_default(),
                    timeline.observed_at.show(),
                )));
            }
            Entry::Changes { .. } | Entry::Watermark { .. } | Entry::Gap { .. }
                if !over && !is_later =>
            {
                found = Some(record.revision);
            }
            _ => {}
        }
        Ok(())
    })?;
    found.ok_or_else(|| refuse("the journal begins later".to_owned()))
}

/// When a record was observed, if it says so.
fn observed(entry: &Entry) -> Option<Timestamp> {
    match entry {
        Entry::Changes { observed_at, .. }
        | Entry::Gap { observed_at, .. }
        | Entry::Watermark { observed_at, .. }
        | Entry::Lost { observed_at, .. } => Some(*observed_at),
        Entry::Timeline(timeline) => Some(timeline.observed_at),
        Entry::Seal { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Change, Journal, NewRecord, Options, Timeline};

    #[test]
    fn moments_are_read_and_shown() {
        let time = Timestamp(1_769_853_600_000);
        for text in ["2026-01-31T10:00:00Z", "2026-01-31 10:00:00"] {
            assert_eq!(text.parse(), Ok(time), "{text}");
        }
        assert_eq!(time.show(), "2026-01-31T10:00:00.000Z");
        assert_eq!(Timestamp(i64::MAX).show(), "9223372036854775807 ms");
        assert_eq!(Timestamp(-1).show(), "-1 ms");
        let then: Timestamp = "10 minutes ago".parse().expect("a moment");
        assert!((Timestamp::now().0 - then.0 - 600_000).abs() < 60_000);
        for wrong in ["", "yesterday", "10 ago", "5x", "2026-13-01T00:00:00Z"] {
            assert!(wrong.parse::<Timestamp>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_state_at_a_moment_is_the_one_before_the_first_later_change() {
        let dir = tempfile::tempdir().expect("a directory");
        let (journal, _) = Journal::open(dir.path(), Options::default()).expect("a new journal");
        let set = |revision, time| {
            let change = Change::set("/a", "x");
            let record = NewRecord::changes(Revision(revision), vec![change], Timestamp(time));
            journal.append_and_commit(record).expect("room");
        };
        for (revision, time) in [(10, 1000), (20, 2000), (30, 1500), (40, 3000)] {
            set(revision, time);
        }
        let at = |time| revision_at(&journal.reader().expect("a reader"), Timestamp(time)).ok();
        for (time, revision) in [
            (999, None),
            (1000, Some(10)),
            // The clock went back between 20 and 30; 20 was later than this.
            (1700, Some(10)),
            (2000, Some(30)),
            (9000, Some(40)),
        ] {
            assert_eq!(at(time), revision.map(Revision), "{time}");
        }
        let timeline = Timeline {
            id: "b".to_owned(),
            parent: Some("a@40".to_owned()),
            at: Revision(5),
            kept: true,
            observed_at: Timestamp(4000),
        };
        let turn = NewRecord::timeline(Revision(5), timeline);
        journal.append_and_commit(turn).expect("room");
        set(6, 5000);
        assert_eq!(at(2000), None, "revisions began anew since");
        assert_eq!(at(5000), Some(Revision(6)));
    }
}
