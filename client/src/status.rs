//! The state of a client's connection.

use crate::revision::Revision;

/// The state of a client's connection, which the client itself keeps up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Requests are being sent.
    Connected {
        /// The node's address.
        address: String,
        /// The number of connections that this client has made, this one included.
        generation: u64,
        /// The node's newest revision when the connection was made. If it is lower than one that
        /// was seen before, the node lags behind, or the cluster is not the one it was.
        revision: Revision,
    },
    /// No node takes the client's requests; it goes on trying.
    Disconnected {
        /// The number of connections that this client has made.
        generation: u64,
        /// The latest address that was tried, and its failure, last; older ones before.
        attempts: Vec<(String, String)>,
    },
}

impl Status {
    /// The number of connections that the client has made. All traffic of one generation went over
    /// one connection.
    #[must_use]
    pub fn generation(&self) -> u64 {
        match self {
            Self::Connected { generation, .. } | Self::Disconnected { generation, .. } => {
                *generation
            }
        }
    }
}
