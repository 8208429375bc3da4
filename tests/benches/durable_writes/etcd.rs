//! A single etcd through its HTTP gateway, which is what it offers without gRPC.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cairn_playground::world::services::{EtcdCluster, EtcdMember};
use cairn_playground::world::{Command, RunDirectory, World, default_parent};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::{Row, VALUE, connect};

pub(crate) async fn measure(in_flight: usize, writes: usize) -> Result<Result<Row, String>> {
    let program = match EtcdMember::installed() {
        Ok(program) => program,
        Err(absent) => return Ok(Err(absent.to_string())),
    };
    let directory = RunDirectory::create(&default_parent())?;
    let mut world = World::new(cairn_tests::program("cairn")?, directory);
    let (client, peer) = (world.port()?, world.port()?);
    let port = client.get();
    let member = EtcdMember {
        program,
        name: "alone".to_owned(),
        cluster: EtcdCluster::new("alone", vec![("alone".to_owned(), peer.clone())]),
        client,
        peer,
        behind: None,
        args: Vec::new(),
    };
    let machine = world.machine("etcd", vec![Box::new(member)]);
    machine.run(Command::Start).await?;
    // It listens before it has elected itself.
    cairn_tests::eventually("an etcd that takes writes", || async {
        let mut stream = BufReader::new(connect(port).await?);
        Ok(put(&mut stream, 0).await.ok())
    })
    .await?;
    let started = Instant::now();
    let mut connections = Vec::new();
    for first in 0..in_flight {
        let mut stream = BufReader::new(connect(port).await?);
        connections.push(tokio::spawn(async move {
            let mut latencies: Vec<Duration> = Vec::new();
            for number in (first..writes).step_by(in_flight) {
                let called = Instant::now();
                put(&mut stream, number).await?;
                latencies.push(called.elapsed());
            }
            anyhow::Ok(latencies)
        }));
    }
    let mut latencies = Vec::new();
    for connection in connections {
        latencies.extend(connection.await??);
    }
    let took = started.elapsed();
    Ok(Ok(Row::new(
        "etcd, HTTP gateway",
        in_flight,
        took,
        latencies,
    )))
}

async fn put(stream: &mut BufReader<TcpStream>, number: usize) -> Result<()> {
    let key = base64(format!("bench/{}", number % 1000).as_bytes());
    let value = base64(&[b'x'; VALUE]);
    let body = format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}");
    let request = format!(
        "POST /v3/kv/put HTTP/1.1\r\nHost: etcd\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let status = line(stream).await?;
    let mut length = None;
    loop {
        let header = line(stream).await?.to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(text) = header.strip_prefix("content-length:") {
            length = Some(text.trim().parse()?);
        }
    }
    let length: usize = length.context("etcd answers with a length")?;
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    ensure!(status.contains(" 200 "), "etcd answered {status}: {answer}");
    Ok(())
}

async fn line(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    ensure!(line.ends_with('\n'), "etcd closed the connection");
    Ok(line.trim_end().to_owned())
}

/// As the gateway wants its bytes.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bytes
        .chunks(3)
        .flat_map(|chunk| {
            let byte = |n| u32::from(chunk.get(n).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            let digits =
                [18, 12, 6, 0].map(|shift| char::from(DIGITS[(bits >> shift & 63) as usize]));
            let used = chunk.len() + 1;
            (0..4).map(move |n| if n < used { digits[n] } else { '=' })
        })
        .collect()
}
