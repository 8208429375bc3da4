//! A playground: a real cluster, real persisters and a real client on this computer, and what can
//! be done to them.
//!
//! What holds:
//!
//! 1. **One command per target at a time**, and a command on everything excludes all others
//!    (`actions`). What is refused is refused at once, in a sentence; nothing is queued.
//! 2. **Targets are fixed**: ids of nodes and persisters that were there at the start. No path,
//!    flag or program comes from the page, and there is no shell.
//! 3. **Every key has one writer**, and every write is in the ledger before it is sent (`clients`).
//!    So after a loss it can be decided what must be there.
//! 4. **Nothing is claimed without evidence**: a proof compares what was read before the loss with
//!    what is read after the restore, and asks the ledger (`proof`).
//! 5. **Every step has a deadline**, and a sentence for its failure.
//! 6. **Looks cost nothing while nobody looks**: nodes and persisters are asked only while a page
//!    is open (`watch`).
//! 7. **Memory does not grow with time**: lines, seconds, the ledger's writes, the past's cache and
//!    what streams have not read are all bounded.
//!
//! ```text
//!  page ─▶ actions ─▶ world (machines)          watch ─▶ looks ─▶ snapshot ─▶ story ─▶ page
//!       ─▶ clients ─▶ ledger, latency           whole ─▶ loss … restore ─▶ proof
//! ```

pub(crate) mod act;
pub mod actions;
mod agreement;
pub mod clients;
mod connection;
mod etcd;
pub(crate) mod inner;
pub mod kind;
pub(crate) mod latency;
mod looks;
pub(crate) mod loss;
pub(crate) mod narrate;
mod proof;
mod proving;
pub mod run;
pub mod setup;
mod single;
mod snapshot;
pub(crate) mod story;
pub(crate) mod target;
mod watch;
mod whole;
