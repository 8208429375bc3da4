//! What was lost, until a proof has shown what came back.

use crate::play::moment::Moment;

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
}
