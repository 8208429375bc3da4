//! The answers, field by field as a real node gives them: which fields are present is part of
//! the protocol, so each shape is made in one place.

use bytes::Bytes;
use cairn_client::Revision;
use cairn_client::wire::{ErrCode, FLAG_SET, Response};

use crate::store::Refusal;
use crate::store::event::Event;

/// A real node's answer to a wrong or missing secret.
const DENIED: &str = "permission denied";

pub(crate) fn done(tag: Option<i32>) -> Response {
    Response {
        tag,
        ..Response::default()
    }
}

pub(crate) fn revision(tag: Option<i32>, revision: Revision) -> Response {
    Response {
        rev: Some(revision.0),
        ..done(tag)
    }
}

pub(crate) fn value(tag: Option<i32>, value: Bytes) -> Response {
    Response {
        value: Some(value),
        ..done(tag)
    }
}

/// The file that an event set; `None` stands for no file, which is not an error.
pub(crate) fn file(tag: Option<i32>, file: Option<&Event>) -> Response {
    let (revision, value) = match file {
        Some(event) => (event.revision, event.value.clone()),
        None => (Revision::MISSING, Bytes::new()),
    };
    Response {
        rev: Some(revision.0),
        value: Some(value),
        ..done(tag)
    }
}

pub(crate) fn stat(tag: Option<i32>, revision: Revision, len: usize) -> Response {
    let len = i32::try_from(len).unwrap_or(i32::MAX);
    Response {
        rev: Some(revision.0),
        len: Some(len),
        ..done(tag)
    }
}

/// One name of a directory.
pub(crate) fn name(tag: Option<i32>, name: &str) -> Response {
    Response {
        path: Some(name.to_owned()),
        ..done(tag)
    }
}

/// The answer of WAIT.
pub(crate) fn event(tag: Option<i32>, event: &Event) -> Response {
    Response {
        flags: Some(event.kind.flags()),
        ..entry(tag, event)
    }
}

/// One file of a WALK.
pub(crate) fn entry(tag: Option<i32>, event: &Event) -> Response {
    Response {
        flags: Some(FLAG_SET),
        rev: Some(event.revision.0),
        path: Some((*event.path).to_owned()),
        value: Some(event.value.clone()),
        ..done(tag)
    }
}

pub(crate) fn error(tag: Option<i32>, code: ErrCode) -> Response {
    Response {
        err_code: Some(code as i32),
        ..done(tag)
    }
}

pub(crate) fn other(tag: Option<i32>, detail: String) -> Response {
    Response {
        err_detail: Some(detail),
        ..error(tag, ErrCode::Other)
    }
}

pub(crate) fn denied(tag: Option<i32>) -> Response {
    other(tag, DENIED.to_owned())
}

pub(crate) fn bad_glob(tag: Option<i32>, glob: &str) -> Response {
    other(tag, format!("invalid glob pattern: {glob}"))
}

pub(crate) fn refused(tag: Option<i32>, refusal: Refusal) -> Response {
    match refusal {
        Refusal::BadPath => error(tag, ErrCode::BadPath),
        Refusal::PathTooLong | Refusal::NoRevisionLeft => other(tag, refusal.to_string()),
        Refusal::RevMismatch => error(tag, ErrCode::RevMismatch),
        Refusal::IsDir => error(tag, ErrCode::Isdir),
        Refusal::NotDir => error(tag, ErrCode::Notdir),
    }
}
