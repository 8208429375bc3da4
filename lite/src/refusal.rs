//! Tells a client that the node serves as many connections as it may.
//!
//! An answer needs a request's tag, so the first request is read for it: otherwise the client
//! would only see a connection that closes, and try again at once.

use std::time::Duration;

use bytes::BytesMut;
use cairn_client::frame::{self, MAX_FRAME};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::answer;
use crate::input::next_request;

/// The longest wait for a request that can be answered.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The longest first request that is read for its tag.
const MAX_FIRST: usize = 8 << 10;

pub(crate) async fn refuse(mut stream: TcpStream, limit: usize) {
    // A client that says nothing, or goes away, is refused just as well.
    let _ = timeout(TIMEOUT, async {
        let mut input = BytesMut::with_capacity(MAX_FIRST);
        let tag = loop {
            match next_request(&mut input, MAX_FIRST) {
                Ok(Some(request)) => break request.tag,
                Err(bad) => break bad.tag,
                Ok(None) if stream.read_buf(&mut input).await? == 0 => return Ok(()),
                Ok(None) => {}
            }
        };
        let detail = format!("too many connections (limit {limit}): try another node, or later");
        let mut output = BytesMut::new();
        frame::encode(&answer::other(tag, detail), MAX_FRAME, &mut output)
            .expect("a short answer fits");
        stream.write_all(&output).await?;
        stream.shutdown().await
    })
    .await;
}
