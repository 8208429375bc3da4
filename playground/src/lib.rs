//! Machines that can be lost, made of real processes; clients that are told something; and a ledger
//! that knows what they were told.
//!
//! | module | |
//! |---|---|
//! | [`world`] | processes as machines: started, killed, halted, wiped, replaced; none outlives the program |
//! | [`ledger`] | what clients were told, and the audit of what is there afterwards |
//! | [`writers`] | clients as processes, and what they are told to write |
//! | [`engine`] | a client of a cluster, whatever protocol it speaks |
//! | [`drill`] | machines lost on purpose, with a verdict |
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
pub mod members;
pub mod probe;
pub mod programs;
pub mod tool;
pub mod world;
pub mod writers;
