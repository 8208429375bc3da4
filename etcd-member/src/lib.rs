//! Real members of etcd for tests: child processes that do not outlive the test.
//!
//! ```no_run
//! use cairn_etcd_member::Member;
//!
//! # fn main() -> anyhow::Result<()> {
//! let mut members = Member::cluster(3, &["--unsafe-no-fsync"])?;
//! members[0].etcdctl(&["put", "k", "v"])?;
//! members[0].kill();
//! assert!(members[0].restart()?);
//! # Ok(())
//! # }
//! ```
//!
//! `CAIRN_ETCD=DIR` takes `etcd` and `etcdctl` from there instead of from the `PATH`.

mod certificates;
mod member;
mod process;

pub use certificates::Certificates;
pub use member::{DEADLINE, Member, free_port};
