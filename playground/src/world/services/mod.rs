//! What runs on machines: how each program is started, and when it is ready.

pub(crate) mod called;
pub(crate) mod etcd;
pub(crate) mod haproxy;
pub(crate) mod node;
pub(crate) mod persister;
pub(crate) mod probe;
pub(crate) mod program;
pub(crate) mod service;

pub use called::Called;
pub use etcd::{EtcdCluster, EtcdMember};
pub use haproxy::{Front, Haproxy};
pub use node::Lite;
pub use persister::{Cluster, Persister};
pub use probe::{answers_http, http_body, listens};
pub use program::Program;
pub use service::{Look, Place, Service};
