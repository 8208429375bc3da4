//! A server's answers as types.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::revision::Revision;
use crate::wire::{FLAG_DELETE, FLAG_SET, Response, Verb};

/// A file as GET answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The revision of its last write: what a compare-and-set has to name.
    pub revision: Revision,
    /// Its body.
    pub value: Bytes,
}

/// The answer of STAT about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stat {
    /// There is nothing at this path.
    Missing,
    /// A file.
    File {
        /// The revision of its last write.
        revision: Revision,
        /// Bytes in its body.
        len: i32,
    },
    /// A directory.
    Directory {
        /// Names in it.
        entries: i32,
    },
}

/// One change of the cluster, or one file of a listing (then always a [`EventKind::Set`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The revision of the change; of a listed file, of its last write.
    pub revision: Revision,
    /// The path that changed; `/` for a NOP.
    pub path: String,
    /// The body that was set; empty for the other kinds.
    pub value: Bytes,
    /// The kind of the change.
    pub kind: EventKind,
}

/// The kind of an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The path was set.
    Set,
    /// The path was deleted; it may not have existed.
    Delete,
    /// A revision was consumed and nothing changed.
    Nop,
}

/// GET's answer.
pub(crate) fn file(path: &str, response: Response) -> Result<Option<File>> {
    let revision = revision(Verb::Get, path, &response)?;
    Ok((revision != Revision::MISSING).then(|| File {
        revision,
        value: response.value.unwrap_or_default(),
    }))
}

/// STAT's answer.
pub(crate) fn stat(path: &str, response: &Response) -> Result<Stat> {
    let len = response.len.unwrap_or_default();
    Ok(match revision(Verb::Stat, path, response)? {
        Revision::MISSING => Stat::Missing,
        Revision::DIRECTORY => Stat::Directory { entries: len },
        revision => Stat::File { revision, len },
    })
}

/// The answer of WAIT or WALK.
pub(crate) fn event(verb: Verb, glob: &str, response: Response) -> Result<Event> {
    let revision = revision(verb, glob, &response)?;
    let flags = response.flags.unwrap_or_default();
    let kind = match (flags & FLAG_SET != 0, flags & FLAG_DELETE != 0) {
        (true, false) => EventKind::Set,
        (false, true) => EventKind::Delete,
        (false, false) => EventKind::Nop,
        (true, true) => {
            let detail = format!("the event of revision {revision} is both set and delete");
            return Err(broken(verb, glob, detail));
        }
    };
    Ok(Event {
        revision,
        path: response.path.ok_or_else(|| lacking(verb, glob, "path"))?,
        value: response.value.unwrap_or_default(),
        kind,
    })
}

/// GETDIR's answer.
pub(crate) fn name(path: &str, response: Response) -> Result<String> {
    response
        .path
        .ok_or_else(|| lacking(Verb::Getdir, path, "name"))
}

/// The revision in an answer that must have one.
pub(crate) fn revision(verb: Verb, path: &str, response: &Response) -> Result<Revision> {
    let revision = response.rev.ok_or_else(|| lacking(verb, path, "revision"));
    revision.map(Revision)
}

fn lacking(verb: Verb, path: &str, field: &str) -> Error {
    broken(verb, path, format!("the answer has no {field}"))
}

pub(crate) fn broken(verb: Verb, path: &str, detail: String) -> Error {
    Error::Protocol {
        verb,
        path: path.to_owned(),
        detail,
    }
}
