//! The options of a node, with the reason of each default; checked before anything starts.

use std::fmt;
use std::time::Duration;

use crate::store::LAST_REVISION;

/// The options of a node.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// Revisions that can be asked for, the newest included; at least 1. The event of each is kept,
    /// so this bounds memory together with the size of the values.
    pub history: u64,
    /// Bytes of paths and values in the history, at least those of the newest event: with large
    /// values fewer revisions can be asked for. What lives in the tree comes on top.
    pub history_bytes: u64,
    /// Clients that present this secret may read and write. Without it, everyone may.
    pub secret_rw: Option<String>,
    /// Clients that present this secret may read. Without it, everyone may.
    pub secret_ro: Option<String>,
    /// Connections served at a time, at least 1; one more is told so and closed. 10,000 idle ones
    /// take about 40 MiB, both ends. Never so many that they would use up the process's
    /// descriptors: 256 of its soft limit, or half of a small one, are left to everything else.
    pub max_connections: usize,
    /// Requests of one connection that may be waiting at a time. Each costs about 1.2 KiB, if it
    /// waits for a path of its own, until it is answered or its connection ends.
    pub max_waiting: usize,
    /// Waiting requests of all connections together: about 300 MiB, if each waits for a short path
    /// of its own.
    pub max_waiting_total: usize,
    /// Memory of all waiting requests together, in bytes, by estimate: long globs take more of it.
    pub max_waiting_bytes: usize,
    /// The longest value that SET takes, in bytes. A real node's SET never returns for more than
    /// about 2,900 bytes; this one is meant for tests and for a machine of its own.
    pub max_value: usize,
    /// Bytes of answers that may be ready for a client that does not read them. When there are
    /// more, its requests are left unread until it has caught up.
    pub max_unsent: usize,
    /// How long a request may take from its first byte to its last. A connection that exceeds it
    /// is told so and closed.
    pub request_time: Duration,
    /// Memory of all requests together that are sent in part, in bytes. A connection that exceeds
    /// it is told so and closed.
    pub max_arriving: usize,
    /// Refuse writes, like a node that is no member of its cluster yet.
    pub readonly: bool,
    /// Begin at this revision (at least 60), as if all before it had been discarded, instead of
    /// at 58.
    pub start_revision: Option<i64>,
    /// The node's own name; random if absent, as on a real node.
    pub name: Option<String>,
    /// The address that the node says it has, in `/ctl/node/<name>/addr`; its listener's if absent.
    pub advertise: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            history: 360_000,
            history_bytes: 256 << 20,
            secret_rw: None,
            secret_ro: None,
            max_connections: 10_000,
            max_waiting: 16_384,
            max_waiting_total: 250_000,
            max_waiting_bytes: 384 << 20,
            max_value: 1 << 20,
            max_unsent: 256 << 10,
            request_time: Duration::from_secs(30),
            max_arriving: 64 << 20,
            readonly: false,
            start_revision: None,
            name: None,
            advertise: None,
        }
    }
}

/// Options that make no sense together.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// There is no newest revision to keep.
    #[error("history must keep at least 1 revision")]
    NoHistory,
    /// The node would serve nobody.
    #[error("at least 1 connection must be served")]
    NoConnections,
    /// A client without a secret would get in with the empty read-write secret.
    #[error(
        "a read-only secret without a read-write secret would let everyone read and write: \
         set a read-write secret too"
    )]
    OnlyReadSecret,
    /// The revisions up to 58 are the node's own.
    #[error(
        "start revision {0} is too low: a fresh node is at 58 already, so begin at 60 or above"
    )]
    StartTooLow(i64),
    /// There is no such revision.
    #[error("start revision {0} is too high: {last} is the last", last = LAST_REVISION)]
    StartTooHigh(i64),
    /// The name becomes a part of paths.
    #[error("node name {0:?} must be made of A-Z a-z 0-9 '.' '-'")]
    BadName(String),
    /// Values must fit into a frame together with their path.
    #[error("values of {0} bytes do not fit into a frame: the limit is 1 MiB")]
    ValueTooLarge(usize),
}

impl Options {
    /// Checks the options.
    ///
    /// # Errors
    /// For the first option that makes no sense.
    pub fn validate(&self) -> Result<(), OptionsError> {
        if self.history == 0 {
            return Err(OptionsError::NoHistory);
        }
        if self.max_connections == 0 {
            return Err(OptionsError::NoConnections);
        }
        if given(self.secret_ro.as_ref()) && !given(self.secret_rw.as_ref()) {
            return Err(OptionsError::OnlyReadSecret);
        }
        match self.start_revision {
            Some(start) if start < 60 => return Err(OptionsError::StartTooLow(start)),
            Some(start) if start > LAST_REVISION.0 => {
                return Err(OptionsError::StartTooHigh(start));
            }
            _ => {}
        }
        if let Some(name) = &self.name
            && (name.contains('/') || !cairn_client::path::is_valid(&format!("/{name}")))
        {
            return Err(OptionsError::BadName(name.clone()));
        }
        if self.max_value > 1 << 20 {
            return Err(OptionsError::ValueTooLarge(self.max_value));
        }
        Ok(())
    }
}

fn given(secret: Option<&String>) -> bool {
    secret.is_some_and(|secret| !secret.is_empty())
}

impl fmt::Debug for Options {
    /// Secrets are never shown, only whether there are any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("history", &self.history)
            .field("history_bytes", &self.history_bytes)
            .field("secret_rw", &self.secret_rw.as_ref().map(|_| "***"))
            .field("secret_ro", &self.secret_ro.as_ref().map(|_| "***"))
            .field("max_connections", &self.max_connections)
            .field("max_waiting", &self.max_waiting)
            .field("max_waiting_total", &self.max_waiting_total)
            .field("max_waiting_bytes", &self.max_waiting_bytes)
            .field("max_value", &self.max_value)
            .field("max_unsent", &self.max_unsent)
            .field("request_time", &self.request_time)
            .field("max_arriving", &self.max_arriving)
            .field("readonly", &self.readonly)
            .field("advertise", &self.advertise)
            .field("start_revision", &self.start_revision)
            .field("name", &self.name)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_secret_alone_is_refused_because_it_would_protect_nothing() {
        let options = Options {
            secret_ro: Some("r".into()),
            ..Options::default()
        };
        assert_eq!(options.validate(), Err(OptionsError::OnlyReadSecret));
    }

    #[test]
    fn secrets_are_not_shown() {
        let options = Options {
            secret_rw: Some("hush".into()),
            ..Options::default()
        };
        assert!(!format!("{options:?}").contains("hush"));
    }
}
