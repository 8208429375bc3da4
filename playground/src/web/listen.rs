//! Where the page is served: on loopback, at the port that was asked for or the next that is free.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result, bail};
use tokio::net::TcpListener;

/// How many ports are tried.
const PORTS: u16 = 20;

/// Listens at `address`; if its port is taken, at the next that is free. On 127.0.0.1 also on ::1,
/// where that is possible: some browsers try that first for `localhost`.
///
/// # Errors
/// An address that is not loopback, with what to do instead; no port.
pub async fn listen(address: SocketAddr) -> Result<(u16, Vec<TcpListener>)> {
    if !address.ip().is_loopback() {
        bail!(
            "{address} is not loopback, and whoever reaches the page commands this computer's \
             processes. From elsewhere: ssh -L 8047:127.0.0.1:8047 HOST"
        );
    }
    let tries = if address.port() == 0 { 1 } else { PORTS };
    for n in 0..tries {
        let Some(port) = address.port().checked_add(n) else {
            break;
        };
        match TcpListener::bind((address.ip(), port)).await {
            Ok(listener) => {
                let port = listener.local_addr()?.port();
                let mut all = vec![listener];
                if matches!(address.ip(), IpAddr::V4(_))
                    && let Ok(other) = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await
                {
                    all.push(other);
                }
                return Ok((port, all));
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(error).context(format!("cannot listen on {address}")),
        }
    }
    bail!("{address} and the {PORTS} ports from there on are taken: give another")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_no_reason_to_fail_and_another_address_is() -> Result<()> {
        let taken = TcpListener::bind("127.0.0.1:0").await?;
        let address = taken.local_addr()?;
        let (port, _) = listen(address).await?;
        assert_ne!(port, address.port());
        let refused = listen("0.0.0.0:8047".parse()?).await;
        let says = refused
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(says.contains("ssh -L"), "{says}");
        Ok(())
    }
}
