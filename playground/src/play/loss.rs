//! What was lost, until a proof has shown what came back.

use crate::moment::Moment;
use crate::told::state::{Agreed, HashKv};

/// What was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// All processes; disks stayed.
    Power,
    /// The nodes with all that they had.
    Everything,
}

/// A loss.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    pub(super) kind: Lost,
    /// What was there, by the last look.
    pub(super) before: Option<Moment>,
    /// What members of etcd said before.
    pub(super) agreed: Option<Agreed>,
    /// What members were made from, if they were.
    pub(super) made: Option<Made>,
}

/// What a journal told before members were made from it.
#[derive(Clone, Debug)]
pub(super) struct Made {
    /// The hash of its history at the moment at which the lost members had agreed; or why it
    /// cannot tell.
    pub(super) history: Result<u32, String>,
    /// What new members must say.
    pub(super) file: Option<HashKv>,
}
