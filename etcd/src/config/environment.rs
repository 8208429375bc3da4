//! The variables that `etcdctl` reads.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::error::ConfigError;
use crate::config::secret::{Secret, User};

const ENDPOINTS: &str = "ETCDCTL_ENDPOINTS";
const CACERT: &str = "ETCDCTL_CACERT";
const CERT: &str = "ETCDCTL_CERT";
const KEY: &str = "ETCDCTL_KEY";
const USER: &str = "ETCDCTL_USER";
const PASSWORD: &str = "ETCDCTL_PASSWORD";

/// How `etcdctl` would reach a cluster and be let in. An empty variable counts as unset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `ETCDCTL_ENDPOINTS`: a list with commas, each with or without a scheme. Counts only where
    /// the URI names no address.
    pub endpoints: Option<String>,
    /// `ETCDCTL_CACERT`: a file of the certificate authorities to trust.
    pub cacert: Option<PathBuf>,
    /// `ETCDCTL_CERT`: a file of the client's certificate.
    pub cert: Option<PathBuf>,
    /// `ETCDCTL_KEY`: a file of the key of the client's certificate.
    pub key: Option<PathBuf>,
    /// `ETCDCTL_USER`, `NAME:PASSWORD`, or `NAME` beside `ETCDCTL_PASSWORD`.
    pub user: Option<User>,
}

impl Environment {
    /// What this process was started with.
    ///
    /// # Errors
    /// As [`Environment::from_lookup`].
    pub fn read() -> Result<Self, ConfigError> {
        Self::from_lookup(|name| std::env::var_os(name))
    }

    /// What `lookup` says that the variables are.
    ///
    /// # Errors
    /// [`ConfigError`] for a text that is not UTF-8, and a user without a password.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let raw = |name: &str| lookup(name).filter(|text| !text.is_empty());
        let text = |name: &'static str| {
            raw(name)
                .map(|text| text.into_string().map_err(|_| ConfigError::NotUtf8(name)))
                .transpose()
        };
        let user = match (text(USER)?, text(PASSWORD)?) {
            (None, _) => None,
            (Some(name), Some(password)) => Some((name, password)),
            (Some(both), None) => match both.split_once(':') {
                Some((name, password)) => Some((name.to_owned(), password.to_owned())),
                None => return Err(ConfigError::NoPassword),
            },
        };
        Ok(Self {
            endpoints: text(ENDPOINTS)?,
            cacert: raw(CACERT).map(PathBuf::from),
            cert: raw(CERT).map(PathBuf::from),
            key: raw(KEY).map(PathBuf::from),
            user: user.map(|(name, password)| User {
                name,
                password: Secret::new(password),
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Result<Environment, ConfigError> {
        Environment::from_lookup(|name| {
            let (_, value) = variables.iter().find(|(set, _)| *set == name)?;
            Some(value.into())
        })
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let names = [ENDPOINTS, CACERT, CERT, KEY, USER, PASSWORD];
        let empty = names.map(|name| (name, ""));
        assert_eq!(environment(&empty).unwrap(), Environment::default());
    }

    #[test]
    fn a_user_is_read_as_etcdctl_reads_it() {
        for (variables, name, password) in [
            (&[(USER, "ada:hush:x")][..], "ada", "hush:x"),
            (&[(USER, "ada"), (PASSWORD, "hush")], "ada", "hush"),
            (&[(USER, "a:b"), (PASSWORD, "hush")], "a:b", "hush"),
        ] {
            let found = environment(variables).unwrap();
            let user = found.user.clone().unwrap();
            assert_eq!((&*user.name, user.password.expose()), (name, password));
            assert!(!format!("{found:?}").contains("hush"));
        }
        let said = environment(&[(USER, "ada")]).unwrap_err().to_string();
        assert!(said.contains(PASSWORD), "{said}");
        let alone = environment(&[(PASSWORD, "hush")]).unwrap();
        assert_eq!(alone.user, None);
    }
}
