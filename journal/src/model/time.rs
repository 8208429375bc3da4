//! Times as the journal keeps them, and as people write and read them.

use std::{fmt, str::FromStr};

use jiff::{civil, fmt::temporal::DateTimeParser, tz::Offset};

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

/// A time that is still to come was given where one that has been is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is in the future; it is {} now (times without an offset, or with Z, are UTC)",
    .time.show(), .now.show()
)]
pub struct InTheFuture {
    time: Timestamp,
    now: Timestamp,
}

impl Timestamp {
    /// This time, unless it is still to come by the clock of this machine: nobody knows what is
    /// going to be then.
    ///
    /// # Errors
    /// It is still to come.
    pub fn that_has_been(self) -> Result<Self, InTheFuture> {
        let now = Self::now();
        if self > now {
            return Err(InTheFuture { time: self, now });
        }
        Ok(self)
    }
}

/// A text that is not a time, why, and the forms that are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{why}; write 2026-01-31T10:00:00Z, 2026-01-31 11:00:00+01:00, 2026-01-31 (both date and time \
     are UTC without an offset), @1769853600 (Unix seconds), \"10 minutes ago\" or now"
)]
pub struct InvalidTime {
    why: String,
}

impl InvalidTime {
    fn because(why: impl fmt::Display) -> Self {
        Self {
            why: why.to_string(),
        }
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTime;

    /// Reads a date with or without a time of day, as RFC 3339 writes them: `T` or a space between,
    /// any fraction of a second (what is finer than a millisecond is cut off), and an offset, `Z`,
    /// or neither, which means UTC.
    ///
    /// Also reads `@1769853600` (Unix seconds, perhaps with a fraction), `1769853600000 ms`, `10
    /// minutes ago` and `now`. A bare number is refused: where revisions are taken too, it is one.
    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let text = text.trim();
        if text == "now" {
            Ok(Self::now())
        } else if let Some(ago) = text.strip_suffix("ago") {
            let ago = humantime::parse_duration(ago.trim()).map_err(InvalidTime::because)?;
            let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
            Ok(Self(Self::now().0.saturating_sub(ago).max(0)))
        } else if let Some(seconds) = text.strip_prefix('@') {
            let millis = unix_millis(seconds);
            millis
                .map(Self)
                .ok_or_else(|| InvalidTime::because(format_args!("{text:?}: not Unix seconds")))
        } else if let Some(millis) = text.strip_suffix(" ms") {
            let millis = millis.parse().map_err(InvalidTime::because)?;
            Ok(Self(millis))
        } else {
            date_and_time(text)
        }
    }
}

/// The milliseconds of `12` or `12.345` seconds.
fn unix_millis(seconds: &str) -> Option<i64> {
    let Some((whole, fraction)) = seconds.split_once('.') else {
        return seconds.parse::<i64>().ok()?.checked_mul(1000);
    };
    if fraction.is_empty() || !(whole.bytes().chain(fraction.bytes())).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let millis: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let whole: i64 = whole.parse().ok()?;
    whole.checked_mul(1000)?.checked_add(millis)
}

fn date_and_time(text: &str) -> Result<Timestamp, InvalidTime> {
    // ISO 8601 has dates without hyphens.
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(InvalidTime::because(format_args!(
            "{text:?}: a number alone is not a time"
        )));
    }
    let pieces = DateTimeParser::new().parse_pieces(text);
    let pieces = pieces.map_err(|error| InvalidTime::because(format_args!("{text:?}: {error}")))?;
    // Without a database of time zones, its offset cannot be known or checked.
    if pieces.time_zone_annotation().is_some() {
        return Err(InvalidTime::because(format_args!(
            "{text:?}: give an offset instead of the name of a time zone"
        )));
    }
    let offset = pieces.to_numeric_offset().unwrap_or(Offset::UTC);
    // What RFC 3339 has; the parser takes somewhat more.
    if offset.seconds().abs() >= DAY_SECONDS {
        return Err(InvalidTime::because(format_args!(
            "{text:?}: an offset is less than 24 hours"
        )));
    }
    let time = pieces.time().unwrap_or_else(civil::Time::midnight);
    let time = offset.to_timestamp(pieces.date().to_datetime(time));
    let time = time.map_err(|error| InvalidTime::because(format_args!("{text:?}: {error}")))?;
    let millis = time.as_nanosecond().div_euclid(1_000_000);
    Ok(Timestamp(i64::try_from(millis).unwrap_or(i64::MAX)))
}

const DAY_SECONDS: i32 = 24 * 60 * 60;

impl Timestamp {
    /// As people read it, in UTC; as a number of milliseconds where it is before 1970 or beyond the
    /// calendar. [`Timestamp::from_str`] reads both.
    #[must_use]
    pub fn show(self) -> String {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) if self.0 >= 0 => format!("{time:.3}"),
            _ => format!("{self} ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

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

    /// The story: an offset beside a fraction was taken for UTC in silence, one without a fraction
    /// was refused, and `+99:99` passed.
    #[test]
    fn one_time_is_read_in_every_form_that_people_write() {
        const SECOND: i64 = 1_737_539_722_000;
        for (text, millis) in [
            ("2025-01-22T09:55:22Z", SECOND),
            ("2025-01-22t09:55:22z", SECOND),
            ("2025-01-22 09:55:22Z", SECOND),
            ("  2025-01-22 09:55:22  ", SECOND),
            ("2025-01-22T10:55:22+01:00", SECOND),
            ("2025-01-22 10:55:22+01:00", SECOND),
            ("2025-01-22 10:55:22+01", SECOND),
            ("2025-01-22T10:55:22+0100", SECOND),
            ("2025-01-22T05:55:22-04:00", SECOND),
            ("2025-01-22T15:40:22+05:45", SECOND),
            ("2025-01-21T10:55:22-23:00", SECOND),
            ("2025-01-22T09:55:22-00:00", SECOND),
            ("2025-01-22T09:55:22.7Z", SECOND + 700),
            ("2025-01-22T09:55:22.716307", SECOND + 716),
            ("2025-01-22T09:55:22.716999999Z", SECOND + 716),
            ("2025-01-22 10:55:22.716307+01:00", SECOND + 716),
            ("2025-01-22 05:55:22.716307-04:00", SECOND + 716),
            ("2025-01-22T09:55", SECOND - 22_000),
            ("2025-01-22 10:55+01:00", SECOND - 22_000),
            ("2025-01-22", SECOND - (9 * 3600 + 55 * 60 + 22) * 1000),
            ("2024-02-29T23:59:59Z", 1_709_251_199_000),
            ("1970-01-01", 0),
            ("1969-12-31T23:59:59.999Z", -1),
            ("@1737539722", SECOND),
            ("@1737539722.7", SECOND + 700),
            ("@1737539722.716999", SECOND + 716),
            ("@0", 0),
            ("@-1", -1000),
            ("1737539722000 ms", SECOND),
        ] {
            assert_eq!(text.parse(), Ok(Timestamp(millis)), "{text}");
        }
        for (ago, millis) in [
            ("1 hour ago", 3_600_000),
            ("2h 30m ago", 9_000_000),
            ("1day ago", 86_400_000),
            ("0s ago", 0),
        ] {
            let then: Timestamp = ago.parse().expect(ago);
            assert!(
                (Timestamp::now().0 - then.0 - millis).abs() < 60_000,
                "{ago}"
            );
        }
        assert_eq!("1000000 years ago".parse(), Ok(Timestamp(0)));
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_forms_that_are() {
        for wrong in [
            "",
            "ago",
            "yesterday",
            "10 minutes",
            "-10 minutes ago",
            "1737539722",
            "1737539722000",
            "20250122",
            "@",
            "@1.",
            "@.5",
            "@-1.5",
            "@1e9",
            "@9223372036854775807",
            "ms",
            "1.5 ms",
            "09:55:22",
            "2025-01-22T",
            "2025-01-22T09:55:22ZZ",
            "2025-01-22T09:55:22Z+01:00",
            "2025-01-22T09:55:22+99:99",
            "2025-01-22T09:55:22.7+99:99",
            "2025-01-22T09:55:22+24:00",
            "2025-01-22T09:55:22+01:60",
            "2025-01-22T09:55:22+",
            "2025-01-22T09:55:22.Z",
            "2025-01-22T09:55:22 CET",
            "2025-01-22T09:55:22[Europe/Berlin]",
            "2025-01-22T09:55:22+01:00[Europe/Berlin]",
            "2025-01-22T24:30:00Z",
            "2025-01-22T09:60:00Z",
            "2025-02-29",
            "2025-1-22",
            "22.01.2025",
            "2025-01-22T09:55:22Z tomorrow",
        ] {
            let refused = wrong.parse::<Timestamp>().expect_err(wrong).to_string();
            assert!(refused.contains("write 2026-01-31T10:00:00Z"), "{refused}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_it_was(
            millis in prop_oneof![any::<i64>(), 0..253_402_300_800_000_i64, -100_000..100_000_i64],
        ) {
            prop_assert_eq!(Timestamp(millis).show().parse(), Ok(Timestamp(millis)));
        }

        #[test]
        fn no_text_is_too_odd_to_be_judged(text in "[-+@:.TZ 0-9a-z]{0,40}|\\PC{0,20}") {
            let _ = text.parse::<Timestamp>();
        }

        #[test]
        fn an_offset_moves_the_time_by_itself(
            millis in 0..4_000_000_000_000_i64,
            minutes in -1439..=1439_i64,
        ) {
            let local = Timestamp(millis + 100_000_000 + minutes * 60_000).show();
            let (sign, minutes) = (if minutes < 0 { '-' } else { '+' }, minutes.abs());
            let offset = format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60);
            let text = local.replace('Z', &offset);
            prop_assert_eq!(text.parse(), Ok(Timestamp(millis + 100_000_000)), "{}", text);
        }
    }
}
