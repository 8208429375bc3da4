//! An haproxy in front of services: TCP, so that it carries any protocol.

use std::fmt::Write as _;
use std::fs;

use crate::world::error::{Error, Result};
use crate::world::ports::Port;
use crate::world::process::Launch;
use crate::world::services::probe::listens;
use crate::world::services::program::Program;
use crate::world::services::service::{Look, Place, Service};

/// An haproxy that leads one port to whichever of its backends is up.
#[derive(Clone, Debug)]
pub struct Haproxy {
    /// How to call it.
    pub program: Program,
    /// Where it listens.
    pub port: Port,
    /// Where it leads: a name and a port each, in fixed slots. The first is used while it is up.
    pub backends: Vec<(String, Port)>,
    /// What a backend must answer with 200 to count as up, such as `/health`. Without it a
    /// connection is enough; a halted server accepts connections, and answers nothing.
    pub check: Option<String>,
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
        let mut text = String::from(
            "global\n    stats socket unix@admin.sock mode 600 level admin\n\
             defaults\n    mode tcp\n    timeout connect 2s\n    timeout client 1h\n    timeout server 1h\n",
        );
        let _ = writeln!(text, "listen front\n    bind {}", self.port.address());
        if let Some(path) = &self.check {
            let _ = writeln!(text, "    option httpchk GET {path}");
        }
        for (n, (name, port)) in self.backends.iter().enumerate() {
            let backup = if n == 0 { "" } else { " backup" };
            let _ = writeln!(
                text,
                "    server {name} {} check inter 500ms fall 3 on-marked-down shutdown-sessions{backup}",
                port.address()
            );
        }
        text
    }
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
        Box::pin(async { listens(&self.port.address()).await })
    }

    fn ports(&self) -> Vec<&Port> {
        vec![&self.port]
    }
}
