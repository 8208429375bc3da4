//! Ways between machines that can be cut: a relay before each port.
//!
//! A machine that is cut off reaches nobody, and nobody reaches it: what is under way stands still,
//! as when packets are lost, and its connections end when it is healed. Nothing that was held is
//! ever handed on, so no request arrives after its sender was given up.
//!
//! A relay sees who has opened a connection by asking the kernel which process has its other end.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::world::machine::Machine;
use crate::world::ports::Port;

/// All ways, and who is cut off. Ends, with every connection, when it is dropped.
#[derive(Debug)]
pub struct Network {
    cut: watch::Sender<BTreeSet<String>>,
    machines: Arc<OnceLock<Vec<Arc<Machine>>>>,
    relays: JoinSet<()>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            cut: watch::Sender::new(BTreeSet::new()),
            machines: Arc::default(),
            relays: JoinSet::new(),
        }
    }
}

impl Network {
    /// Hands on what comes in at `at` to the machine of this name, which listens at `to`.
    ///
    /// # Errors
    /// If somebody else listens there.
    pub fn relay(&mut self, at: &Port, to: Port, name: &str) -> Result<()> {
        let listener = std::net::TcpListener::bind(at.address())
            .with_context(|| format!("cannot listen on {}", at.address()))?;
        listener.set_nonblocking(true)?;
        let (listener, own) = (TcpListener::from_std(listener)?, at.get());
        let (cut, machines) = (self.cut.subscribe(), Arc::clone(&self.machines));
        let name = name.to_owned();
        self.relays.spawn(async move {
            let mut ways = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((near, from)) = accepted else { continue };
                        let opener = opener(machines.get(), from, own);
                        let ends = [Some(name.clone()), opener].into_iter().flatten().collect();
                        ways.spawn(way(near, to.clone(), ends, cut.clone()));
                    }
                    Some(_) = ways.join_next() => {}
                }
            }
        });
        Ok(())
    }

    /// Whose connections are told apart.
    pub fn know(&self, machines: Vec<Arc<Machine>>) {
        // Set once, when all machines are made.
        let _ = self.machines.set(machines);
    }

    /// Cuts a machine off.
    pub fn cut(&self, name: &str) {
        self.cut.send_modify(|cut| {
            cut.insert(name.to_owned());
        });
    }

    /// Lets it reach others, and others reach it.
    pub fn heal(&self, name: &str) {
        self.cut.send_modify(|cut| {
            cut.remove(name);
        });
    }

    /// Whether it is cut off.
    #[must_use]
    pub fn is_cut(&self, name: &str) -> bool {
        self.cut.borrow().contains(name)
    }
}

/// One connection: handed on until an end of it is cut off, then held until that is over.
async fn way(
    mut near: TcpStream,
    to: Port,
    ends: Vec<String>,
    mut cut: watch::Receiver<BTreeSet<String>>,
) {
    let is_cut = |cut: &BTreeSet<String>| ends.iter().any(|end| cut.contains(end));
    let hand_on = async {
        let mut far = TcpStream::connect(to.address()).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let done = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        std::io::Result::Ok((far, done))
    };
    // Both sockets stay open while it is held.
    let mut hand_on = std::pin::pin!(hand_on);
    tokio::select! {
        biased;
        // Fails only when the network has gone.
        _ = cut.wait_for(is_cut) => {}
        _ = &mut hand_on => return,
    }
    let _ = cut.wait_for(|cut| !is_cut(cut)).await;
}

/// The machine whose process has opened a connection to our port.
fn opener(machines: Option<&Vec<Arc<Machine>>>, from: SocketAddr, own: u16) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let socket = format!("socket:[{}]", inode(&table, from.port(), own)?);
    let has_it = |pid: u32| {
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"));
        descriptors.is_ok_and(|descriptors| {
            let links = descriptors
                .flatten()
                .filter_map(|it| it.path().read_link().ok());
            links
                .into_iter()
                .any(|link| link.as_os_str() == socket.as_str())
        })
    };
    let mut machines = machines?.iter();
    let opened = |machine: &&Arc<Machine>| {
        let about = machine.about();
        about.iter().filter_map(|it| it.pid).any(has_it)
    };
    Some(machines.find(opened)?.name().to_owned())
}

/// The inode of the socket at port `from` that is connected to port `to`, in the kernel's table of
/// connections, all of which are on the loopback here.
fn inode(table: &str, from: u16, to: u16) -> Option<&str> {
    let (from, to) = (format!(":{from:04X}"), format!(":{to:04X}"));
    let mut lines = table.lines().map(str::split_whitespace);
    lines.find_map(|mut words| {
        let (is_from, is_to) = (words.nth(1)?.ends_with(&from), words.next()?.ends_with(&to));
        (is_from && is_to).then(|| words.nth(6))?
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::ensure;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::world::ports::Ports;

    const LIMIT: Duration = Duration::from_secs(30);

    #[test]
    fn the_kernels_table_tells_the_inode_of_a_connection() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n\
             0: 0100007F:4E21 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000 0 71\n\
             1: 0100007F:9C40 0100007F:4E21 01 00000000:00000000 00:00000000 00000000  1000 0 72 1";
        assert_eq!(inode(table, 40_000, 20_001), Some("72"));
        assert_eq!(inode(table, 20_001, 40_000), Some("71"));
        assert_eq!(inode(table, 1, 20_001), None);
    }

    #[tokio::test]
    async fn what_is_held_is_never_handed_on() -> Result<()> {
        let mut ports = Ports::default();
        let (at, to) = (ports.port()?, ports.port()?);
        let server = TcpListener::bind(to.address()).await?;
        let mut network = Network::default();
        network.relay(&at, to, "server")?;
        let mut client = TcpStream::connect(at.address()).await?;
        client.write_all(b"a").await?;
        let (mut served, _) = server.accept().await?;
        let mut byte = [0];
        served.read_exact(&mut byte).await?;

        network.cut("server");
        ensure!(network.is_cut("server") && !network.is_cut("client"));
        // Nothing passes, and nobody is told: as on a broken line.
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.write_all(b"b").await?;
        let silent = tokio::time::timeout(Duration::from_millis(100), client.read(&mut byte));
        ensure!(
            silent.await.is_err(),
            "the connection ended while it was cut"
        );
        let mut late = TcpStream::connect(at.address()).await?;
        late.write_all(b"c").await?;
        let silent = tokio::time::timeout(Duration::from_millis(100), late.read(&mut byte));
        ensure!(
            silent.await.is_err(),
            "the connection ended while it was cut"
        );
        for _ in 0..10 {
            // So that the relay has accepted it for sure: what is not accepted is not held.
            tokio::task::yield_now().await;
        }

        network.heal("server");
        for stream in [&mut client, &mut late, &mut served] {
            // The end, or an error that says so.
            let end = tokio::time::timeout(LIMIT, stream.read(&mut byte)).await?;
            ensure!(end.as_ref().map_or(true, |read| *read == 0), "{end:?}");
        }
        let mut anew = TcpStream::connect(at.address()).await?;
        anew.write_all(b"d").await?;
        let (mut served, _) = tokio::time::timeout(LIMIT, server.accept()).await??;
        served.read_exact(&mut byte).await?;
        ensure!(byte == *b"d", "{byte:?}");
        Ok(())
    }
}
