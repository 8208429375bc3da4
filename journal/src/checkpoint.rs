//! Checkpoints: the whole state at a settled point of the journal, sorted by path, in a file of its own.
//!
//! Promises: memory depends neither on the size of the state nor on the length of history; a checkpoint
//! has its name only once it is complete and on disk, and is believed only where its checksums match.
