//! Why something was not done, in a sentence for the person at the page.

/// Why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is nothing of this name.
    #[error("{0}")]
    Unknown(String),
    /// It can never be done.
    #[error("{0}")]
    Impossible(String),
    /// It makes no sense as things are, or something else is being done.
    #[error("{0}")]
    NotNow(String),
    /// It was begun, and failed.
    #[error("{0}")]
    Failed(String),
}
