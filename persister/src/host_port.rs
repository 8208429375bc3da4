//! An address to listen at, as people write it: `HOST:PORT`.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// `HOST:PORT`: a name or a number, an IPv6 number in brackets. A name is looked up only when
/// somebody listens there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort(String);

impl HostPort {
    /// Listens there: at the first address of the name that can be had.
    ///
    /// # Errors
    /// The name has no address, or none of them can be had.
    pub async fn listen(&self) -> std::io::Result<TcpListener> {
        TcpListener::bind(&self.0).await
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self(address.to_string())
    }
}

impl From<HostPort> for String {
    fn from(address: HostPort) -> Self {
        address.0
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = text.rsplit_once(':').ok_or(HostPortError)?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let is_host = match bare {
            Some(number) => number.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && !host.contains([':', '/', ' ', '[', ']']),
        };
        if !is_host || port.parse::<u16>().is_err() {
            return Err(HostPortError);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for HostPort {
    type Error = HostPortError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A text that is no `HOST:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not of the form HOST:PORT, as localhost:9346, 127.0.0.1:9346 or [::1]:9346")]
pub struct HostPortError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_hosts() {
        for text in [
            "localhost:9346",
            "127.0.0.1:0",
            "[::1]:65535",
            "a-b.example:1",
        ] {
            let parsed: HostPort = text.parse().expect("a host and a port");
            assert_eq!(parsed.to_string(), text);
        }
        for text in [
            "",
            "9346",
            ":9346",
            "localhost",
            "localhost:",
            "localhost:x",
            "localhost:65536",
            "::1:9346",
            "[::1]",
            "[x]:1",
            "http://localhost:1",
            "a b:1",
        ] {
            assert_eq!(text.parse::<HostPort>(), Err(HostPortError), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_name_is_looked_up_when_somebody_listens() {
        let address: HostPort = "localhost:0".parse().expect("a host and a port");
        let listener = address.listen().await.expect("localhost is here");
        let bound = listener.local_addr().expect("it is bound");
        assert!(bound.ip().is_loopback());
        let unknown: HostPort = "no-such-host.invalid:1".parse().expect("the form is right");
        assert!(unknown.listen().await.is_err());
    }
}
