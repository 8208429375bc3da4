//! The keys through which persisters and clients agree, whatever an engine calls them.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_journal::Revision;

/// The number in `--id`: names one persister within a cluster.
pub type Id = u32;

/// A key through which persisters and clients agree; never journaled, never mirrored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ControlKey {
    /// Which cluster this is, and what it was restored from.
    Identity,
    /// Who holds a persister id.
    Owner(Id),
    /// The newest revision up to which everything is durable.
    Watermark(Id),
    /// How far the mirror of paths has come.
    Mirrored(Id),
    /// The durable revision of one path.
    Mirror(Id, Bytes),
}

/// A control key's value and the revision that set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The revision of the write that set it.
    pub revision: Revision,
    /// Its value.
    pub value: Bytes,
}

/// What one persister says about itself in a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// [`ControlKey::Owner`].
    pub owner: Option<Control>,
    /// [`ControlKey::Watermark`].
    pub watermark: Option<Control>,
    /// [`ControlKey::Mirrored`].
    pub mirrored: Option<Control>,
}

/// What each persister of a cluster says about itself.
pub type Announcements = BTreeMap<Id, Announced>;
