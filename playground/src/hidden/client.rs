//! `cairn __client URI TIMEOUT`: does what its standard input orders, and says what it was told.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe;

use crate::engine::Engine;
use crate::ledger::outcome::Outcome;
use crate::output;
use crate::writers::{Order, Told};

/// The pause between attempts to connect.
const PAUSE: Duration = Duration::from_millis(20);

/// Runs until its standard input ends. A write may wait for `timeout` for its cluster, and then for
/// the disks.
///
/// # Errors
/// Orders that are none, and pipes that break.
pub async fn client(uri: &str, timeout: Duration) -> anyhow::Result<()> {
    let orders = std::io::stdin().as_fd().try_clone_to_owned()?;
    let mut orders = BufReader::new(pipe::Receiver::from_owned_fd(orders)?).lines();
    let mut engine = None;
    while let Some(order) = orders.next_line().await? {
        let order: Order = serde_json::from_str(&order)?;
        let told = match connected(&mut engine, uri, timeout).await {
            Ok(engine) => {
                let answer = engine.write(&order.key, order.value.map(Into::into)).await;
                Told {
                    outcome: answer.outcome,
                    says: answer.says,
                }
            }
            Err(error) => {
                tokio::time::sleep(PAUSE).await;
                Told {
                    outcome: Outcome::NotApplied,
                    says: Some(format!("{error:#}")),
                }
            }
        };
        let mut line = serde_json::to_vec(&told)?;
        line.push(b'\n');
        // At once and whole: what was told must be known even if we are killed now.
        let mut out = std::io::stdout().lock();
        out.write_all(&line)?;
        out.flush()?;
        if let Some(says) = told.says {
            output::note(format_args!("{} {says}", order.key));
        }
    }
    Ok(())
}

async fn connected<'a>(
    engine: &'a mut Option<Engine>,
    uri: &str,
    timeout: Duration,
) -> anyhow::Result<&'a Engine> {
    if engine.is_none() {
        *engine = Some(Engine::connect(uri, timeout).await?);
    }
    engine
        .as_ref()
        .ok_or_else(|| anyhow::anyhow!("not connected"))
}
