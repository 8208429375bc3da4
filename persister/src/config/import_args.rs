//! The flags of `persister import`.

use std::path::PathBuf;

use clap::Args;

/// What to import.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// The snapshot file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
