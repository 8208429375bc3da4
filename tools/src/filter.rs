//! Which part of a journal is wanted: from and to a revision or a moment, and below a path.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use cairn_journal::{Entry, Record, Revision, Timestamp};

use crate::source::time_of;

/// A place in history, as people name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A revision.
    Revision(Revision),
    /// A moment, by the persister's clock.
    Time(Timestamp),
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(revision) => Ok(Self::Revision(Revision(revision))),
            Err(_) => parse_time(text)
                .map(Self::Time)
                .map_err(|why| format!("neither a revision (a number) nor a time: {why}")),
        }
    }
}

/// Reads a time: `2026-01-31T10:00:00Z`, `2026-01-31 10:00:00` (UTC too), `10 minutes ago`, `now`.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    let moment = if text == "now" {
        SystemTime::now()
    } else if let Some(ago) = text.strip_suffix("ago") {
        let ago = humantime::parse_duration(ago.trim()).map_err(|error| error.to_string())?;
        SystemTime::now().checked_sub(ago).unwrap_or(UNIX_EPOCH)
    } else {
        humantime::parse_rfc3339_weak(text)
            .or_else(|_| humantime::parse_rfc3339(text))
            .map_err(|error| {
                format!("{error}; write 2026-01-31T10:00:00Z, \"10 minutes ago\" or now")
            })?
    };
    let millis = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Timestamp(
        i64::try_from(millis.as_millis()).unwrap_or(i64::MAX),
    ))
}

/// A time as people read it; as a number of milliseconds if it is beyond all calendars.
#[must_use]
pub fn show_time(time: Timestamp) -> String {
    const LAST_OF_9999: u64 = 253_402_300_799_999;
    match u64::try_from(time.0) {
        Ok(millis) if millis <= LAST_OF_9999 => {
            let moment = UNIX_EPOCH + Duration::from_millis(millis);
            humantime::format_rfc3339_millis(moment).to_string()
        }
        _ => format!("{time} ms"),
    }
}

/// A file and everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(Bytes);

impl Prefix {
    /// `/app`: the file `/app` and all files below `/app/`, but not `/apple`. `/app/`: only those
    /// below. `/`: everything.
    #[must_use]
    pub fn new(path: &str) -> Self {
        Self(Bytes::copy_from_slice(path.as_bytes()))
    }

    /// Whether a path lies in it.
    #[must_use]
    pub fn contains(&self, path: &[u8]) -> bool {
        path.strip_prefix(&self.0[..]).is_some_and(|rest| {
            rest.is_empty() || rest[0] == b'/' || self.0.last().is_none_or(|last| *last == b'/')
        })
    }
}

/// Which part of a journal is wanted. Ends are inclusive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Nothing before this.
    pub from: Option<Point>,
    /// Nothing after this.
    pub to: Option<Point>,
    /// Only changes of these paths, and no markers.
    pub prefix: Option<Prefix>,
}

impl Filter {
    /// Whether everything is wanted.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Where reading may begin.
    #[must_use]
    pub fn begin(&self) -> Option<Revision> {
        match self.from {
            Some(Point::Revision(from)) => Some(from),
            _ => None,
        }
    }

    /// Whether times are asked for.
    #[must_use]
    pub fn needs_times(&self) -> bool {
        [self.from, self.to]
            .iter()
            .any(|point| matches!(point, Some(Point::Time(_))))
    }

    /// What is wanted of a record; `None`: nothing.
    ///
    /// A change counts by the revision that it is printed with, its own.
    #[must_use]
    pub fn apply(&self, mut record: Record) -> Option<Record> {
        if self.is_all() {
            return Some(record);
        }
        if !self.is_time_wanted(&record.entry) {
            return None;
        }
        if let Entry::Changes { changes, .. } = &mut record.entry {
            changes.retain(|change| {
                self.is_revision_wanted(change.revision.unwrap_or(record.revision))
                    && self.is_path_wanted(&change.path)
            });
            return (!changes.is_empty()).then_some(record);
        }
        (self.prefix.is_none() && self.is_revision_wanted(record.revision)).then_some(record)
    }

    /// Whether a path is wanted.
    #[must_use]
    pub fn is_path_wanted(&self, path: &[u8]) -> bool {
        self.prefix
            .as_ref()
            .is_none_or(|prefix| prefix.contains(path))
    }

    fn is_revision_wanted(&self, revision: Revision) -> bool {
        let late_enough = match self.from {
            Some(Point::Revision(from)) => from <= revision,
            _ => true,
        };
        let early_enough = match self.to {
            Some(Point::Revision(to)) => revision <= to,
            _ => true,
        };
        late_enough && early_enough
    }

    fn is_time_wanted(&self, entry: &Entry) -> bool {
        if !self.needs_times() {
            return true;
        }
        let Some(time) = time_of(entry) else {
            return false;
        };
        let late_enough = match self.from {
            Some(Point::Time(from)) => from <= time,
            _ => true,
        };
        let early_enough = match self.to {
            Some(Point::Time(to)) => time <= to,
            _ => true,
        };
        late_enough && early_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_file_and_what_is_below_it() {
        let app = Prefix::new("/app");
        assert!(app.contains(b"/app") && app.contains(b"/app/db"));
        assert!(!app.contains(b"/apple") && !app.contains(b"/ap"));
        let below = Prefix::new("/app/");
        assert!(below.contains(b"/app/db") && !below.contains(b"/app"));
        assert!(Prefix::new("/").contains(b"/x") && Prefix::new("").contains(b"/x"));
    }

    #[test]
    fn points_are_revisions_or_times() {
        assert_eq!("59".parse(), Ok(Point::Revision(Revision(59))));
        let time = Timestamp(1_769_853_600_000);
        for text in ["2026-01-31T10:00:00Z", "2026-01-31 10:00:00"] {
            assert_eq!(text.parse(), Ok(Point::Time(time)), "{text}");
        }
        assert_eq!(show_time(time), "2026-01-31T10:00:00.000Z");
        assert_eq!(show_time(Timestamp(i64::MAX)), "9223372036854775807 ms");
        assert_eq!(show_time(Timestamp(-1)), "-1 ms");
        let now = Timestamp::now().0;
        let Ok(Point::Time(Timestamp(then))) = "10 minutes ago".parse() else {
            panic!("not a time");
        };
        assert!((now - then - 600_000).abs() < 60_000);
        for wrong in ["", "yesterday", "10 ago", "5x"] {
            assert!(wrong.parse::<Point>().is_err(), "{wrong}");
        }
    }
}
