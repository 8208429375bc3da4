//! `etcd://A:2379,B:2379`, `etcds://A,B`, `etcd:http://A,https://B` or `etcd:`.

use std::fmt;
use std::str::FromStr;

use crate::config::endpoint::Endpoint;
use crate::config::error::UriError;

/// The address of a cluster. Holds no secret: users and keys come from the
/// [`Environment`](crate::Environment).
///
/// ```
/// use cairn_etcd::Uri;
///
/// let uri: Uri = "etcd:http://10.0.0.1:2379,http://b?persist=1,2&require=2".parse()?;
/// assert_eq!(uri.to_string(), "etcd://10.0.0.1:2379,b:2379?persist=1,2&require=2");
/// # Ok::<(), cairn_etcd::UriError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uri {
    /// Members to connect to. Empty: those of the environment.
    pub endpoints: Vec<Endpoint>,
    /// `persist`: which persisters must have a write on disk. Only sync clients read it, so that
    /// one URI serves all clients.
    pub persist: Option<String>,
    /// `require`: how many of them. Only sync clients read it.
    pub require: Option<String>,
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let (list, tls, schemes) = if let Some(list) = text.strip_prefix("etcd://") {
            (list, false, false)
        } else if let Some(list) = text.strip_prefix("etcds://") {
            (list, true, false)
        } else if let Some(list) = text.strip_prefix("etcd:") {
            (list, false, true)
        } else {
            return Err(UriError::new(not_our_scheme(text)));
        };
        let (list, query) = list.split_once('?').unwrap_or((list, ""));
        let mut uri = Self::default();
        for address in list.split(',').filter(|_| !list.is_empty()) {
            if schemes != address.contains("://") && !address.contains('@') {
                return Err(UriError::new(format!(
                    "address {address:?} {}",
                    if schemes {
                        "has no scheme: write etcd:http://..., or etcd://..."
                    } else {
                        "has a scheme of its own: write etcd:http://... without the first slashes"
                    }
                )));
            }
            uri.endpoints.push(Endpoint::parse(address, tls)?);
        }
        if uri.endpoints.is_empty() && !schemes {
            return Err(UriError::new("there is no address"));
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let part = match key {
                "persist" => &mut uri.persist,
                "require" => &mut uri.require,
                // Not repeated: it may be a secret.
                _ => return Err(UriError::new("a key is neither persist nor require")),
            };
            if value.is_empty() {
                return Err(UriError::new(format!("key {key:?} has no value")));
            }
            if part.replace(value.to_owned()).is_some() {
                return Err(UriError::new(format!("key {key:?} stands there twice")));
            }
        }
        Ok(uri)
    }
}

/// Says what was probably meant, but never repeats a text that may hold a secret.
fn not_our_scheme(text: &str) -> String {
    if text.contains(['@', '?', '=']) {
        return "not an etcd URI".to_owned();
    }
    let endpoints: Result<Vec<_>, _> = text
        .split(',')
        .map(|text| Endpoint::parse(text, false))
        .collect();
    match endpoints {
        Ok(endpoints) => {
            let meant = Uri {
                endpoints,
                ..Uri::default()
            };
            format!("{text:?} is not an etcd URI; did you mean {meant}")
        }
        Err(_) => format!("{text:?} is not an etcd URI"),
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let any_tls = self.endpoints.iter().any(Endpoint::is_tls);
        let all_tls = self.endpoints.iter().all(Endpoint::is_tls);
        let list = |text: fn(&Endpoint) -> String| {
            let texts: Vec<String> = self.endpoints.iter().map(text).collect();
            texts.join(",")
        };
        match (self.endpoints.is_empty(), any_tls, all_tls) {
            (true, ..) => f.write_str("etcd:")?,
            (_, false, _) => write!(f, "etcd://{}", list(Endpoint::authority))?,
            (.., true) => write!(f, "etcds://{}", list(Endpoint::authority))?,
            _ => write!(f, "etcd:{}", list(Endpoint::to_string))?,
        }
        let pairs = [("persist", &self.persist), ("require", &self.require)];
        let pairs = pairs
            .iter()
            .filter_map(|(key, value)| Some((key, value.as_ref()?)));
        for ((key, value), separator) in pairs.zip(["?", "&"]) {
            write!(f, "{separator}{key}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written_shortest() {
        for (text, written) in [
            ("etcd://a", "etcd://a:2379"),
            (
                "etcd://a:1,[::1]:2,10.0.0.1",
                "etcd://a:1,[::1]:2,10.0.0.1:2379",
            ),
            ("etcds://a,b", "etcds://a:2379,b:2379"),
            ("etcd:http://a:1/,http://b:2", "etcd://a:1,b:2"),
            ("etcd:https://a:1,https://b:2", "etcds://a:1,b:2"),
            ("etcd:http://a:1,https://b:2", "etcd:http://a:1,https://b:2"),
            ("etcd:", "etcd:"),
            ("etcd:?require=2&persist=1,2", "etcd:?persist=1,2&require=2"),
            ("etcd://a:1?persist=1", "etcd://a:1?persist=1"),
            ("etcds://a:1?require=2", "etcds://a:1?require=2"),
        ] {
            let uri: Uri = text.parse().unwrap();
            assert_eq!(uri.to_string(), written);
            assert_eq!(written.parse::<Uri>().unwrap(), uri);
        }
    }

    #[test]
    fn faults_teach_the_form() {
        for (text, expected) in [
            ("127.0.0.1", "did you mean etcd://127.0.0.1:2379"),
            ("http://a:1,http://b:2", "did you mean etcd://a:1,b:2"),
            ("https://a:1", "did you mean etcds://a:1"),
            ("etcd://", "there is no address"),
            ("etcd://a,", "address \"\" has no host"),
            ("etcd://:1", "address \":1\" has no host"),
            ("etcd://a:0", "has a bad port"),
            ("etcd://a:70000", "has a bad port"),
            ("etcd://fe80::1", "write it in brackets"),
            ("etcd:///service", "is not HOST:PORT"),
            ("etcd://a:1/prefix", "has a bad port"),
            ("etcd://http://a:1", "has a scheme of its own"),
            ("etcd:a:1", "has no scheme"),
            ("etcd:unix://a", "neither http:// nor https://"),
            ("etcd://a?persist", "key \"persist\" has no value"),
            ("etcd://a?persist=1&persist=2", "twice"),
            ("etcd://a?x=1", "neither persist nor require"),
        ] {
            let said = text.parse::<Uri>().unwrap_err().to_string();
            assert!(said.contains(expected), "{text}: {said}");
            assert!(said.contains("the form is etcd://HOST:PORT"), "{said}");
        }
    }

    #[test]
    fn no_fault_repeats_a_password() {
        for text in [
            "etcd://ada:hush@a:1",
            "etcd:http://ada:hush@a:1",
            "etcds://a,ada:hush@b",
            "ada:hush@a",
            "http://ada:hush@a",
            "etcd://a?password=hush",
            "etcd://a?password=x&hush",
            "etc://a?password=hush",
        ] {
            let said = text.parse::<Uri>().unwrap_err().to_string();
            assert!(!said.contains("hush"), "{said}");
        }
    }
}
