//! Why a call to a cluster failed, and what that means for the session.

/// Why a call to a cluster failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something that the write expected did not hold; nothing was written.
    #[error("{0}")]
    Conflict(Conflict),
    /// The cluster no longer keeps the revisions asked for.
    #[error("the cluster no longer keeps the history that was asked for")]
    HistoryDiscarded,
    /// The cluster cannot be reached, or did not answer in time; another try may help.
    #[error("{0}")]
    Unavailable(String),
    /// The cluster answered, and the answer is no; another try would get the same.
    #[error("{0}")]
    Refused(String),
}

/// Which of a write's expectations did not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The key's own: somebody else wrote it.
    #[error("the key was written by somebody else in the meantime")]
    Key,
    /// The fence: the identity of the cluster is not the one that the session was fenced with.
    /// Takes precedence where both fail.
    #[error("the cluster was given another identity in the meantime")]
    Identity,
}

/// The result of a call to a cluster.
pub type Result<T> = std::result::Result<T, Error>;
