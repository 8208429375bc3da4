//! The verbs that consume a revision. The event is announced to its waiters before the answer is
//! made.

use cairn_client::Revision;
use cairn_client::wire::{ErrCode, Request, Response};

use crate::answer;
use crate::hub::Hub;
use crate::options::Options;
use crate::store::Written;

pub(crate) fn set(hub: &mut Hub, request: Request, options: &Options) -> Response {
    let tag = request.tag;
    let (Some(path), Some(rev)) = (request.path, request.rev) else {
        return answer::error(tag, ErrCode::MissingArg);
    };
    let value = request.value.unwrap_or_default();
    if value.len() > options.max_value {
        let detail = format!(
            "value of {} bytes is over the limit of {} bytes",
            value.len(),
            options.max_value
        );
        return answer::other(tag, detail);
    }
    match hub.store.set(&path, Revision(rev), value) {
        Err(refusal) => answer::refused(tag, refusal),
        Ok(written) => {
            let done = answer::revision(tag, written.event.revision);
            conclude(hub, tag, &written, done)
        }
    }
}

pub(crate) fn del(hub: &mut Hub, request: &Request) -> Response {
    let tag = request.tag;
    let (Some(path), Some(rev)) = (&request.path, request.rev) else {
        return answer::error(tag, ErrCode::MissingArg);
    };
    match hub.store.del(path, Revision(rev)) {
        Err(refusal) => answer::refused(tag, refusal),
        // A real node does not tell the revision of a delete.
        Ok(written) => conclude(hub, tag, &written, answer::done(tag)),
    }
}

/// Tells the waiters; then the answer is `done`, unless the write was refused.
fn conclude(hub: &mut Hub, tag: Option<i32>, written: &Written, done: Response) -> Response {
    hub.announce(&written.event);
    match written.refused {
        None => done,
        Some(refusal) => answer::refused(tag, refusal),
    }
}

pub(crate) fn nop(hub: &mut Hub, tag: Option<i32>) -> Response {
    match hub.store.nop() {
        Err(refusal) => answer::refused(tag, refusal),
        Ok(event) => {
            hub.announce(&event);
            answer::done(tag)
        }
    }
}
