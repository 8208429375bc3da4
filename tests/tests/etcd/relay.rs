//! The way from a client to a member, which can be cut.

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Hands on what is sent to it; ends when dropped.
pub(crate) struct Relay {
    /// Where it listens, on 127.0.0.1.
    pub(crate) port: u16,
    open: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Relay {
    /// The way to what listens at `port`, now or later.
    pub(crate) async fn to(port: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let own = listener.local_addr()?.port();
        let (open, is_open) = watch::channel(true);
        let task = tokio::spawn(async move {
            let mut ways = tokio::task::JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let mut is_open = is_open.clone();
                if *is_open.borrow() {
                    ways.spawn(async move {
                        tokio::select! {
                            _ = hand_on(near, port) => {}
                            _ = is_open.wait_for(|open| !open) => {}
                        }
                    });
                }
            }
        });
        Ok(Self {
            port: own,
            open,
            task,
        })
    }

    /// Ends every connection, and each new one at once.
    pub(crate) fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Lets new connections through.
    pub(crate) fn mend(&self) {
        self.open.send_replace(true);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn hand_on(mut near: TcpStream, port: u16) -> Result<()> {
    let mut far = TcpStream::connect(("127.0.0.1", port)).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut near, &mut far).await?;
    Ok(())
}
