//! A running persister tells about itself.
//!
//! [`Vitals`](vitals::Vitals) is written by the stages and read by everybody who asks: Prometheus,
//! health checks, `/status`, the service manager. Writing costs an atomic store; nothing here can
//! slow the pipeline down or fail.

pub mod escape;
pub mod http;
mod journal_size;
pub mod log;
mod metrics;
mod positions;
pub mod report;
pub mod service;
pub mod vitals;
pub mod wait;
