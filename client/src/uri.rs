//! Where a cluster is and how to be let in: `doozer:?ca=HOST:PORT&ca=...&cn=NAME&sk=SECRET`.
//!
//! The secret is redacted in everything that a [`Uri`] prints, and no error repeats it.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::path;

/// The port of an address that names none.
pub const DEFAULT_PORT: u16 = 8046;

const ENV_URI: &str = "DOOZER_URI";
const ENV_BOOT_URI: &str = "DOOZER_BOOT_URI";

/// A secret: prints as `***` wherever it is printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Bytes);

impl Secret {
    /// Takes a secret in.
    #[must_use]
    pub fn new(secret: impl Into<Bytes>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the wire.
    #[must_use]
    pub fn expose(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why a text is not a URI of a cluster.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; the form is doozer:?ca=HOST:PORT[&ca=HOST:PORT...][&cn=NAME][&sk=SECRET]")]
pub struct UriError(String);

impl UriError {
    pub(crate) fn no_boot(name: &str) -> Self {
        Self(format!(
            "the cluster {name:?} has to be looked up, but {ENV_BOOT_URI} is not set"
        ))
    }

    pub(crate) fn unknown_name(name: &str) -> Self {
        Self(format!("the boot cluster knows no nodes of {name:?}"))
    }
}

/// The address of a cluster.
///
/// ```
/// use cairn_client::Uri;
///
/// let uri: Uri = "doozer:?ca=10.0.0.1&ca=10.0.0.2:8146&sk=hunter2".parse()?;
/// assert_eq!(uri.addresses, ["10.0.0.1:8046", "10.0.0.2:8146"]);
/// assert_eq!(uri.to_string(), "doozer:?ca=10.0.0.1:8046&ca=10.0.0.2:8146&sk=***");
/// # Ok::<(), cairn_client::uri::UriError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    /// `ca`: nodes to connect to, each `HOST:PORT`.
    pub addresses: Vec<String>,
    /// `cn`: the name under which a boot cluster knows the cluster's nodes.
    pub name: Option<String>,
    /// `sk`: what opens the cluster.
    pub secret: Option<Secret>,
    /// `persist`: which persisters must have a write on disk. Only the sync client reads it, so
    /// that one URI serves both clients.
    pub persist: Option<String>,
    /// `require`: how many of them. Only the sync client reads it.
    pub require: Option<String>,
}

impl Uri {
    /// A URI of one address, `HOST` or `HOST:PORT`.
    ///
    /// # Errors
    /// A port that is no number, or no host.
    pub fn from_address(address: &str) -> Result<Self, UriError> {
        Ok(Self {
            addresses: vec![with_port(address)?],
            name: None,
            secret: None,
            persist: None,
            require: None,
        })
    }

    /// The URI in the environment variable `DOOZER_URI`, if it is set and not empty.
    #[must_use]
    pub fn from_env() -> Option<Result<Self, UriError>> {
        from_variable(ENV_URI)
    }

    /// The URI of the boot cluster, in the environment variable `DOOZER_BOOT_URI`.
    #[must_use]
    pub fn boot_from_env() -> Option<Result<Self, UriError>> {
        from_variable(ENV_BOOT_URI)
    }
}

fn from_variable(variable: &str) -> Option<Result<Uri, UriError>> {
    let text = std::env::var_os(variable).filter(|text| !text.is_empty())?;
    let parsed = match text.to_str() {
        Some(text) => text.parse::<Uri>(),
        None => Err(UriError("not UTF-8".to_owned())),
    };
    Some(parsed.map_err(|UriError(fault)| UriError(format!("{variable}: {fault}"))))
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let Some(query) = text.strip_prefix("doozer:?") else {
            return Err(UriError(not_our_scheme(text)));
        };
        let mut uri = Self {
            addresses: Vec::new(),
            name: None,
            secret: None,
            persist: None,
            require: None,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !["ca", "cn", "sk", "persist", "require"].contains(&key) {
                return Err(UriError(unknown_key(key, query)));
            }
            if value.is_empty() {
                return Err(UriError(format!("key {key:?} has no value")));
            }
            let value = unescape(value).ok_or_else(|| {
                UriError(format!("the value of {key:?} has a bad percent escape"))
            })?;
            if key == "sk" {
                uri.secret = Some(Secret::new(value));
                continue;
            }
            let value = String::from_utf8(value)
                .map_err(|_| UriError(format!("the value of {key:?} is not UTF-8")))?;
            match key {
                "ca" => uri.addresses.push(with_port(&value)?),
                "cn" if path::is_valid(&format!("/{value}")) && !value.contains('/') => {
                    uri.name = Some(value);
                }
                "cn" => {
                    return Err(UriError(format!(
                        "{value:?} cannot be the name of a cluster"
                    )));
                }
                "persist" => uri.persist = Some(value),
                "require" => uri.require = Some(value),
                _ => return Err(UriError(format!("unknown key {key:?}"))),
            }
        }
        if uri.addresses.is_empty() && uri.name.is_none() {
            return Err(UriError(
                "neither an address (ca) nor a name (cn)".to_owned(),
            ));
        }
        Ok(uri)
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pairs: Vec<String> = Vec::with_capacity(self.addresses.len() + 2);
        pairs.extend(self.addresses.iter().map(|address| format!("ca={address}")));
        pairs.extend(self.name.iter().map(|name| format!("cn={name}")));
        pairs.extend(self.secret.iter().map(|secret| format!("sk={secret:?}")));
        pairs.extend(self.persist.iter().map(|ids| format!("persist={ids}")));
        pairs.extend(
            self.require
                .iter()
                .map(|number| format!("require={number}")),
        );
        write!(f, "doozer:?{}", pairs.join("&"))
    }
}

/// A key that is not one may be what follows an `&` in a secret.
fn unknown_key(key: &str, query: &str) -> String {
    if query.contains("sk=") {
        "unknown key (an & in a secret is written %26)".to_owned()
    } else {
        format!("unknown key {key:?}")
    }
}

/// Whether a text that is refused may hold one, as URIs of other kinds do before an `@`.
fn may_hold_a_secret(text: &str) -> bool {
    text.contains("sk=") || text.contains('@')
}

/// Says what was probably meant, but never repeats a text that may hold a secret.
fn not_our_scheme(text: &str) -> String {
    if may_hold_a_secret(text) {
        return "not a doozer URI".to_owned();
    }
    match with_port(text) {
        Ok(address) => format!("{text:?} is not a doozer URI; did you mean doozer:?ca={address}"),
        Err(_) => format!("{text:?} is not a doozer URI"),
    }
}

/// `HOST:PORT` of an address that may lack its port. IPv6 addresses stand in brackets.
pub(crate) fn with_port(address: &str) -> Result<String, UriError> {
    let bad = |why: &str| {
        Err(UriError(if may_hold_a_secret(address) {
            format!("the address {why}")
        } else {
            format!("address {address:?} {why}")
        }))
    };
    let (host, port) = match address.rfind(':') {
        Some(colon) if !address.ends_with(']') => (&address[..colon], Some(&address[colon + 1..])),
        _ => (address, None),
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || host == "[]" {
        return bad("has no host");
    }
    if !bracketed && host.contains(':') {
        return bad("looks like IPv6; write it in brackets, [ADDRESS]:PORT");
    }
    if host.contains(|c: char| c.is_whitespace() || c.is_control() || "/?&=@".contains(c)) {
        return bad("is not HOST:PORT");
    }
    match port {
        None => Ok(format!("{host}:{DEFAULT_PORT}")),
        Some(port) => match port.parse::<u16>() {
            Ok(number) if number > 0 => Ok(format!("{host}:{number}")),
            _ => bad("has a bad port"),
        },
    }
}

/// Undoes the escapes of a query: `%41` is `A`, `+` is a space.
fn unescape(value: &str) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        text.parse::<Uri>().unwrap_err().to_string()
    }

    #[test]
    fn all_parts_are_read_and_the_secret_is_not_written() {
        let text = "doozer:?ca=a.b&ca=[::1]:1&cn=blue-1&sk=p%26ss+w%C3%B6rd&ca=10.0.0.1:65535";
        let uri: Uri = text.parse().unwrap();
        assert_eq!(uri.addresses, ["a.b:8046", "[::1]:1", "10.0.0.1:65535"]);
        assert_eq!(uri.name.as_deref(), Some("blue-1"));
        assert_eq!(uri.secret.as_ref().unwrap().expose(), "p&ss wörd");
        let written = "doozer:?ca=a.b:8046&ca=[::1]:1&ca=10.0.0.1:65535&cn=blue-1&sk=***";
        assert_eq!(uri.to_string(), written);
        assert!(!format!("{uri:?}").contains("ss w"));
    }

    #[test]
    fn what_is_written_without_a_secret_is_read_again() {
        for text in ["doozer:?ca=[fe80::1]:8046&ca=h:1", "doozer:?cn=x.y"] {
            assert_eq!(text.parse::<Uri>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn faults_teach_the_form() {
        let form = "; the form is doozer:?ca=HOST:PORT[&ca=HOST:PORT...][&cn=NAME][&sk=SECRET]";
        for (text, expected) in [
            (
                "127.0.0.1",
                "\"127.0.0.1\" is not a doozer URI; did you mean doozer:?ca=127.0.0.1:8046",
            ),
            ("http://x/", "\"http://x/\" is not a doozer URI"),
            ("doozer:?", "neither an address (ca) nor a name (cn)"),
            ("doozer:?ca", "key \"ca\" has no value"),
            ("doozer:?ca=", "key \"ca\" has no value"),
            ("doozer:?ca=:1", "address \":1\" has no host"),
            ("doozer:?ca=h:70000", "address \"h:70000\" has a bad port"),
            ("doozer:?ca=h:0", "address \"h:0\" has a bad port"),
            (
                "doozer:?ca=fe80::1",
                "address \"fe80::1\" looks like IPv6; write it in brackets, [ADDRESS]:PORT",
            ),
            (
                "doozer:?ca=a%2",
                "the value of \"ca\" has a bad percent escape",
            ),
            (
                "doozer:?ca=a%zz",
                "the value of \"ca\" has a bad percent escape",
            ),
            ("doozer:?ca=%ff", "the value of \"ca\" is not UTF-8"),
            ("doozer:?cn=a/b", "\"a/b\" cannot be the name of a cluster"),
            ("doozer:?cx=1", "unknown key \"cx\""),
        ] {
            assert_eq!(fault(text), format!("{expected}{form}"));
        }
    }

    #[test]
    fn no_fault_repeats_a_secret() {
        for text in [
            "doozr:?sk=hush",
            "doozer:?sk=hush",
            "doozer:?sk=hush%z&ca=h",
            "doozer:?sk=a&hush&ca=h",
            "doozer:?sk=a&hush=b&ca=h",
            "sk=hush",
            "etcd://ada:hush@h",
            "doozer:?ca=ada:hush@h",
        ] {
            assert!(!fault(text).contains("hush"), "{}", fault(text));
        }
    }

    #[test]
    fn what_only_the_sync_client_reads_is_kept_and_shown() {
        let text = "doozer:?ca=h:1&persist=1,2&require=2";
        let uri: Uri = text.parse().unwrap();
        assert_eq!(uri.persist.as_deref(), Some("1,2"));
        assert_eq!(uri.require.as_deref(), Some("2"));
        assert_eq!(uri.to_string(), text);
    }
}
