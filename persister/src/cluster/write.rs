//! What is written into a cluster, and under which expectations.

use bytes::Bytes;
use cairn_journal::Revision;

use crate::cluster::control::ControlKey;

/// One write of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// What is written.
    pub key: Key,
    /// What must hold of the key.
    pub expect: Expect,
    /// The new value; `None`: the key is deleted.
    pub value: Option<Bytes>,
    /// The lease under which the key then stands, [granted] before; 0 for none. Only where the
    /// engine [has leases].
    ///
    /// [granted]: crate::cluster::session::Session::grant
    /// [has leases]: crate::cluster::capabilities::Capabilities::leases
    pub lease: i64,
}

/// A key of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// One of those through which persisters and clients agree.
    Control(ControlKey),
    /// One outside the control area.
    Data(Bytes),
}

/// What must hold of a key for a write to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    Any,
    /// The key does not exist.
    Absent,
    /// The key has not been written since this revision.
    At(Revision),
}
