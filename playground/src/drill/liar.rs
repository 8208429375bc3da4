//! The persister that lies, as a service.

use crate::world;
use crate::world::ports::Port;
use crate::world::process::Launch;
use crate::world::services::persister::Cluster;
use crate::world::services::program::Program;
use crate::world::services::service::{Look, Place, Service};

/// What the persister that lies is called as a service.
pub(super) const LIAR: &str = "liar";

/// The persister that lies, as a service.
#[derive(Debug)]
pub(super) struct Liar {
    pub(super) program: Program,
    pub(super) cluster: Cluster,
    pub(super) id: u32,
}

impl Service for Liar {
    fn name(&self) -> &'static str {
        LIAR
    }

    fn launch(&self, place: &Place) -> world::error::Result<Launch> {
        let uri = self.cluster.uri();
        let launch = Launch::new(self.name(), &self.program.path, &place.log);
        Ok(launch
            .args(self.program.args.iter().cloned())
            .args([uri, self.id.to_string()]))
    }

    fn is_ready(&self) -> Look<'_> {
        Box::pin(async { true })
    }

    fn ports(&self) -> Vec<&Port> {
        Vec::new()
    }
}
