//! A `doozer-lite`: a cluster of one node, in memory.

use crate::world::error::Result;
use crate::world::ports::Port;
use crate::world::process::Launch;
use crate::world::services::probe::listens;
use crate::world::services::program::Program;
use crate::world::services::service::{Look, Place, Service};

/// A `doozer-lite`.
#[derive(Clone, Debug)]
pub struct Lite {
    /// How to call it.
    pub program: Program,
    /// Where it listens.
    pub port: Port,
    /// Further arguments.
    pub args: Vec<String>,
}

impl Service for Lite {
    fn name(&self) -> &'static str {
        "doozer-lite"
    }

    fn launch(&self, place: &Place) -> Result<Launch> {
        let launch = self.program.launch(self.name(), place);
        Ok(launch.args(["-l", &self.port.address()]).args(&self.args))
    }

    fn is_ready(&self) -> Look<'_> {
        Box::pin(async { listens(&self.port.address()).await })
    }

    fn ports(&self) -> Vec<&Port> {
        vec![&self.port]
    }
}
