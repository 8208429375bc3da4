//! Times as the journal keeps them, and as people write and read them.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A moment, in milliseconds since 1970-01-01T00:00:00Z. The caller's clock, not the journal's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Now, by the clock of this machine.
    #[must_use]
    pub fn now() -> Self {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is not a time, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}; write 2026-01-31T10:00:00Z, \"10 minutes ago\" or now")]
pub struct InvalidTime {
    why: String,
}

impl FromStr for Timestamp {
    type Err = InvalidTime;

    /// Reads `2026-01-31T10:00:00Z`, `2026-01-31 10:00:00` (UTC too), `10 minutes ago`, `now`.
    fn from_str(text: &str) -> std::result::Result<Self, InvalidTime> {
        let refuse = |why: &dyn std::fmt::Display| InvalidTime {
            why: why.to_string(),
        };
        let text = text.trim();
        let time = if text == "now" {
            SystemTime::now()
        } else if let Some(ago) = text.strip_suffix("ago") {
            let ago = humantime::parse_duration(ago.trim()).map_err(|error| refuse(&error))?;
            SystemTime::now().checked_sub(ago).unwrap_or(UNIX_EPOCH)
        } else {
            humantime::parse_rfc3339_weak(text)
                .or_else(|_| humantime::parse_rfc3339(text))
                .map_err(|error| refuse(&error))?
        };
        let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default();
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
                let time = UNIX_EPOCH + Duration::from_millis(millis);
                humantime::format_rfc3339_millis(time).to_string()
            }
            _ => format!("{self} ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_shown() {
        let time = Timestamp(1_769_853_600_000);
        for text in ["2026-01-31T10:00:00Z", "2026-01-31 10:00:00"] {
            assert_eq!(text.parse(), Ok(time), "{text}");
        }
        assert_eq!(time.show(), "2026-01-31T10:00:00.000Z");
        assert_eq!(Timestamp(i64::MAX).show(), "9223372036854775807 ms");
        assert_eq!(Timestamp(-1).show(), "-1 ms");
        let then: Timestamp = "10 minutes ago".parse().expect("a time");
        assert!((Timestamp::now().0 - then.0 - 600_000).abs() < 60_000);
        for wrong in ["", "yesterday", "10 ago", "5x", "2026-13-01T00:00:00Z"] {
            assert!(wrong.parse::<Timestamp>().is_err(), "{wrong}");
        }
    }
}
