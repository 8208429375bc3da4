//! A drop-in for the regular client whose writes return when they are on disk.

pub mod keys;
