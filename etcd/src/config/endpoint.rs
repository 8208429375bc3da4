//! One address of a member.

use std::fmt;

use crate::config::error::UriError;

/// The port of an address that names none.
pub const DEFAULT_PORT: u16 = 2379;

/// Where clients reach one member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    tls: bool,
    host: String,
    port: u16,
}

impl Endpoint {
    /// Reads `http://HOST:PORT`, `https://HOST:PORT` or `HOST:PORT`; `tls` says what the last
    /// means.
    ///
    /// # Errors
    /// What is wrong with it. A text that may hold a password is not repeated.
    pub fn parse(text: &str, tls: bool) -> Result<Self, UriError> {
        if text.contains('@') {
            return Err(UriError::new(
                "an address holds no user; set ETCDCTL_USER and ETCDCTL_PASSWORD",
            ));
        }
        let bad = |why: &str| Err(UriError::new(format!("address {text:?} {why}")));
        let (tls, rest) = match text.split_once("://") {
            None => (tls, text),
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return bad("is neither http:// nor https://"),
        };
        let address = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match address.rfind(':') {
            Some(colon) if !address.ends_with(']') => {
                (&address[..colon], Some(&address[colon + 1..]))
            }
            _ => (address, None),
        };
        let bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || host == "[]" {
            return bad("has no host");
        }
        if !bracketed && host.contains(':') {
            return bad("looks like IPv6; write it in brackets, [ADDRESS]:PORT");
        }
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let is_address = |c: char| c.is_ascii_hexdigit() || ":.".contains(c);
        let fits = match bracketed {
            true => name.chars().all(is_address),
            false => name.chars().all(is_allowed),
        };
        if !fits {
            return bad("is not HOST:PORT");
        }
        let port = match port.map(str::parse::<u16>) {
            None => DEFAULT_PORT,
            Some(Ok(port)) if port > 0 => port,
            Some(_) => return bad("has a bad port"),
        };
        let host = host.to_owned();
        Ok(Self { tls, host, port })
    }

    /// Whether it is reached over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// `HOST:PORT`, an IPv6 address in brackets.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The name or address that the member's certificate must have.
    #[cfg(feature = "tls")]
    pub(crate) fn server_name(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}
