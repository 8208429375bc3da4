//! A watch: whole revisions in order, bounded in bytes.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::channel::mpsc;
use tonic::Streaming;

use crate::connection::link::{Link, Token};
use crate::error::{ErrorKind, Result};
use crate::wire::watch::PATH;
use crate::wire::watch::{Event, WatchCreateRequest, WatchRequest, WatchResponse, watch_request};

const NAME: &str = "Watch";

/// What a watch tells at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Where the member stood when it said so; not below the revisions of the events.
    pub revision: i64,
    /// Changes in the order of revisions, and within one in the order of operations. Each revision
    /// is whole. Empty if the member only says where it stands.
    pub events: Vec<Event>,
}

/// Changes as they come. Ends after its first error. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    link: Link,
    /// The watch lasts as long as its requests do not end.
    _requests: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
    fragments: Fragments,
    created_revision: i64,
    has_ended: bool,
}

impl Watch {
    pub(crate) async fn open(
        link: &Link,
        mut create: WatchCreateRequest,
        token: Option<Token>,
    ) -> Result<Self> {
        create.fragment = true;
        let (mut requests, receiver) = mpsc::channel(1);
        let request = Some(watch_request::Request::Create(create));
        requests
            .try_send(WatchRequest { request })
            .map_err(|error| link.error(NAME, ErrorKind::Unavailable, error.to_string()))?;
        let opened = link.within(NAME, async {
            let stream = link.stream(NAME, PATH, receiver, token.as_ref());
            let mut answers: Streaming<WatchResponse> = stream.await?;
            let first = answers.message().await;
            Ok((answers, first.map_err(|status| link.failed(NAME, &status))?))
        });
        let (answers, first) = opened.await?;
        let first = first.unwrap_or_default();
        if first.canceled {
            return Err(canceled(link, &first));
        }
        let Some(header) = first.header.filter(|_| first.created) else {
            let detail = "the member did not say that the watch was created";
            return Err(link.error(NAME, ErrorKind::Protocol, detail));
        };
        Ok(Self {
            link: link.clone(),
            _requests: requests,
            answers,
            fragments: Fragments::new(link.options().max_revision),
            created_revision: header.revision,
            has_ended: false,
        })
    }

    /// Where the member stood when the watch was created. If that is below the revision before the
    /// first one asked for, the member lags, or the cluster has gone back.
    #[must_use]
    pub fn created_revision(&self) -> i64 {
        self.created_revision
    }

    fn judge(&mut self, answer: Result<WatchResponse, tonic::Status>) -> Result<Option<Batch>> {
        let answer = answer.map_err(|status| self.link.failed(NAME, &status))?;
        if answer.canceled {
            return Err(canceled(&self.link, &answer));
        }
        self.fragments.push(answer).map_err(|length| {
            let most = self.fragments.max;
            let detail = format!("a revision of over {length} bytes; the limit is {most} bytes");
            self.link.error(NAME, ErrorKind::TooLarge, detail)
        })
    }
}

impl Stream for Watch {
    type Item = Result<Batch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        loop {
            let Poll::Ready(answer) = Pin::new(&mut self.answers).poll_next(context) else {
                return Poll::Pending;
            };
            let judged = match answer {
                Some(answer) => self.judge(answer),
                None => {
                    let detail = "the member ended the watch";
                    Err(self.link.error(NAME, ErrorKind::Unavailable, detail))
                }
            };
            match judged {
                Ok(None) => {} // more of a revision is to come
                Ok(Some(batch)) => return Poll::Ready(Some(Ok(batch))),
                Err(error) => {
                    self.has_ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

/// Why the member ended a watch.
fn canceled(link: &Link, answer: &WatchResponse) -> crate::error::Error {
    let reason = &*answer.cancel_reason;
    if answer.compact_revision > 0 {
        let revision = answer.compact_revision;
        let detail = format!("everything before revision {revision} is forgotten");
        return link.error(NAME, ErrorKind::Compacted(Some(revision)), detail);
    }
    let kind = if reason.contains("auth token") {
        ErrorKind::Unauthenticated
    } else if reason.contains("permission denied") || reason.contains("PermissionDenied") {
        ErrorKind::PermissionDenied
    } else if reason.contains("no leader") {
        ErrorKind::Unavailable
    } else {
        ErrorKind::Refused
    };
    let detail = match reason {
        "" => "the member ended the watch and did not say why",
        reason => reason,
    };
    link.error(NAME, kind, detail)
}

/// Makes answers of fragments: hands on all revisions but the last one of each fragment, which may
/// go on in the next. So what it holds is one revision, not one answer, which can be a thousand.
#[derive(Debug)]
struct Fragments {
    held: Vec<Event>,
    max: usize,
}

impl Fragments {
    fn new(max: usize) -> Self {
        Self {
            held: Vec::new(),
            max,
        }
    }

    /// Takes one answer in; says what is whole by now. An error is the number of bytes that one
    /// revision has at least.
    fn push(&mut self, answer: WatchResponse) -> Result<Option<Batch>, usize> {
        let mut events = std::mem::take(&mut self.held);
        events.extend(answer.events);
        if answer.fragment {
            let last = events.last().map_or(0, revision);
            let whole = events.partition_point(|event| revision(event) < last);
            self.held = events.split_off(whole);
            let bytes = self.held.iter().map(prost::Message::encoded_len).sum();
            if bytes > self.max {
                return Err(bytes);
            }
            if events.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(Batch {
            revision: answer.header.map_or(0, |header| header.revision),
            events,
        }))
    }
}

fn revision(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::kv::{KeyValue, ResponseHeader};

    fn answer(revisions: &[i64], fragment: bool) -> WatchResponse {
        let event = |revision: &i64| Event {
            kv: Some(KeyValue {
                key: "k".into(),
                mod_revision: *revision,
                ..KeyValue::default()
            }),
            ..Event::default()
        };
        WatchResponse {
            header: Some(ResponseHeader {
                revision: 9,
                ..ResponseHeader::default()
            }),
            events: revisions.iter().map(event).collect(),
            fragment,
            ..WatchResponse::default()
        }
    }

    /// The revisions of what is handed on, an answer each.
    fn handed_on(answers: &[(&[i64], bool)]) -> Vec<Vec<i64>> {
        let mut fragments = Fragments::new(1_000);
        let batches = answers.iter().filter_map(|(revisions, fragment)| {
            fragments.push(answer(revisions, *fragment)).unwrap()
        });
        batches
            .map(|batch| batch.events.iter().map(revision).collect())
            .collect()
    }

    #[test]
    fn a_revision_is_handed_on_whole() {
        let within = handed_on(&[(&[5, 5, 6], true), (&[6], true), (&[6, 7], false)]);
        assert_eq!(within, [vec![5, 5], vec![6, 6, 6, 7]]);
        let between = handed_on(&[(&[5], true), (&[6], true), (&[7], false), (&[8], false)]);
        assert_eq!(between, [vec![5], vec![6, 7], vec![8]]);
        assert_eq!(handed_on(&[(&[], false)]), [Vec::<i64>::new()]);
    }

    #[test]
    fn a_revision_over_the_limit_is_an_error_and_many_small_ones_are_not() {
        let mut fragments = Fragments::new(100);
        for at in 0..1_000 {
            fragments.push(answer(&[at], true)).unwrap();
        }
        let mut fragments = Fragments::new(100);
        let failed = (0..1_000).find_map(|_| fragments.push(answer(&[7], true)).err());
        assert!(failed.is_some_and(|bytes| bytes > 100));
    }
}
