//! Looks whether something serves. Each look is short: a halted process accepts and never answers.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long one look may take.
const LIMIT: Duration = Duration::from_millis(500);

/// The longest answer that is read.
const ANSWER: u64 = 1 << 20;

/// Whether somebody accepts connections at this address.
pub async fn listens(address: &str) -> bool {
    matches!(timeout(LIMIT, TcpStream::connect(address)).await, Ok(Ok(_)))
}

/// Whether an HTTP server at this address answers 200 for `path`.
pub async fn answers_http(address: &str, path: &str) -> bool {
    http_body(address, path).await.is_some()
}

/// What an HTTP server at this address has at `path`, if it answers 200 in time.
pub async fn http_body(address: &str, path: &str) -> Option<String> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.take(ANSWER).read_to_end(&mut answer).await.ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?;
        (status == "200").then(|| body.to_owned())
    };
    timeout(LIMIT, ask).await.ok()?
}
