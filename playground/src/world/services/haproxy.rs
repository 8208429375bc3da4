//! An haproxy in front of services: TCP, so that it carries any protocol.
//!
//! Its servers are fixed slots. Which machine is behind a slot, and whether anybody is led there,
//! is changed while it runs, through its runtime socket.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::world::error::{Error, Result};
use crate::world::ports::Port;
use crate::world::process::Launch;
use crate::world::services::probe::{answers_http, listens};
use crate::world::services::program::Program;
use crate::world::services::service::{Look, Place, Service};

/// The runtime socket, in the directory of the haproxy.
const SOCKET: &str = "admin.sock";

/// How long the runtime socket may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Where an haproxy says that it is alive, whatever is behind it.
pub(crate) const ALIVE: &str = "/alive";

/// A port that leads to whichever of its backends is up.
#[derive(Clone, Debug)]
pub struct Front {
    /// Its name within its haproxy.
    pub name: String,
    /// Where it listens.
    pub port: Port,
    /// Where it leads: a name and a port each, in fixed slots.
    pub backends: Vec<(String, Port)>,
}

/// An haproxy.
#[derive(Clone, Debug)]
pub struct Haproxy {
    /// How to call it.
    pub program: Program,
    /// The ports that it serves.
    pub fronts: Vec<Front>,
    /// Where it says that it is alive, if it is to be asked.
    pub alive: Option<Port>,
    /// Whether all backends are used that are up, and not only the first of them.
    pub all: bool,
    /// What a backend must answer with 200 to count as up, such as `/health`. Without it a
    /// connection is enough; a halted server accepts connections, and answers nothing.
    pub check: Option<String>,
    /// The pause between checks, of which three in a row must fail.
    pub every: Duration,
}

impl Haproxy {
    /// The installed haproxy.
    ///
    /// # Errors
    /// If there is none.
    pub fn installed() -> Result<Program> {
        Program::installed("haproxy", "on Debian and Ubuntu: apt install haproxy")
    }

    fn config(&self) -> String {
        let mut text = format!(
            "global\n    stats socket unix@{SOCKET} mode 600 level admin\n\
             defaults\n    mode tcp\n    timeout connect 2s\n    timeout client 1h\n    \
             timeout server 1h\n    option redispatch\n"
        );
        if let Some(port) = &self.alive {
            let at = port.address();
            let _ = writeln!(
                text,
                "frontend alive\n    mode http\n    bind {at}\n    monitor-uri {ALIVE}"
            );
        }
        for Front {
            name,
            port,
            backends,
        } in &self.fronts
        {
            let _ = writeln!(text, "listen {name}\n    bind {}", port.address());
            if let Some(path) = &self.check {
                let _ = writeln!(text, "    option httpchk GET {path}");
            }
            for (n, (name, port)) in backends.iter().enumerate() {
                let backup = if n == 0 || self.all { "" } else { " backup" };
                let _ = writeln!(
                    text,
                    "    server {name} {} check inter {}ms fall 3 on-marked-down \
                     shutdown-sessions{backup}",
                    port.address(),
                    self.every.as_millis()
                );
            }
        }
        text
    }

    /// Leads nobody to a slot of a front any more, and ends the connections that lead there.
    ///
    /// # Errors
    /// If the haproxy in this directory does not do it.
    pub async fn take_out(directory: &Path, front: &str, slot: &str) -> Result<()> {
        let commands = [
            format!("set server {front}/{slot} state maint"),
            format!("shutdown sessions server {front}/{slot}"),
        ];
        tell(directory, &commands).await
    }

    /// Leads to a slot of a front, at which now is whatever listens at this port.
    ///
    /// # Errors
    /// If the haproxy in this directory does not do it.
    pub async fn register(directory: &Path, front: &str, slot: &str, port: &Port) -> Result<()> {
        let commands = [
            format!(
                "set server {front}/{slot} addr 127.0.0.1 port {}",
                port.get()
            ),
            format!("set server {front}/{slot} state ready"),
        ];
        tell(directory, &commands).await
    }
}

/// Gives commands to the haproxy in this directory.
async fn tell(directory: &Path, commands: &[String]) -> Result<()> {
    let socket = directory.join(SOCKET);
    let failed = |cause| Error::Io {
        doing: format!("cannot talk to the haproxy at {}", socket.display()),
        cause,
    };
    for command in commands {
        let said = async {
            let mut stream = UnixStream::connect(&socket).await?;
            stream.write_all(format!("{command}\n").as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        let said = tokio::time::timeout(ANSWER_LIMIT, said).await;
        let said = said
            .unwrap_or_else(|late| Err(late.into()))
            .map_err(failed)?;
        let is_done =
            said.trim().is_empty() || said.contains("changed") || said.contains("no need");
        if !is_done {
            let why = std::io::Error::other(format!("{command}: {}", said.trim()));
            return Err(failed(why));
        }
    }
    Ok(())
}

impl Service for Haproxy {
    fn name(&self) -> &'static str {
        "haproxy"
    }

    fn launch(&self, place: &Place) -> Result<Launch> {
        let path = place.directory.join("haproxy.cfg");
        fs::write(&path, self.config()).map_err(Error::io("cannot write", &path))?;
        // In the foreground, as one process: a master with workers would hide them from us.
        Ok(self
            .program
            .launch(self.name(), place)
            .args(["-db", "-f", "haproxy.cfg"]))
    }

    fn is_ready(&self) -> Look<'_> {
        Box::pin(async {
            if let Some(port) = &self.alive {
                return answers_http(&port.address(), ALIVE).await;
            }
            for front in &self.fronts {
                if !listens(&front.port.address()).await {
                    return false;
                }
            }
            true
        })
    }

    fn ports(&self) -> Vec<&Port> {
        let fronts = self.fronts.iter().map(|front| &front.port);
        fronts.chain(&self.alive).collect()
    }
}
