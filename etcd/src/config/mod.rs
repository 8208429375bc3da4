//! Where a cluster is and how to be let in.

pub mod endpoint;
pub mod environment;
pub mod error;
pub mod secret;
pub mod target;
pub mod tls;
pub mod uri;
