//! A disk in memory that promises no more than [`Storage`](super::Storage) and
//! [`File`](super::File) say, and breaks all else.
//!
//! After a crash any subset of the sectors written since the last sync is there (each in any of its
//! versions since then), any of the lengths since then, and any subset of the directory operations.
//! After a failed sync reads still return what was written, the disk may lack it, and later syncs
//! succeed without writing it: the page cache lies. A sector can be made unreadable. Any call can
//! be made to fail, or to be the last one before a crash. Everything follows from the seed.

mod disk;
mod fault;
mod file;
mod inode;
mod world;

pub use fault::{Fault, SECTOR_BYTES, Survival};
pub use world::Simulated;
