//! `persister restore --to-snapshot FILE`: a lost cluster of etcd as a snapshot file, made from a
//! journal alone.
//!
//! The members of a new cluster start from the file by etcd's own `snapshot restore`. Nothing of
//! ours touches a data directory, a raft log or a membership.
//!
//! Invariants:
//!
//! 1. The journal is only read; it may be in use. What does not fit into memory lies beside the
//!    file, and goes with the command.
//! 2. FILE exists only whole: written beside its name, synced, read back, compared with the
//!    journal, then renamed. A file that is there already is never replaced.
//! 3. What can be refused is refused before the first byte: a state that the journal cannot tell,
//!    a history with a hole, keys without etcd's attributes, a tool that is not installed.
//! 4. Each key has the create revision, mod revision, version and lease that the journal has for
//!    it. None of them is made up.
//! 5. The history begins at C: the state there is whole, and every revision from C + 1 to R follows
//!    as it was, control writes among it. A revision of which the journal proves that it held
//!    nothing but writes that are not journaled is filled with a put of a key of our own: etcd
//!    knows no empty revision. What is filled is told.
//! 6. A revision that a client may have seen never gets another meaning. Nobody can tell from a
//!    journal that the cluster ended with it, so by default the counter goes on [`JUMP`] further,
//!    and everything before counts as compacted: watchers are told so, and list again. Only where
//!    the operator says that nothing came after the journal's end (`--seamless`) does it go on at
//!    R + 1, with the history readable.
//! 7. An older state comes back as revisions after the newest, never with a lower counter. Only a
//!    rehearsal has a lower one, and an identity that no journal of the lost cluster follows.
//! 8. The identity is the first revision after R, and owner keys are deleted in the same one: their
//!    holders are dead. So a journal of the lost cluster goes on as after any other restore.
//! 9. A lease comes back with its id and its whole granted time, as after any start of etcd. One
//!    whose time the journal does not know gets [`ASSUMED_TTL`] seconds, and is told.
//!
//! Memory: neither state nor history is in memory. The state is sorted by path and again by
//! revision on disk; the history is in order already. What grows: 16 bytes a lease, a bit and 25
//! bytes a key for the hash (bounded, `cairn_etcd_snapshot::hash_kv`), a mark a MiB of history.
//!
//! | module | what it decides |
//! |---|---|
//! | `request` | what may be asked for |
//! | `survey` | where the journal's history has no hole (pure) |
//! | `plan` | which stretch is written, and what follows it (pure) |
//! | `look` | what the newest state says of owners, identity and leases |
//! | `records` | a journal's changes as records of etcd |
//! | `write` | the file, in order |
//! | `verify` | the file against the journal |
//! | `members` | etcd's own tool, and how to start what it makes |
//! | `command`, `report` | the command, and what it prints |

pub mod command;
mod look;
mod members;
mod plan;
mod records;
pub mod report;
pub mod request;
mod survey;
#[cfg(test)]
mod tests;
mod verify;
mod write;

use cairn_journal::Revision;

/// How far the counter jumps over revisions that clients may have seen and the journal does not
/// have: more than a day of 10,000 writes a second.
pub const JUMP: i64 = 1_000_000_000;

/// Seconds for a lease whose granted time is not known. Its client keeps it alive if it lives.
pub const ASSUMED_TTL: i64 = 60;

/// The revision of a cluster of etcd that nobody has written to.
const EMPTY: Revision = Revision(1);
