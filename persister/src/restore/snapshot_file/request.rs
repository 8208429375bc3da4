//! What somebody may ask of a snapshot file.

use std::path::PathBuf;

use cairn_journal::Revision;

use crate::restore::options::At;

/// Which file is wanted, and what is to be made of it.
#[derive(Clone, Debug)]
pub struct FileRequest {
    /// The journal's directory.
    pub journal: PathBuf,
    /// The file, which does not exist yet.
    pub file: PathBuf,
    /// Which state.
    pub at: At,
    /// The revision C from which on history is readable; `None`: the oldest within
    /// [`HISTORY_BYTES`].
    pub history_from: Option<Revision>,
    /// Where the counter goes on.
    pub counter: Counter,
    /// Whether to go on although the journal lacks changes.
    pub accept_loss: bool,
    /// Only say what would be done.
    pub dry_run: bool,
    /// The members to make from it.
    pub members: Option<Members>,
}

/// Where the counter goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counter {
    /// Far beyond everything that clients may have seen.
    #[default]
    Jump,
    /// Right after the journal's newest revision: nothing came after it.
    Seamless,
    /// Right after the state that is wanted, for a cluster that has nothing to do with the lost
    /// one.
    Rehearsal,
}

/// The members of the new cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// The directory below which each gets one of its own.
    pub into: PathBuf,
    /// In the order in which they were given.
    pub members: Vec<Member>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, which is also that of its directory.
    pub name: String,
    /// Where the other members reach it.
    pub peer_url: String,
}

impl std::str::FromStr for Member {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text:?} is not of the form NAME=http://HOST:2380");
        let (name, peer_url) = text.split_once('=').ok_or_else(form)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
            return Err(format!(
                "{name:?} cannot be a member's name here: letters, digits, `-`, `_` and `.`"
            ));
        }
        let host = ["http://", "https://"]
            .iter()
            .find_map(|scheme| peer_url.strip_prefix(scheme))
            .ok_or_else(form)?;
        let is_address = |c: char| c.is_ascii_alphanumeric() || "-_.:[]%".contains(c);
        if !host.contains(':') || !host.chars().all(is_address) {
            return Err(form());
        }
        Ok(Self {
            name: name.to_owned(),
            peer_url: peer_url.to_owned(),
        })
    }
}

/// How much history is written unless an older C is asked for: what a member reads within seconds
/// at its start.
pub const HISTORY_BYTES: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_a_name_and_a_peer_url() {
        let member: Member = "m0=http://10.0.0.1:2380".parse().expect("a valid form");
        assert_eq!(member.name, "m0");
        assert_eq!(member.peer_url, "http://10.0.0.1:2380");
        for wrong in [
            "",
            "m0",
            "=http://a:1",
            "../x=http://a:1",
            "..=http://a:1",
            "a b=http://a:1",
            "m0=10.0.0.1:2380",
            "m0=http://a",
            "m0=http://a:1,m1",
        ] {
            assert!(wrong.parse::<Member>().is_err(), "{wrong:?}");
        }
        assert!("m0=https://[::1]:2380".parse::<Member>().is_ok());
    }
}
