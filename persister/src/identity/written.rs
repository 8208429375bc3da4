//! The value of the identity key: what is written into the cluster, and read from it.
//!
//! ```text
//! identity = ID [ " from " PARENT " at " REVISION " " outcome [ ancestry ] ]
//! ancestry = " after " ancestor { " " ancestor }
//! outcome  = "kept" [ " next " REVISION ] | "shifted" | "part" | "restoring " BY [ choice ]
//!          | "bidding " BY [ " for " SECONDS "s" ] [ " met " ids ] [ " of " ids ]
//! choice   = " chosen" | " only " PREFIX { " " PREFIX }
//! ids      = NUMBER { "," NUMBER }
//! ancestor = ID "@" REVISION
//! ```
//!
//! No ID, PARENT, BY or PREFIX has a space in it. The promise: whatever [`fmt::Display`] writes,
//! [`Identity::parse`] reads back as the same; and what an operator or a stranger wrote there is
//! refused, not guessed at.

use std::collections::BTreeSet;
use std::fmt;

use cairn_journal::Revision;

use crate::cluster::control::Id;
use crate::identity::lineage::{Ancestor, Bid, Choice, Identity, Origin, Outcome};

/// The value of the identity key is not in a form that we know.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cluster's identity is {value:?}, which is not of the form \
     `ID` or `ID from OLD at REVISION kept|shifted|part|bidding ...|restoring ... [after OLDER@REVISION ...]`"
)]
pub struct ParseError {
    value: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        match &self.origin {
            Some(origin) => write!(f, " {origin}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {} at {} {}", self.parent, self.at, self.outcome)?;
        for (n, ancestor) in self.ancestors.iter().enumerate() {
            write!(f, "{} {ancestor}", if n == 0 { " after" } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bidding(bid) => write!(f, "bidding {bid}"),
            Self::Restoring { by, choice } => write!(f, "restoring {by}{choice}"),
            Self::Kept => f.write_str("kept"),
            Self::Jumped(next) => write!(f, "kept next {next}"),
            Self::Shifted => f.write_str("shifted"),
            Self::Part => f.write_str("part"),
        }
    }
}

impl fmt::Display for Bid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.by)?;
        if let Some(seconds) = self.seconds {
            write!(f, " for {seconds}s")?;
        }
        for (word, ids) in [("met", &self.met), ("of", &self.of)] {
            for (n, id) in ids.iter().enumerate() {
                match n {
                    0 => write!(f, " {word} {id}")?,
                    _ => write!(f, ",{id}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest => Ok(()),
            Self::Revision => f.write_str(" chosen"),
            Self::Only(prefixes) => write!(f, " only {}", prefixes.join(" ")),
        }
    }
}

impl fmt::Display for Ancestor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.at)
    }
}

impl Identity {
    /// Reads the form that [`Display`](fmt::Display) writes.
    ///
    /// # Errors
    /// [`ParseError`] for anything else.
    pub fn parse(value: &[u8]) -> Result<Self, ParseError> {
        let text = std::str::from_utf8(value).ok();
        text.and_then(Self::parse_text).ok_or_else(|| ParseError {
            value: String::from_utf8_lossy(value).into_owned(),
        })
    }

    fn parse_text(text: &str) -> Option<Self> {
        let (text, ancestors) = match text.split_once(" after ") {
            Some((text, ancestors)) => (text, Ancestor::parse_all(ancestors)),
            None => (text, Vec::new()),
        };
        let words: Vec<&str> = text.split(' ').collect();
        let (id, origin) = match words[..] {
            [id] => (id, None),
            [id, "from", parent, "at", at, ref outcome @ ..] if !parent.is_empty() => {
                let origin = Origin {
                    parent: parent.to_owned(),
                    at: Revision(at.parse().ok()?),
                    outcome: Outcome::parse(outcome)?,
                    ancestors,
                };
                (id, Some(origin))
            }
            _ => return None,
        };
        (!id.is_empty()).then(|| Self {
            id: id.to_owned(),
            origin,
        })
    }
}

impl Outcome {
    fn parse(words: &[&str]) -> Option<Self> {
        Some(match *words {
            ["bidding", by, ref rest @ ..] => Self::Bidding(Bid::parse(by, rest)?),
            ["restoring", by, ref choice @ ..] => Self::Restoring {
                by: by.to_owned(),
                choice: Choice::parse(choice)?,
            },
            ["kept"] => Self::Kept,
            ["kept", "next", next] => Self::Jumped(Revision(next.parse().ok()?)),
            ["shifted"] => Self::Shifted,
            ["part"] => Self::Part,
            _ => return None,
        })
    }
}

impl Bid {
    fn parse(by: &str, mut words: &[&str]) -> Option<Self> {
        let mut bid = Self {
            by: by.to_owned(),
            ..Self::default()
        };
        if let ["for", wait, rest @ ..] = words {
            bid.seconds = Some(wait.strip_suffix('s')?.parse().ok()?);
            words = rest;
        }
        if let ["met", met, rest @ ..] = words {
            bid.met = ids(met)?;
            words = rest;
        }
        if let ["of", of, rest @ ..] = words {
            bid.of = ids(of)?;
            words = rest;
        }
        words.is_empty().then_some(bid)
    }
}

impl Choice {
    fn parse(words: &[&str]) -> Option<Self> {
        match words {
            [] => Some(Self::Newest),
            ["chosen"] => Some(Self::Revision),
            ["only", prefixes @ ..] if !prefixes.is_empty() => Some(Self::Only(
                prefixes.iter().map(ToString::to_string).collect(),
            )),
            _ => None,
        }
    }
}

/// Numbers of persisters separated by commas.
fn ids(text: &str) -> Option<BTreeSet<Id>> {
    text.split(',').map(|id| id.parse().ok()).collect()
}

impl Ancestor {
    /// Reads the form that [`Display`](fmt::Display) writes.
    fn parse(text: &str) -> Option<Self> {
        let (id, at) = text.rsplit_once('@')?;
        let at = Revision(at.parse().ok()?);
        (!id.is_empty()).then(|| Self {
            id: id.to_owned(),
            at,
        })
    }

    /// Reads any number of them, separated by spaces.
    #[must_use]
    pub fn parse_all(text: &str) -> Vec<Self> {
        text.split(' ').filter_map(Self::parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_form_is_read_back() {
        for text in [
            "a",
            "6f9619ff-8b86-d011-b42d-00cf4fc964ff",
            "b from a at 90 kept",
            "b from a at 90 kept next 1000000090",
            "b from a at 90 kept next 1000000090 after z@5",
            "b from a at 90 shifted",
            "b from a at 90 restoring j",
            "b from a at 90 restoring j chosen",
            "b from a at 90 bidding j",
            "b from a at 90 bidding j for 2s",
            "b from a at 90 bidding j for 2s met 3",
            "b from a at 90 bidding j met 1,3 of 1,2,3 after z@5",
            "b from a at 90 restoring j only /app /lib after z@5",
            "b from a at 90 part",
            "c from b at 120 kept after a@90",
            "d from c at 150 restoring j after b@120 a@90",
        ] {
            let identity = Identity::parse(text.as_bytes()).expect("a valid form");
            assert_eq!(identity.to_string(), text);
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for value in [
            &b""[..],
            b" ",
            b"a b",
            b"b from a at x kept",
            b"b from a at 9 maybe",
            b"b from a at 9",
            b"b from  at 9 kept",
            b"b from a at 9 restoring",
            b"b from a at 9 restoring j maybe",
            b"b from a at 9 restoring j only",
            b"b from a at 9 bidding",
            b"b from a at 9 bidding j for",
            b"b from a at 9 bidding j for 2",
            b"b from a at 9 bidding j met 1,x",
            b"b from a at 9 bidding j of 1 met 2",
            b"b from a at 9 bidding j chosen",
            b"b from a at 9 part of",
            b"b from a at 9 kept kept",
            b"b from a at 9 kept next",
            b"b from a at 9 kept next x",
            b" from a at 9 kept",
            b"\xff",
        ] {
            assert!(Identity::parse(value).is_err(), "{value:?}");
        }
    }
}
