//! All that the journal asks of the world, as traits, and the disks that answer.
//!
//! [`Disk`] is the real one. With the feature `faulty` there is a simulated one that breaks every
//! promise that the traits do not make.

pub(crate) mod disk;
pub(crate) mod file_handle;
mod found;
pub(crate) mod salt;
#[cfg(feature = "faulty")]
pub mod simulated;
pub(crate) mod traits;
pub(crate) mod zeros;

pub use disk::Disk;
pub use traits::{Access, BLOCK_BYTES, File, Lock, SharedStorage, Storage};
