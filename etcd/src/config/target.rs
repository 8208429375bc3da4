//! A URI and an environment, made into all that is needed to connect.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::endpoint::Endpoint;
use crate::config::environment::Environment;
use crate::config::error::{ConfigError, UriError};
use crate::config::secret::User;
use crate::config::tls::{Tls, TlsError};
use crate::config::uri::Uri;

/// Where `etcdctl` looks if it is told nothing.
const ETCDCTL_DEFAULT: &str = "127.0.0.1:2379";

/// Where a cluster is, whom to trust, and how to be let in.
#[derive(Clone, Debug)]
pub struct Target {
    /// Members to connect to; at least one.
    pub endpoints: Vec<Endpoint>,
    /// Who we are.
    pub user: Option<User>,
    /// Whom to trust. Needed for endpoints with TLS.
    pub tls: Option<Tls>,
}

impl Target {
    /// Reads the certificates that `environment` names if an address asks for TLS.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(uri: &Uri, environment: &Environment) -> Result<Self, ConfigError> {
        let endpoints = if uri.endpoints.is_empty() {
            from_environment(environment).map_err(ConfigError::Endpoints)?
        } else {
            uri.endpoints.clone()
        };
        let tls = if endpoints.iter().any(Endpoint::is_tls) {
            Some(trust(environment)?)
        } else {
            None
        };
        Ok(Self {
            endpoints,
            user: environment.user.clone(),
            tls,
        })
    }
}

fn from_environment(environment: &Environment) -> Result<Vec<Endpoint>, UriError> {
    // As etcdctl: an address without a scheme is one with TLS if there are certificates.
    let tls = environment.cacert.is_some() || environment.cert.is_some();
    let list = environment.endpoints.as_deref().unwrap_or(ETCDCTL_DEFAULT);
    list.split(',')
        .map(|address| Endpoint::parse(address.trim(), tls))
        .collect()
}

fn trust(environment: &Environment) -> Result<Tls, ConfigError> {
    let read = |variable, path: &Option<PathBuf>| {
        path.as_deref().map(|path| file(variable, path)).transpose()
    };
    let roots = read("ETCDCTL_CACERT", &environment.cacert)?.ok_or(TlsError::NoRoots)?;
    let identity = match (
        read("ETCDCTL_CERT", &environment.cert)?,
        read("ETCDCTL_KEY", &environment.key)?,
    ) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => return Err(ConfigError::HalfIdentity),
    };
    let identity = identity.as_ref().map(|(cert, key)| (&**cert, &**key));
    Ok(Tls::new(&roots, identity)?)
}

fn file(variable: &'static str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|source| ConfigError::File {
        variable,
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(uri: &str, endpoints: Option<&str>) -> Vec<String> {
        let environment = Environment {
            endpoints: endpoints.map(str::to_owned),
            ..Environment::default()
        };
        let target = Target::new(&uri.parse().unwrap(), &environment).unwrap();
        target.endpoints.iter().map(Endpoint::to_string).collect()
    }

    #[test]
    fn the_environments_endpoints_count_only_for_a_bare_uri() {
        let own = addresses("etcd://a:1", Some("b:2"));
        assert_eq!(own, ["http://a:1"]);
        let listed = addresses("etcd:", Some("b:2, http://c:3"));
        assert_eq!(listed, ["http://b:2", "http://c:3"]);
        assert_eq!(addresses("etcd:", None), ["http://127.0.0.1:2379"]);
    }

    #[test]
    fn a_fault_names_the_variable_and_no_password() {
        let environment = Environment {
            endpoints: Some("ada:hush@a:1".to_owned()),
            ..Environment::default()
        };
        let failed = Target::new(&Uri::default(), &environment).unwrap_err();
        let said = failed.to_string();
        assert!(
            said.starts_with("ETCDCTL_ENDPOINTS") && !said.contains("hush"),
            "{said}"
        );
    }

    #[test]
    fn an_address_with_tls_needs_roots() {
        let failed = Target::new(&"etcds://a".parse().unwrap(), &Environment::default());
        let said = failed.unwrap_err().to_string();
        assert!(said.contains("ETCDCTL_CACERT"), "{said}");
    }
}
