//! Machines that can be lost, made of real processes; clients that are told something; and a ledger
//! that knows what they were told.
//!
//! | module | |
//! |---|---|
//! | [`world`] | processes as machines: started, killed, halted, wiped, replaced; none outlives the program |
//! | [`ledger`] | what clients were told, and the audit of what is there afterwards |
//! | [`writers`] | clients as processes, and what they are told to write |
//! | [`engine`] | a client of a cluster, whatever protocol it speaks |
//! | [`members`] | a cluster of etcd on machines: who forms it, who joins it, who leads |
//! | [`network`] | ways between machines that can be cut |
//! | [`warden`] | watches servers, and replaces those that fail |
//! | [`tool`] | a program that is run to its end |
//! | [`output`] | what is printed, whether or not somebody reads it |
//! | [`drill`] | machines lost on purpose, with a verdict |
//! | [`play`], [`web`] | the same by hand, in a page: break it, lose it, restore it, look back |
//! | [`told`] | what a page is told |
//! | [`watched`] | a drill in the page, which can be watched |
//! | [`load`], `past`, [`restore`] | of a playground: writes, what was journaled, what is brought back |
//! | `moment` | what a cluster held, as far as it is compared later |
//! | [`probe`] | what users of a cluster see, until stopped |
//! | [`programs`], [`hidden`] | the programs of a world, all of them in this binary |
//!
//! `world` knows nothing of what its services do, `ledger` nothing of processes, and neither of
//! drills.

#[cfg(not(target_os = "linux"))]
compile_error!("cairn's world of processes needs Linux: pidfds and the parent-death signal");

pub mod args;
pub mod drill;
pub mod engine;
pub mod hidden;
pub mod ledger;
pub mod load;
pub mod members;
mod moment;
pub mod network;
pub mod output;
mod past;
pub mod play;
pub mod probe;
pub mod programs;
pub mod restore;
pub mod told;
pub mod tool;
pub mod warden;
pub mod watched;
pub mod web;
pub mod world;
pub mod writers;
