//! Ports of 127.0.0.1 that no other world has, and no outgoing connection takes while their owner
//! is down.
//!
//! A service that is started again wants its old port. The kernel gives the ports of its ephemeral
//! range to anybody's outgoing connections, so ports come from below that range. They come in
//! blocks. The first port of a block is held, listening, for as long as this program lives: it is
//! the block's lock, which the kernel gives back however the program ends.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::world::error::{Error, Result};

/// Ports of a block, the lock among them.
const BLOCK: u16 = 16;

/// Below this, well-known services live.
const LOWEST: u16 = 20_000;

/// Above this, the kernel's usual ephemeral range begins.
const HIGHEST: u16 = 32_000;

/// How many blocks are tried before giving up.
const ATTEMPTS: usize = 400;

/// A port that a service has; another one after the service was replaced. Clones show the same
/// port.
#[derive(Clone, Debug)]
pub struct Port(Arc<AtomicU16>);

impl Port {
    /// The port now.
    #[must_use]
    pub fn get(&self) -> u16 {
        self.0.load(Ordering::Acquire)
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.get())
    }

    pub(super) fn set(&self, port: u16) {
        self.0.store(port, Ordering::Release);
    }
}

/// Hands out ports. They are nobody else's for as long as this lives.
#[derive(Debug, Default)]
pub struct Ports {
    /// The locks of the blocks that were taken.
    locks: Vec<TcpListener>,
    free: Vec<u16>,
}

impl Ports {
    /// A port for a service.
    ///
    /// # Errors
    /// [`Error::NoPorts`].
    pub fn port(&mut self) -> Result<Port> {
        Ok(Port(Arc::new(AtomicU16::new(self.number()?))))
    }

    pub(super) fn number(&mut self) -> Result<u16> {
        if let Some(port) = self.free.pop() {
            return Ok(port);
        }
        let (lock, ports) = block(LOWEST, HIGHEST.min(ephemeral_begins()))?;
        self.locks.push(lock);
        self.free = ports;
        // A block has more than one port.
        self.free.pop().ok_or(Error::NoPorts {
            wanted: BLOCK,
            low: LOWEST,
            high: HIGHEST,
        })
    }
}

/// Takes a block: its lock, and its ports, all of which could be bound at one moment.
fn block(low: u16, high: u16) -> Result<(TcpListener, Vec<u16>)> {
    let blocks = high.saturating_sub(low) / BLOCK;
    let none = Error::NoPorts {
        wanted: BLOCK,
        low,
        high,
    };
    if blocks == 0 {
        return Err(none);
    }
    let first = fastrand::u16(..blocks);
    for n in (0..blocks).take(ATTEMPTS) {
        let base = low + (first + n) % blocks * BLOCK;
        let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let Ok(lock) = bind(base) else { continue };
        let ports: Vec<u16> = (base + 1..base + BLOCK).rev().collect();
        let bound: Result<Vec<_>, _> = ports.iter().map(|&port| bind(port)).collect();
        match bound {
            Ok(_) => return Ok((lock, ports)),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(cause) => {
                return Err(Error::Io {
                    doing: "cannot look for free ports".to_owned(),
                    cause,
                });
            }
        }
    }
    Err(none)
}

/// The first port that the kernel gives to outgoing connections.
fn ephemeral_begins() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let first = range
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok());
    first.unwrap_or(HIGHEST)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn two_worlds_never_get_the_same_port() -> Result<()> {
        let (mut one, mut other) = (Ports::default(), Ports::default());
        let mut seen = HashSet::new();
        for _ in 0..40 {
            assert!(seen.insert(one.number()?));
            assert!(seen.insert(other.number()?));
        }
        assert!(
            seen.iter().all(|&port| port < ephemeral_begins()),
            "{seen:?}"
        );
        Ok(())
    }

    #[test]
    fn a_block_with_a_port_that_somebody_has_is_left_alone() -> Result<()> {
        let low = LOWEST + 11 * BLOCK;
        // One block only, so that there is no other to take.
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, low + 5));
        let refused = block(low, low + BLOCK);
        assert!(
            matches!(refused, Err(Error::NoPorts { .. })),
            "{refused:?} {taken:?}"
        );
        Ok(())
    }
}
