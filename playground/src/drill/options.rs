//! What a drill runs on, and for how long.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::Serialize;

/// What a drill runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// One process: a persister with the cluster inside
    Embedded,
    /// A doozer-lite, two persisters beside it that restore it, and writes that wait for both
    Lite,
}

/// How a drill is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it runs on.
    pub shape: Shape,
    /// How often everything is lost.
    pub rounds: u32,
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
    /// Whether to say on standard error how it goes.
    pub tell: bool,
}
