//! The mirror of paths: for every key in the cluster, an entry that says which revision of it is on
//! disk.
//!
//! The journal is the queue: what the mirror still has to be told is read back from there, so a
//! mirror that is slower than the disk delays nobody and takes no memory.
//!
//! | module | what it decides |
//! |---|---|
//! | [`backlog`] | where the mirror has to be taken up, and what it is told from there |
//! | `records` | what a record means to it |
//! | `resync` | how it is led to a state as a whole |
//! | [`ops`] | which writes are needed, and which may fly together (pure) |
//! | [`mod@write`] | writing them |

pub mod backlog;
pub mod ops;
mod records;
mod resync;
pub mod write;

use clap::ValueEnum;
use serde::Deserialize;

/// `--mirror`: what is written into the cluster beside the watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MirrorMode {
    /// An entry for every path, for programs that wait for single paths
    Paths,
    /// Nothing: the watermark is all, and half the writes
    Watermark,
    /// Nothing at all: the cluster is only observed (etcd); what is on disk is told by --listen
    None,
}
