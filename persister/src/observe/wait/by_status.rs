//! `persister wait --status`: how far each persister is, as it says itself over HTTP.
//!
//! For persisters that only observe: nothing in their cluster tells how far they are.
//!
//! Promise: a persister counts only while it is attached, as the one that was named, and only as
//! long as it calls its cluster what it called it at first. A cluster that goes back is noticed
//! when the persister's connection ends, a moment after its members did: a revision that was
//! written in that moment, by the new history, may be taken for one of the old.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use cairn_journal::Revision;
use futures::future::join_all;
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::cluster::control::Id;
use crate::cluster::error::Error as ClusterError;
use crate::error::Error;
use crate::host_port::HostPort;
use crate::observe::wait::progress::{LOOK_EVERY, Progress, WaitRequest};

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(2);

/// How many bytes an answer has at most.
const MOST_BYTES: usize = 64 << 10;

/// What is read of `/status`.
#[derive(Debug, Deserialize)]
struct Said {
    id: Id,
    cluster: Option<String>,
    connected: bool,
    durable_revision: i64,
}

/// Asks again and again, until enough persisters have everything, or the time is over.
pub(super) async fn wait(
    request: &WaitRequest,
    persisters: &BTreeMap<Id, HostPort>,
) -> Result<Progress, Error> {
    let by = Instant::now() + request.timeout;
    let mut names = BTreeMap::new();
    loop {
        let asked = persisters
            .iter()
            .map(async |(id, at)| (*id, at, ask(at).await));
        let mut progress = Progress {
            revision: request.revision,
            persisters: BTreeMap::new(),
            required: request.required,
        };
        for (id, at, said) in join_all(asked).await {
            let said = said.inspect_err(|error| tracing::debug!(%at, %error, "no answer"));
            let have = match said {
                Ok(said) => counts(said, id, at, &mut names)?,
                Err(_) => None,
            };
            progress.persisters.insert(id, have);
        }
        let is_over = timeout_at(by, sleep(LOOK_EVERY));
        if progress.is_durable() || is_over.await.is_err() {
            return Ok(progress);
        }
    }
}

/// How far a persister is, if what it says counts.
fn counts(
    said: Said,
    id: Id,
    at: &HostPort,
    names: &mut BTreeMap<Id, String>,
) -> Result<Option<Revision>, Error> {
    if said.id != id {
        let other = said.id;
        let why = format!("at {at} persister {other} answers, and not {id}");
        return Err(ClusterError::Refused(why).into());
    }
    let Some(now) = said.cluster.filter(|_| said.connected) else {
        return Ok(None);
    };
    let before = names.entry(id).or_insert_with(|| now.clone());
    if *before != now {
        return Err(Error::Renamed {
            before: before.clone(),
            now: Some(now),
        });
    }
    Ok(Some(Revision(said.durable_revision)))
}

async fn ask(at: &HostPort) -> anyhow::Result<Said> {
    let answer = timeout(ANSWER, async {
        let stream = TcpStream::connect(at.to_string()).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get("/status").header("host", at.to_string());
        let exchange = async {
            let answer = sender.send_request(request.body(Body::empty())?).await?;
            anyhow::Ok(to_bytes(Body::new(answer.into_body()), MOST_BYTES).await?)
        };
        let (body, _) = futures::join!(exchange, connection);
        body
    });
    Ok(serde_json::from_slice(&answer.await??)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_persister_counts_while_it_is_attached_to_what_it_was_attached_to() {
        let at: HostPort = "127.0.0.1:1".parse().expect("valid");
        let mut names = BTreeMap::new();
        let mut told = |cluster: Option<&str>, connected| {
            let said = Said {
                id: 1,
                cluster: cluster.map(str::to_owned),
                connected,
                durable_revision: 7,
            };
            counts(said, 1, &at, &mut names)
        };
        assert!(matches!(told(None, false), Ok(None)));
        assert!(matches!(told(Some("a"), true), Ok(Some(Revision(7)))));
        assert!(matches!(told(Some("a"), false), Ok(None)));
        assert!(matches!(told(Some("b"), true), Err(Error::Renamed { .. })));
        let other = Said {
            id: 2,
            cluster: None,
            connected: true,
            durable_revision: 7,
        };
        let error = counts(other, 1, &at, &mut names).expect_err("another one");
        assert_eq!(error.exit_status(), 22);
    }
}
