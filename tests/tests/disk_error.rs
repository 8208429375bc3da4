//! A disk that fails: the kernel answers an fsync with an I/O error.

use anyhow::{Context, Result, ensure};
use cairn_client::Revision;
use cairn_sync_client::keys;
use cairn_tests::{Lite, Process, attached, durable, journaled, needed, persister, program, tree};

/// The exit status for a failed write, as `docs/operations.md` has it.
const WRITE_FAILED: i32 = 13;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_fsync_nothing_more_is_claimed() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let lite = Lite::start()?;
    let client = lite.client().await?;

    // From the fortieth on every fdatasync fails, as it may on a dying disk.
    let mut command = needed("strace")?;
    command
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync"])
        .args(["-e", "inject=fdatasync:error=EIO:when=40+"])
        .arg(program("persister")?)
        .args([
            "--id",
            "1",
            "-a",
            &format!("doozer:?ca={}", lite.uri.addresses[0]),
        ])
        .arg("-j")
        .arg(&journal);
    let mut process = Process::spawn("persister", &command)?;
    attached(&client, 1).await.with_context(|| process.log())?;

    let mut last = Revision::MISSING;
    let mut ended = None;
    for n in 0..10_000 {
        last = client
            .set(&format!("/{}", n % 50), Revision::ANY, "x")
            .await?;
        ended = process.ended()?;
        if ended.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let said = process.log();
    ensure!(
        ended.and_then(|s| s.code()) == Some(WRITE_FAILED),
        "{ended:?}: {said}"
    );
    ensure!(said.contains("Input/output error"), "{said}");
    let claimed = client.get(&keys::watermark(1), None).await?;
    let claimed = claimed.context("something was durable before")?;
    let claimed: i64 = std::str::from_utf8(&claimed.value)?.parse()?;
    ensure!(
        claimed < last.0,
        "{claimed} is claimed, and {last} never was durable"
    );
    let reader = cairn_journal::Reader::open(&journal)?;
    ensure!(reader.state(None)?.revision.0 >= claimed);

    // On a disk that works again it resumes, and what had been in doubt is settled.
    let mut process = persister(1, &lite.uri, &journal, &[])?;
    durable(&client, 1, last)
        .await
        .with_context(|| process.log())?;
    ensure!(journaled(&journal)? == tree(&client).await?);
    process.end_in_order()?;
    Ok(())
}
