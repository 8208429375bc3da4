//! Which programs a world's machines run.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::hidden::liar::LIAR;
use crate::hidden::node::NODE;
use crate::hidden::persister::PERSISTER;
use crate::world::services::program::Program;
use crate::writers::CLIENT;

/// The programs of a world. By default all of them are this one.
#[derive(Clone, Debug)]
pub struct Programs {
    /// What has the guard's subcommand: always `cairn` itself.
    pub guard: PathBuf,
    /// The persister.
    pub persister: Program,
    /// The node.
    pub node: Program,
    /// A client of a writer.
    pub client: Program,
    /// The persister that lies.
    pub liar: Program,
}

impl Programs {
    /// All within `cairn`, which is this very program.
    ///
    /// # Errors
    /// If the system does not tell where this program is.
    pub fn own() -> anyhow::Result<Self> {
        let cairn = std::env::current_exe().context("cannot tell where this program is")?;
        Ok(Self::within(cairn))
    }

    /// All within `cairn`, which is there.
    #[must_use]
    pub fn within(cairn: PathBuf) -> Self {
        let within = |subcommand| Program::within(&cairn, subcommand);
        Self {
            persister: within(PERSISTER),
            node: within(NODE),
            client: within(CLIENT),
            liar: within(LIAR),
            guard: cairn,
        }
    }
}
