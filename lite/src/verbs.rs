//! The verbs. Checks come in the order of a real node: secret, membership, arguments, then the
//! state.

use std::collections::HashMap;
use std::sync::Arc;

use cairn_client::wire::{ErrCode, Request, Response, Verb};
use cairn_client::{Revision, path};

use crate::answer;
use crate::cursors::{ListVerb, Listing};
use crate::following;
use crate::hub::{Due, Hub, SessionId, Want, cost};
use crate::options::Options;
use crate::store::event::Event;
use crate::store::history::Past;
use crate::store::pattern::Pattern;
use crate::store::search::{Candidates, Found, Look};
use crate::store::tree::{Dir, Node};
use crate::store::{MAX_DEPTH, MAX_PATH, NoState, is_too_long};
use crate::unmatched::Unmatched;
use crate::waiters::{Handle, MAX_WILDS};
use crate::writes;

/// The rights of one connection, and the requests that wait on it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    may_read: bool,
    may_write: bool,
    /// By tag. At most `max_waiting`.
    waiting: HashMap<Option<i32>, Handle>,
    /// The glob parsed last: a client that follows or lists repeats it.
    pattern: Option<Arc<Pattern>>,
    /// Revisions that are known not to match that glob.
    unmatched: Unmatched,
    /// Whether the names that it can match were too many to be looked through.
    resumed: bool,
}

/// The result of a request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// An answer.
    Now(Response),
    /// An answer of several events, to be encoded without the lock.
    Events(Option<i32>, Vec<Arc<Event>>),
    /// A listing, to be looked through without the lock.
    List(Box<ListJob>),
    /// A read of the past, whose state is to be made without the lock.
    Past(Box<PastJob>),
    /// A WAIT that is not decided: these are to be tried without the lock, and then it is to be
    /// asked again.
    Search(Request, Box<SearchJob>),
    /// It waits; the answer will become due.
    Later,
}

/// One entry of a listing, still to be found.
#[derive(Debug)]
pub(crate) struct ListJob {
    pub(crate) tag: Option<i32>,
    pub(crate) state: Dir,
    pub(crate) listing: Listing,
    /// For a WALK.
    pub(crate) pattern: Option<Arc<Pattern>>,
    pub(crate) offset: usize,
}

/// A read of a state that is still to be made.
#[derive(Debug)]
pub(crate) struct PastJob {
    pub(crate) request: Request,
    pub(crate) at: Revision,
    pub(crate) past: Past,
}

/// Events that a WAIT is still to be tried on.
#[derive(Debug)]
pub(crate) struct SearchJob {
    pattern: Arc<Pattern>,
    from: Revision,
    candidates: Candidates,
}

impl Session {
    pub(crate) fn new(id: SessionId, options: &Options) -> Self {
        let mut session = Self {
            id,
            may_read: false,
            may_write: false,
            waiting: HashMap::new(),
            pattern: None,
            unmatched: Unmatched::default(),
            resumed: false,
        };
        // Where there is no secret, the empty one is the right one.
        session.grant(b"", options);
        session
    }

    /// The requests that still wait.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Handle> {
        self.waiting.values()
    }

    /// Forgets a request that was answered the short way.
    pub(crate) fn answered(&mut self, tag: Option<i32>) {
        self.waiting.remove(&tag);
    }

    /// Gives back what is only kept for speed.
    pub(crate) fn rest(&mut self) {
        if self.waiting.is_empty() {
            self.waiting = HashMap::new();
        }
    }

    fn grant(&mut self, secret: &[u8], options: &Options) -> bool {
        let is = |expected: &Option<String>| same(secret, expected.as_deref().unwrap_or_default());
        if is(&options.secret_rw) {
            self.may_read = true;
            self.may_write = true;
            true
        } else if is(&options.secret_ro) {
            self.may_read = true;
            true
        } else {
            false
        }
    }

    /// Answers one request, or begins to.
    pub(crate) fn answer(
        &mut self,
        hub: &mut Hub,
        request: Request,
        options: &Options,
        readonly: bool,
    ) -> Reply {
        let tag = request.tag;
        if self.waiting.contains_key(&tag) {
            return Reply::Now(answer::error(tag, ErrCode::TagInUse));
        }
        let verb = request.verb.and_then(|verb| Verb::try_from(verb).ok());
        let response = match verb {
            None => answer::error(tag, ErrCode::UnknownVerb),
            Some(Verb::Rev) => answer::revision(tag, hub.store.revision()),
            Some(Verb::Self_) => answer::value(tag, hub.name.clone()),
            Some(Verb::Access) => {
                match self.grant(request.value.as_deref().unwrap_or_default(), options) {
                    true => answer::done(tag),
                    false => answer::denied(tag),
                }
            }
            Some(Verb::Set | Verb::Del | Verb::Nop) if !self.may_write => answer::denied(tag),
            Some(Verb::Set | Verb::Del | Verb::Nop) if readonly => {
                answer::error(tag, ErrCode::Readonly)
            }
            Some(Verb::Set) => writes::set(hub, request, options),
            Some(Verb::Del) => writes::del(hub, &request),
            Some(Verb::Nop) => writes::nop(hub, tag),
            Some(_) if !self.may_read => answer::denied(tag),
            Some(Verb::Wait) => return self.wait(hub, request, options),
            Some(Verb::Follow) => return self.follow(hub, &request, options),
            Some(Verb::Get | Verb::Stat | Verb::Walk | Verb::Getdir) => {
                return self.read(hub, request, options);
            }
        };
        Reply::Now(response)
    }

    /// Gives an answer that has become due.
    pub(crate) fn give(&mut self, hub: &mut Hub, due: Due) -> Reply {
        self.waiting.remove(&due.tag);
        match due.want {
            Want::Event => Reply::Now(match hub.store.event(due.revision) {
                Some(event) => answer::event(due.tag, event),
                None => answer::error(due.tag, ErrCode::TooLate),
            }),
            Want::Events => follow(hub, due.tag, due.revision),
            Want::Read(request) => match hub.store.past(due.revision) {
                Ok(past) => self.read_past(hub, past, due.revision, *request),
                Err(_) => Reply::Now(answer::error(due.tag, ErrCode::TooLate)),
            },
        }
    }

    /// Tries a WAIT on events of the past, for when it is asked again.
    pub(crate) fn search(&mut self, job: &SearchJob) {
        let next = job.candidates.first_match(&job.pattern);
        let is_same = self.pattern.as_ref().map(|pattern| pattern.as_str());
        if is_same == Some(job.pattern.as_str()) {
            self.unmatched.learn(job.from, next);
            self.resumed = true;
        }
    }

    fn wait(&mut self, hub: &mut Hub, request: Request, options: &Options) -> Reply {
        let tag = request.tag;
        let (Some(glob), Some(from)) = (&request.path, request.rev) else {
            return Reply::Now(answer::error(tag, ErrCode::MissingArg));
        };
        // Taking a glob apart, and entering it, costs its length.
        hub.steps += glob.len() / 16;
        let pattern = match self.parse(tag, glob) {
            Ok(pattern) => pattern,
            Err(response) => return Reply::Now(*response),
        };
        let from = Revision(from).max(Revision(1));
        let begin = self.unmatched.skip(from);
        let resumed = std::mem::take(&mut self.resumed);
        let looked = if !resumed && from < hub.store.oldest() {
            Look::Known(Found::TooLate)
        } else {
            hub.store.look(&pattern, begin, resumed, &mut hub.steps)
        };
        match looked {
            Look::Known(Found::Event(event)) => {
                self.unmatched.learn(from, event.revision);
                Reply::Now(answer::event(tag, &event))
            }
            Look::Known(Found::TooLate) => Reply::Now(answer::error(tag, ErrCode::TooLate)),
            Look::Known(Found::NotYet) => {
                self.unmatched
                    .learn(from, hub.store.revision().next().max(from));
                self.defer(hub, tag, Want::Event, &pattern, from, options)
            }
            Look::Among(candidates) => {
                let job = SearchJob {
                    pattern,
                    from,
                    candidates,
                };
                Reply::Search(request, Box::new(job))
            }
        }
    }

    fn follow(&mut self, hub: &mut Hub, request: &Request, options: &Options) -> Reply {
        let tag = request.tag;
        let Some(from) = request.rev else {
            return Reply::Now(answer::error(tag, ErrCode::MissingArg));
        };
        let from = Revision(from).max(Revision(1));
        if from > hub.store.revision() {
            return self.defer(hub, tag, Want::Events, &every(), from, options);
        }
        follow(hub, tag, from)
    }

    fn read(&mut self, hub: &mut Hub, mut request: Request, options: &Options) -> Reply {
        if let Err(response) = self.check_read(&request) {
            return Reply::Now(*response);
        }
        let Some(at) = request.rev.map(Revision) else {
            let revision = hub.store.revision();
            return self.read_state(hub.store.tree(), revision, request);
        };
        if let Some(response) = read_file(hub, at, &request) {
            return Reply::Now(response);
        }
        match hub.store.past(at) {
            Ok(past) => self.read_past(hub, past, at, request),
            Err(NoState::TooLate) => Reply::Now(answer::error(request.tag, ErrCode::TooLate)),
            Err(NoState::NotYet) => {
                let tag = request.tag;
                // No read has a value; a request that waits must not hold one.
                request.value = None;
                if request.path.as_deref().is_some_and(is_too_long) {
                    // Nor a path that nothing can have: this one names nothing either.
                    request.path = Some(String::new());
                }
                self.defer(
                    hub,
                    tag,
                    Want::Read(Box::new(request)),
                    &every(),
                    at,
                    options,
                )
            }
        }
    }

    /// Answers at once where the state is there, and else leaves the making of it to others.
    fn read_past(&mut self, hub: &mut Hub, past: Past, at: Revision, request: Request) -> Reply {
        if past.steps() == 0 {
            return self.read_state(&past.make(), at, request);
        }
        hub.steps += past.steps();
        Reply::Past(Box::new(PastJob { request, at, past }))
    }

    fn check_read(&mut self, request: &Request) -> Result<(), Box<Response>> {
        let tag = request.tag;
        let missing = match Verb::try_from(request.verb.unwrap_or_default()) {
            Ok(Verb::Stat) => false,
            Ok(Verb::Get) => request.path.is_none(),
            _ => request.path.is_none() || request.offset.is_none(),
        };
        if missing {
            return Err(Box::new(answer::error(tag, ErrCode::MissingArg)));
        }
        if request.verb == Some(Verb::Walk as i32) {
            self.parse(tag, request.path.as_deref().unwrap_or_default())?;
            if request.offset.is_some_and(|offset| offset < 0) {
                return Err(Box::new(answer::error(tag, ErrCode::Range)));
            }
        }
        Ok(())
    }

    /// Answers a request that [`check_read`](Self::check_read) found complete.
    pub(crate) fn read_state(
        &mut self,
        state: &Dir,
        revision: Revision,
        request: Request,
    ) -> Reply {
        let tag = request.tag;
        let path = request.path.unwrap_or_default();
        let verb = match Verb::try_from(request.verb.unwrap_or_default()) {
            Ok(Verb::Walk) => ListVerb::Walk,
            Ok(Verb::Getdir) => ListVerb::Getdir,
            verb => {
                let get = verb == Ok(Verb::Get);
                return Reply::Now(match look(state, &path) {
                    AtPath::File(event) if get => answer::file(tag, Some(event)),
                    AtPath::Nothing if get => answer::file(tag, None),
                    AtPath::Dir(_) if get => answer::error(tag, ErrCode::Isdir),
                    AtPath::File(event) => answer::stat(tag, event.revision, event.value.len()),
                    AtPath::Nothing => answer::stat(tag, Revision::MISSING, 0),
                    AtPath::Dir(dir) => answer::stat(tag, Revision::DIRECTORY, dir.len()),
                });
            }
        };
        if verb == ListVerb::Getdir {
            match look(state, &path) {
                AtPath::Dir(_) => {}
                AtPath::File(_) => return Reply::Now(answer::error(tag, ErrCode::Notdir)),
                AtPath::Nothing => return Reply::Now(answer::error(tag, ErrCode::Noent)),
            }
        }
        let Ok(offset) = usize::try_from(request.offset.unwrap_or_default()) else {
            return Reply::Now(answer::error(tag, ErrCode::Range));
        };
        let pattern = match verb {
            ListVerb::Getdir => None,
            ListVerb::Walk => match self.parse(tag, &path) {
                Ok(pattern) => Some(pattern),
                Err(response) => return Reply::Now(*response),
            },
        };
        Reply::List(Box::new(ListJob {
            tag,
            state: state.clone(),
            listing: Listing {
                revision,
                verb,
                what: path.into(),
            },
            pattern,
            offset,
        }))
    }

    fn defer(
        &mut self,
        hub: &mut Hub,
        tag: Option<i32>,
        want: Want,
        pattern: &Pattern,
        from: Revision,
        options: &Options,
    ) -> Reply {
        let refuse = |limit: usize, whose: &str| {
            Reply::Now(answer::other(
                tag,
                format!("too many requests are waiting {whose} (limit {limit}): try again later"),
            ))
        };
        if self.waiting.len() >= options.max_waiting {
            return refuse(options.max_waiting, "on this connection");
        }
        if hub.waiting() >= options.max_waiting_total {
            return refuse(options.max_waiting_total, "on this node");
        }
        let bytes = hub.waiting_bytes().saturating_add(cost(pattern, &want));
        if bytes > options.max_waiting_bytes {
            return Reply::Now(answer::other(
                tag,
                format!(
                    "waiting requests take too much memory on this node (limit {} bytes): try \
                     again later",
                    options.max_waiting_bytes
                ),
            ));
        }
        if hub.is_crowded(pattern) {
            return Reply::Now(answer::other(
                tag,
                format!(
                    "requests wait for too many different wildcards at one place on this node \
                     (limit {MAX_WILDS}): try again later"
                ),
            ));
        }
        let handle = hub.wait(self.id, tag, want, pattern, from);
        self.waiting.insert(tag, handle);
        Reply::Later
    }

    fn parse(&mut self, tag: Option<i32>, glob: &str) -> Result<Arc<Pattern>, Box<Response>> {
        if let Some(pattern) = &self.pattern
            && pattern.as_str() == glob
        {
            return Ok(Arc::clone(pattern));
        }
        let pattern = Pattern::parse(glob).map_err(|_| Box::new(answer::bad_glob(tag, glob)))?;
        if is_too_long(glob) {
            let limit = format!("limit: {MAX_PATH} bytes, {MAX_DEPTH} names");
            return Err(Box::new(answer::other(
                tag,
                format!("glob too long ({limit})"),
            )));
        }
        let pattern = Arc::new(pattern);
        self.pattern = Some(Arc::clone(&pattern));
        self.unmatched = Unmatched::default();
        self.resumed = false;
        Ok(pattern)
    }
}

/// The glob that every event matches.
fn every() -> Pattern {
    Pattern::parse("/**").expect("a glob")
}

fn follow(hub: &mut Hub, tag: Option<i32>, from: Revision) -> Reply {
    match following::events(hub, from) {
        Some(events) => Reply::Events(tag, events),
        None => Reply::Now(answer::error(tag, ErrCode::TooLate)),
    }
}

/// A GET or STAT of the past, where no more than the file has to be looked at.
fn read_file(hub: &Hub, at: Revision, request: &Request) -> Option<Response> {
    let path = request.path.as_deref()?;
    let verb = Verb::try_from(request.verb?).ok()?;
    if !matches!(verb, Verb::Get | Verb::Stat) {
        return None;
    }
    let file = hub.store.file_at(path, at)?;
    Some(match verb {
        Verb::Get => answer::file(request.tag, Some(&file)),
        _ => answer::stat(request.tag, file.revision, file.value.len()),
    })
}

enum AtPath<'a> {
    Nothing,
    File(&'a Event),
    Dir(&'a Dir),
}

fn look<'a>(state: &'a Dir, path: &str) -> AtPath<'a> {
    if path == "/" {
        return AtPath::Dir(state);
    }
    if !path::is_valid(path) {
        return AtPath::Nothing;
    }
    match state.find(path) {
        None => AtPath::Nothing,
        Some(Node::File(event)) => AtPath::File(event),
        Some(Node::Dir(dir)) => AtPath::Dir(dir),
    }
}

/// Compares without telling by its duration where the first difference is.
fn same(given: &[u8], expected: &str) -> bool {
    let expected = expected.as_bytes();
    let differing = given
        .iter()
        .zip(expected)
        .fold(0, |acc, (a, b)| acc | (a ^ b));
    given.len() == expected.len() && differing == 0
}
