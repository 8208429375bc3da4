//! Who holds a persister's id: the value of its owner key, and the times that go with it.
//!
//! At most one live persister holds an id. It writes its [`Owner`] value under
//! [`keys::owner`](crate::keys::owner), writes it again every [`HEARTBEAT`], busy or idle, and
//! deletes the key at an orderly end. A key that stays untouched for [`STALE_AFTER`] belongs to a
//! holder that is dead or cut off.
//!
//! The form is `JOURNAL PROCESS PLACE PID SETTLED`: words, one space between two of them. The last
//! may be missing. Readers ignore further words, which a later version may add.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How often a holder writes its owner key again.
pub const HEARTBEAT: Duration = Duration::from_secs(5);

/// How long an owner key must stay untouched before its holder counts as dead: three missed
/// heartbeats and a second of grace.
pub const STALE_AFTER: Duration = Duration::from_secs(16);

/// The holder of an id, as it stands in the owner key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The UUID of the journal that it writes.
    pub journal: String,
    /// Names this one process: a UUID that it made up when it started.
    pub process: String,
    /// The machine, and the journal's directory on it: whoever names the same place has the same
    /// lock. Has no space in it.
    pub place: String,
    /// Its process id, for people.
    pub pid: u32,
    /// Everything up to this revision was on its disk, or needed no journaling, when it wrote this.
    pub settled: Option<i64>,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            journal,
            process,
            place,
            pid,
            settled,
        } = self;
        write!(f, "{journal} {process} {place} {pid}")?;
        settled.map_or(Ok(()), |settled| write!(f, " {settled}"))
    }
}

impl FromStr for Owner {
    type Err = ParseOwnerError;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        let mut words = value.split(' ');
        let mut word = || words.next().filter(|word| !word.is_empty());
        let (Some(journal), Some(process), Some(place), Some(pid)) =
            (word(), word(), word(), word())
        else {
            return Err(ParseOwnerError);
        };
        Ok(Self {
            journal: journal.to_owned(),
            process: process.to_owned(),
            place: place.to_owned(),
            pid: pid.parse().map_err(|_| ParseOwnerError)?,
            settled: word().and_then(|settled| settled.parse().ok()),
        })
    }
}

impl Owner {
    /// Reads the value of an owner key.
    ///
    /// # Errors
    /// [`ParseOwnerError`] if a stranger, or a person, wrote something else there.
    pub fn parse(value: &[u8]) -> Result<Self, ParseOwnerError> {
        std::str::from_utf8(value)
            .map_err(|_| ParseOwnerError)?
            .parse()
    }
}

/// The value of an owner key is not of the form `JOURNAL PROCESS PLACE PID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseOwnerError;

impl fmt::Display for ParseOwnerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the owner key is not of the form `JOURNAL PROCESS PLACE PID`")
    }
}

impl std::error::Error for ParseOwnerError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_form_is_the_published_one_and_is_read_back() {
        let owner = Owner {
            journal: "j".to_owned(),
            process: "p".to_owned(),
            place: "host:1:2".to_owned(),
            pid: 7,
            settled: None,
        };
        assert_eq!(owner.to_string(), "j p host:1:2 7");
        assert_eq!(Owner::parse(b"j p host:1:2 7"), Ok(owner.clone()));
        assert_eq!(Owner::parse(b"j p host:1:2 7 later"), Ok(owner.clone()));
        let settled = Owner {
            settled: Some(120),
            ..owner
        };
        assert_eq!(settled.to_string(), "j p host:1:2 7 120");
        assert_eq!(Owner::parse(b"j p host:1:2 7 120 later"), Ok(settled));
    }

    #[test]
    fn other_forms_are_refused() {
        for value in [
            &b""[..],
            b" ",
            b"j p place",
            b"j  place 7",
            b"j p place x",
            b"\xff p place 7",
        ] {
            assert_eq!(Owner::parse(value), Err(ParseOwnerError), "{value:?}");
        }
    }

    #[test]
    fn a_holder_may_miss_three_heartbeats() {
        assert!(STALE_AFTER > HEARTBEAT * 3);
    }
}
