//! What a page is told of a playground: lines as things happen, the state as a whole, and why
//! something was not done.

pub mod feed;
pub mod refusal;
pub mod shown;
pub mod state;
pub(crate) mod time;
