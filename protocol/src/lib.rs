//! The keys and values through which persisters, their clients and strangers agree.
//!
//! A persister says inside the cluster what is on its disk. Everything that it says is an ordinary
//! key with a short ASCII value, so a program in any language can wait for it or act as a
//! persister. This crate is that agreement and nothing else: names, forms of values, and the times
//! that both sides count on. It does no I/O and depends on nothing.
//!
//! | module | what it fixes |
//! |---|---|
//! | [`keys`] | what each key is called |
//! | [`owner`] | who holds a persister's id, and how it shows that it is alive |
//! | [`progress`] | up to which revision a persister's disk and mirror are complete |

pub mod keys;
pub mod owner;
pub mod progress;
