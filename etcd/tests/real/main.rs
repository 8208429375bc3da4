//! The client against real members of etcd.

#![allow(clippy::unwrap_used)] // Tests.

mod auth;
mod calls;
mod member;
#[cfg(feature = "tls")]
mod tls;
mod trouble;
mod watches;
