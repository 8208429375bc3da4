//! redis with `appendfsync always`: an fsync before the answers of each round of its loop.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, ensure};
use cairn_playground::world::Ports;
use cairn_playground::world::services::Program;
use cairn_tests::Process;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{Semaphore, mpsc};

use crate::{Row, VALUE, connect};

pub(crate) async fn measure(in_flight: usize, writes: usize) -> Result<Result<Row, String>> {
    let program = match Program::installed("redis-server", "apt install redis-server") {
        Ok(program) => program,
        Err(absent) => return Ok(Err(absent.to_string())),
    };
    let data = tempfile::tempdir()?;
    let mut ports = Ports::default();
    let port = ports.port()?.get();
    let mut command = Command::new(program.path);
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--appendonly", "yes", "--appendfsync", "always"])
        .args(["--save", "", "--logfile", "redis.log", "--dir"])
        .arg(data.path());
    let _server = Process::spawn("redis", &command)?;
    let (answers, mut requests) = connect(port).await?.into_split();
    let free = std::sync::Arc::new(Semaphore::new(in_flight));
    let (sent, mut called) = mpsc::unbounded_channel();
    let started = Instant::now();
    // Pipelined over one connection, as the cluster's client does.
    let sender = tokio::spawn({
        let free = std::sync::Arc::clone(&free);
        async move {
            let value = "x".repeat(VALUE);
            let mut batch = String::new();
            let mut number = 0;
            while number < writes {
                // All that may be sent now goes into one write.
                free.acquire().await?.forget();
                let mut more = true;
                while more && number < writes {
                    let key = format!("bench/{}", number % 1000);
                    let length = key.len();
                    batch += &format!(
                        "*3\r\n$3\r\nSET\r\n${length}\r\n{key}\r\n${VALUE}\r\n{value}\r\n"
                    );
                    sent.send(Instant::now())?;
                    number += 1;
                    more = free
                        .try_acquire()
                        .map(tokio::sync::SemaphorePermit::forget)
                        .is_ok();
                }
                // One was taken that the end of the load has no use for.
                if more {
                    free.add_permits(1);
                }
                requests.write_all(batch.as_bytes()).await?;
                batch.clear();
            }
            anyhow::Ok(requests)
        }
    });
    let mut answers = BufReader::new(answers).lines();
    let mut latencies = Vec::new();
    while latencies.len() < writes {
        let line = answers.next_line().await?;
        ensure!(line.as_deref() == Some("+OK"), "redis answered {line:?}");
        if let Some(called) = called.recv().await {
            latencies.push(called.elapsed());
        }
        free.add_permits(1);
    }
    let took = started.elapsed();
    drop(sender.await??);
    Ok(Ok(Row::new(
        "redis, appendfsync always",
        in_flight,
        took,
        latencies,
    )))
}
