//! What may hold a secret is never shown: neither where it is right, nor where it is refused.

use std::ffi::OsStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command};
use serde::Deserialize;

use crate::cluster::address::Address;

/// A secret: shown as `***` wherever it is shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Hidden(String);

impl Hidden {
    /// The secret itself.
    #[must_use]
    pub fn expose(self) -> String {
        self.0
    }
}

impl From<&str> for Hidden {
    fn from(secret: &str) -> Self {
        Self(secret.to_owned())
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Parses the address of a cluster. Unlike clap's own, its error does not repeat the text, in which
/// a secret may stand.
#[derive(Clone, Debug)]
pub(super) struct AddressParser;

impl TypedValueParser for AddressParser {
    type Value = Address;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Address, clap::Error> {
        let parsed = match value.to_str() {
            Some(text) => text.parse::<Address>().map_err(|error| error.to_string()),
            None => Err("not UTF-8".to_owned()),
        };
        parsed.map_err(|why| {
            let option = arg.map(ToString::to_string).unwrap_or_default();
            let message = format!("invalid value for '{option}': {why}\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}

/// The address of a cluster in a configuration file.
pub(super) fn address<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<Address>, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::args::CommandLine;
    use crate::config::read_file;

    /// Addresses that are none, each with a secret.
    const BAD: [&str; 4] = [
        "doozer:?ca=10.0.0.1&sk=hush&zz=1",
        "doozer:?ca=&sk=hush",
        "etcd://ada:hush@10.0.0.1",
        "http://ada:hush@10.0.0.1:2379",
    ];

    #[test]
    fn an_address_that_is_refused_is_not_repeated() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("cairn.toml");
        for bad in BAD {
            let line = ["persister", "--id", "1", "-a", bad];
            let error = CommandLine::read(line).expect_err(bad).to_string();
            assert!(error.contains("'--cluster <URI>'"), "{error}");
            assert!(!error.contains("hush"), "{error}");

            // Also where the line is no TOML at all.
            for (end, line) in [("\"", 2), ("", 2)] {
                let text = format!("id = 1\ncluster = \"{bad}{end}\n");
                std::fs::write(&file, text).expect("a file");
                let error = read_file(Some(Path::new(&file)))
                    .expect_err(bad)
                    .to_string();
                assert!(error.contains(&format!("cairn.toml:{line}: ")), "{error}");
                assert!(!error.contains("hush"), "{error}");
            }
        }
    }
}
