//! What a drill runs on, and for how long.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::drill::watcher::Watcher;

/// What a drill runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// One process: a persister with the cluster inside
    Embedded,
    /// A doozer-lite, and persisters beside it that restore it
    Lite,
    /// Members of etcd, and persisters beside them
    Etcd,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedded => "embedded",
            Self::Lite => "lite",
            Self::Etcd => "etcd",
        })
    }
}

/// How a drill is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it runs on, if not on what it would choose.
    pub shape: Option<Shape>,
    /// How many members of etcd there are, if not as many as it says.
    pub nodes: Option<u32>,
    /// The directory of another `etcd` than the installed one.
    pub etcd: Option<PathBuf>,
    /// How often its round is done, if not as often as it says.
    pub rounds: Option<u32>,
    /// How many clients write.
    pub writers: u32,
    /// How many keys each of them has.
    pub keys: usize,
    /// The random numbers' seed.
    pub seed: u64,
    /// Whether clients wait for a persister that lies, and every honest disk is lost.
    pub liar: bool,
    /// The directory, if it is to be kept.
    pub keep: Option<PathBuf>,
    /// Where to write the report as a page.
    pub report: Option<PathBuf>,
    /// Whether to say on standard error how it goes.
    pub tell: bool,
    /// Who watches it.
    pub watcher: Option<Arc<dyn Watcher>>,
}
