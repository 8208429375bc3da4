//! A small model of a server: it knows all that ever happened, and can be nasty about connections.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cairn_client::frame::{Codec, MAX_FRAME};
use cairn_client::glob::Glob;
use cairn_client::wire::{ErrCode, FLAG_DELETE, FLAG_SET, Request, Response, Verb};
use cairn_client::{Event, EventKind, Options, Revision, Uri, path};
use fastrand::Rng;
use futures::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::codec::Framed;

use crate::fake::{bytes_of, failure, hasty};

/// The server, and the test's hold on it. Dropping it ends all of its connections.
pub(crate) struct Model {
    pub(crate) state: Arc<State>,
    pub(crate) uri: Uri,
    _tasks: JoinSet<()>,
}

pub(crate) struct State {
    history: Mutex<History>,
    newest: watch::Sender<i64>,
    faults: Mutex<Faults>,
    pub(crate) connections: AtomicUsize,
    pub(crate) requests: Mutex<HashMap<i32, usize>>,
}

#[derive(Default)]
struct History {
    /// The event of revision n is at n - 1.
    events: Vec<Event>,
    /// The oldest revision that is not forgotten.
    oldest: i64,
    /// Files in order, at revisions that somebody listed.
    listings: HashMap<i64, Arc<Vec<Event>>>,
}

struct Faults {
    rng: Rng,
    /// Connections are cut after so many answers.
    cut_after: Option<Range<usize>>,
    /// After so many answers to listings, everything but the newest revision is forgotten.
    forget_after: Option<Range<usize>>,
    until_forgetting: usize,
}

impl Model {
    pub(crate) async fn start(seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State {
            history: Mutex::default(),
            newest: watch::Sender::new(0),
            faults: Mutex::new(Faults {
                rng: Rng::with_seed(seed),
                cut_after: None,
                forget_after: None,
                until_forgetting: 0,
            }),
            connections: AtomicUsize::new(0),
            requests: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&state)));
        Self {
            state,
            uri: Uri::from_address(&address).unwrap(),
            _tasks: tasks,
        }
    }

    pub(crate) fn options() -> Options {
        Options {
            request_timeout: crate::fake::PATIENCE,
            ..hasty()
        }
    }

    pub(crate) fn cut_after(&self, answers: Range<usize>) {
        self.state.faults.lock().unwrap().cut_after = Some(answers);
    }

    pub(crate) fn forget_after(&self, answers: Range<usize>) {
        let mut faults = self.state.faults.lock().unwrap();
        faults.until_forgetting = faults.rng.usize(answers.clone());
        faults.forget_after = Some(answers);
    }

    pub(crate) fn forget_before(&self, revision: i64) {
        self.state.history.lock().unwrap().oldest = revision;
    }

    pub(crate) fn set(&self, path: &str, value: &str) -> Event {
        self.append(path, EventKind::Set, value.to_owned().into())
    }

    pub(crate) fn del(&self, path: &str) -> Event {
        self.append(path, EventKind::Delete, Bytes::new())
    }

    pub(crate) fn nop(&self) -> Event {
        self.append("/", EventKind::Nop, Bytes::new())
    }

    fn append(&self, path: &str, kind: EventKind, value: Bytes) -> Event {
        let mut history = self.state.history.lock().unwrap();
        let revision = i64::try_from(history.events.len()).unwrap() + 1;
        let event = Event {
            revision: Revision(revision),
            path: path.to_owned(),
            value,
            kind,
        };
        history.events.push(event.clone());
        drop(history);
        self.state.newest.send_replace(revision);
        event
    }

    /// How many requests of a kind there were, those of cut connections included.
    pub(crate) fn requests(&self, verb: Verb) -> usize {
        let requests = self.state.requests.lock().unwrap();
        requests.get(&(verb as i32)).copied().unwrap_or_default()
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        state.connections.fetch_add(1, Ordering::Relaxed);
        connections.spawn(serve(stream, Arc::clone(&state)));
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let mut frames: Framed<TcpStream, Codec<Response, Request>> =
        Framed::new(stream, Codec::new(MAX_FRAME));
    let (answers, mut ready) = mpsc::unbounded_channel::<Response>();
    let mut waits = JoinSet::new();
    let mut left = {
        let Faults { rng, cut_after, .. } = &mut *state.faults.lock().unwrap();
        cut_after.clone().map(|range| rng.usize(range))
    };
    loop {
        tokio::select! {
            request = frames.next() => {
                let Some(Ok(request)) = request else {
                    return;
                };
                let verb = request.verb.unwrap();
                *state.requests.lock().unwrap().entry(verb).or_default() += 1;
                if verb == Verb::Wait as i32 {
                    let (state, answers) = (Arc::clone(&state), answers.clone());
                    waits.spawn(async move { drop(answers.send(state.wait(&request).await)) });
                    while waits.try_join_next().is_some() {}
                } else {
                    drop(answers.send(state.answer(&request)));
                }
            }
            first = ready.recv() => {
                let mut batch = vec![first.unwrap()];
                while let Ok(next) = ready.try_recv() {
                    batch.push(next);
                }
                state.faults.lock().unwrap().rng.shuffle(&mut batch);
                for response in batch {
                    match &mut left {
                        Some(0) => {
                            let bytes = bytes_of(&response);
                            let part = state.faults.lock().unwrap().rng.usize(..bytes.len());
                            drop(frames.get_mut().write_all(&bytes[..part]).await);
                            return;
                        }
                        Some(left) => *left -= 1,
                        None => {}
                    }
                    if frames.feed(response).await.is_err() {
                        return;
                    }
                }
                if frames.flush().await.is_err() {
                    return;
                }
            }
        }
    }
}

impl State {
    fn answer(&self, request: &Request) -> Response {
        let response = match Verb::try_from(request.verb.unwrap()).unwrap() {
            Verb::Rev => Response {
                rev: Some(*self.newest.borrow()),
                ..Response::default()
            },
            Verb::Walk => self.list(request, |files, glob| {
                let glob = Glob::parse(glob).unwrap();
                files
                    .iter()
                    .filter(|file| glob.matches(&file.path))
                    .cloned()
                    .collect()
            }),
            Verb::Getdir => self.list(request, |files, directory| {
                let under = format!("{}/", directory.trim_end_matches('/'));
                let names = files
                    .iter()
                    .filter_map(|file| file.path.strip_prefix(&under));
                let mut names: Vec<&str> = names.map(|n| n.split('/').next().unwrap()).collect();
                names.dedup();
                let entry = |name: &str| Event {
                    path: name.to_owned(),
                    ..files[0].clone()
                };
                names.into_iter().map(entry).collect()
            }),
            other => panic!("the model does not know {other:?}"),
        };
        Response {
            tag: request.tag,
            ..response
        }
    }

    fn list(&self, request: &Request, select: impl Fn(&[Event], &str) -> Vec<Event>) -> Response {
        let mut history = self.history.lock().unwrap();
        let at = request.rev.unwrap();
        if let Faults {
            rng,
            forget_after: Some(range),
            until_forgetting,
            ..
        } = &mut *self.faults.lock().unwrap()
        {
            match until_forgetting.checked_sub(1) {
                Some(fewer) => *until_forgetting = fewer,
                None => {
                    *until_forgetting = rng.usize(range.clone());
                    history.oldest = *self.newest.borrow();
                }
            }
        }
        if at < history.oldest {
            return failure(ErrCode::TooLate as i32);
        }
        let files = history.files(at);
        drop(history);
        let entries = select(&files, request.path.as_deref().unwrap());
        if entries.is_empty() && request.verb == Some(Verb::Getdir as i32) {
            return failure(ErrCode::Noent as i32);
        }
        let offset = usize::try_from(request.offset.unwrap()).unwrap();
        match entries.get(offset) {
            None => failure(ErrCode::Range as i32),
            Some(entry) => response(entry),
        }
    }

    async fn wait(&self, request: &Request) -> Response {
        let glob = Glob::parse(request.path.as_deref().unwrap()).unwrap();
        let mut from = request.rev.unwrap().max(1);
        let mut newest = self.newest.subscribe();
        let found = loop {
            let newest_now = *newest.borrow_and_update();
            {
                let history = self.history.lock().unwrap();
                if from < history.oldest && from <= newest_now {
                    break failure(ErrCode::TooLate as i32);
                }
                let first = usize::try_from(from - 1).unwrap();
                let later = history.events.iter().skip(first);
                if let Some(event) = later.into_iter().find(|event| glob.matches(&event.path)) {
                    break response(event);
                }
                from = from.max(i64::try_from(history.events.len()).unwrap() + 1);
            }
            newest.changed().await.unwrap();
        };
        Response {
            tag: request.tag,
            ..found
        }
    }
}

impl History {
    fn files(&mut self, at: i64) -> Arc<Vec<Event>> {
        if let Some(files) = self.listings.get(&at) {
            return Arc::clone(files);
        }
        let mut files = BTreeMap::new();
        for event in &self.events[..usize::try_from(at).unwrap()] {
            let key: Vec<&str> = event.path.split('/').collect();
            match event.kind {
                EventKind::Set => drop(files.insert(key, event.clone())),
                EventKind::Delete => drop(files.remove(&key)),
                EventKind::Nop => {}
            }
        }
        let files: Arc<Vec<Event>> = Arc::new(files.into_values().collect());
        assert!(files.is_sorted_by(|a, b| path::compare(&a.path, &b.path).is_lt()));
        self.listings.insert(at, Arc::clone(&files));
        files
    }
}

fn response(event: &Event) -> Response {
    Response {
        flags: Some(match event.kind {
            EventKind::Set => FLAG_SET,
            EventKind::Delete => FLAG_DELETE,
            EventKind::Nop => 0,
        }),
        rev: Some(event.revision.0),
        path: Some(event.path.clone()),
        value: Some(event.value.clone()),
        ..Response::default()
    }
}
