//! Where a cluster is, and thereby which engine it has.

use std::fmt;
use std::str::FromStr;

use cairn_client::Uri;

use crate::cluster::doozer::session::RULES;
use crate::cluster::rules::KeyRules;

/// Where a cluster is looked for, and where the embedded one listens, unless told otherwise.
pub const DEFAULT_SOCKET: &str = "127.0.0.1:8046";

/// The address of a cluster. Shows no secret, however it is printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Engine);

/// Each engine with its own form of an address.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Engine {
    Doozer(Uri),
}

/// A text that is no address of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(String);

impl Address {
    pub(super) fn engine(&self) -> &Engine {
        &self.0
    }

    /// The rules of the keys of the engine that is there.
    #[must_use]
    pub fn rules(&self) -> KeyRules {
        match self.0 {
            Engine::Doozer(_) => RULES,
        }
    }
}

impl Default for Address {
    fn default() -> Self {
        Uri::from_address(DEFAULT_SOCKET)
            .expect("the default address is one")
            .into()
    }
}

impl From<Uri> for Address {
    fn from(uri: Uri) -> Self {
        Self(Engine::Doozer(uri))
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let uri: Uri = text
            .parse()
            .map_err(|error: cairn_client::uri::UriError| AddressError(error.to_string()))?;
        Ok(uri.into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Engine::Doozer(uri) => uri.fmt(f),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Engine::Doozer(uri) => uri.fmt(f),
        }
    }
}
