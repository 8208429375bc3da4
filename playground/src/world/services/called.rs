//! A service under another name, so that a machine can run two of a kind.

use std::time::Duration;

use crate::world::error::Result;
use crate::world::ports::Port;
use crate::world::process::{Launch, Process};
use crate::world::services::service::{Look, Place, Service};

/// A service under another name. Its directory and its log follow that name.
#[derive(Debug)]
pub struct Called {
    /// The name.
    pub name: String,
    /// What it is.
    pub service: Box<dyn Service>,
}

impl Service for Called {
    fn name(&self) -> &str {
        &self.name
    }

    fn launch(&self, place: &Place) -> Result<Launch> {
        self.service.launch(place)
    }

    fn launched(&self, process: &Process) {
        self.service.launched(process);
    }

    fn is_ready(&self) -> Look<'_> {
        self.service.is_ready()
    }

    fn ports(&self) -> Vec<&Port> {
        self.service.ports()
    }

    fn start_limit(&self) -> Duration {
        self.service.start_limit()
    }

    fn end_limit(&self) -> Duration {
        self.service.end_limit()
    }
}
