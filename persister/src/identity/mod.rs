//! Which cluster is this, and may this journal follow it?
//!
//! A cluster in memory that loses all its nodes comes back empty, counting revisions from 1 again.
//! A persister that waited there for its next revision would wait in silence, and one that followed
//! would mix two histories in one journal. So every cluster carries an
//! [`Identity`], every journal is bound to the one it followed, and
//! [`decide`] compares the two on every attach.
//!
//! | module | what it decides |
//! |---|---|
//! | [`lineage`] | what an identity is, and how one follows from another by a restore (pure) |
//! | `written` | the form in which it stands in the cluster (pure) |
//! | [`decision`] | what it means for a journal (pure) |
//! | [`holder`] | which process holds a persister's id |

pub mod decision;
pub mod holder;
pub mod lineage;
pub mod written;

pub use decision::{Attach, LocalHistory, Refusal, RemoteCluster, decide};
pub use lineage::{ANCESTORS, Ancestor, Choice, Identity, Origin, Outcome};
pub use written::ParseError;
