//! The properties that every engine must have, as tests that any engine can be put to.
//!
//! An engine joins by implementing [`rig::Rig`] and instantiating [`suite::conforms`]. The suite
//! asks an engine's [capabilities](crate::cluster::capabilities) what to expect of it, and then
//! expects just that: an engine that says that it changes one key a revision must refuse two.
//!
//! | module | what it has |
//! |---|---|
//! | [`rig`] | what the suite needs of an engine besides its sessions |
//! | [`following`], [`state`], [`writing`], [`sessions`] | the properties |
//! | [`suite`] | the list of them, and running it |
//! | [`etcd`] | real clusters of etcd |
//! | `behind` | a member of etcd that tells slower than it is written to |
//! | [`fake`] | an engine in memory that has what doozer has not, or is wrong in a chosen way |
//! | `engines` | the suite on each engine, and the canary: each wrong engine is caught |

mod behind;
mod engines;
pub(crate) mod etcd;
pub(crate) mod fake;
mod following;
pub(crate) mod rig;
mod sessions;
mod state;
mod suite;
mod writing;
