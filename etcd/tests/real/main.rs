//! The client against real members of etcd.

#![allow(clippy::unwrap_used)] // Tests.

mod auth;
mod calls;
mod session;
#[cfg(feature = "tls")]
mod tls;
mod trouble;
mod watches;
