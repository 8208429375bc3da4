//! Where a cluster is, and thereby which engine it has.

use std::fmt;
use std::str::FromStr;

use cairn_client::Uri;
use cairn_etcd::{Environment, Target};

use crate::cluster::doozer;
use crate::cluster::etcd::names;
use crate::cluster::rules::KeyRules;

/// Where a cluster is looked for, and where the embedded one listens, unless told otherwise.
pub const DEFAULT_SOCKET: &str = "127.0.0.1:8046";

/// The address of a cluster. Shows no secret, however it is printed.
#[derive(Clone)]
pub struct Address(Engine);

/// Each engine with its own form of an address.
#[derive(Clone)]
pub(super) enum Engine {
    Doozer(Uri),
    /// The URI as it was given, and what it and the environment of `etcdctl` come to.
    Etcd(cairn_etcd::Uri, Target),
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
            Engine::Doozer(_) => doozer::session::RULES,
            Engine::Etcd(..) => names::RULES,
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

impl Address {
    /// Whether such a cluster can be followed without anything of ours in it: it must tell one
    /// cluster from another by what each key has besides its value.
    #[must_use]
    pub fn can_be_observed(&self) -> bool {
        matches!(self.0, Engine::Etcd(..))
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if is_of_etcd(text) {
            return etcd(text).map_err(|error| AddressError(error.to_string()));
        }
        let uri: Uri = text
            .parse()
            .map_err(|error: cairn_client::uri::UriError| AddressError(error.to_string()))?;
        Ok(uri.into())
    }
}

/// Whether a text means etcd. One that begins as etcd's own endpoints do is no URI of ours, and
/// etcd's parser says how to write it.
fn is_of_etcd(text: &str) -> bool {
    let schemes = ["etcd:", "etcds:", "http://", "https://"];
    schemes.iter().any(|scheme| text.starts_with(scheme))
}

/// The variables of `etcdctl` count with a URI of etcd only.
fn etcd(text: &str) -> Result<Address, Box<dyn std::error::Error>> {
    let uri: cairn_etcd::Uri = text.parse()?;
    let target = Target::new(&uri, &Environment::read()?)?;
    Ok(Address(Engine::Etcd(uri, target)))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Engine::Doozer(uri) => uri.fmt(f),
            Engine::Etcd(uri, _) => uri.fmt(f),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Engine::Doozer(uri) => uri.fmt(f),
            Engine::Etcd(uri, _) => uri.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_tells_the_engine() {
        for (text, shown, control) in [
            ("doozer:?ca=10.0.0.1", "doozer:?ca=10.0.0.1:8046", "/ctl"),
            ("etcd://a,b:1", "etcd://a:2379,b:1", "/ctl/persistence/"),
            ("etcd:http://a:1", "etcd://a:1", "/ctl/persistence/"),
        ] {
            let address: Address = text.parse().expect("a valid form");
            assert_eq!(address.to_string(), shown);
            assert_eq!(address.rules().control_area(), control);
        }
        for (text, says) in [
            ("http://a:1,http://b:2", "did you mean etcd://a:1,b:2"),
            ("etcd://", "there is no address"),
            ("etcd://ada:hush@a", "the form is etcd://HOST:PORT"),
        ] {
            let said = text
                .parse::<Address>()
                .map(drop)
                .expect_err(text)
                .to_string();
            assert!(said.contains(says) && !said.contains("hush"), "{said}");
        }
    }
}
