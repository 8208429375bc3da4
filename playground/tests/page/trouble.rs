//! What goes wrong is said, and goes away by itself.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::browser::Browser;
use crate::playground::Playground;
use crate::{axe, visit};

#[tokio::test]
async fn a_wrong_key_and_a_lost_stream_are_said() -> Result<()> {
    visit("trouble", async |page, playground| {
        page.until("text('#live span') === 'live' && one('#p2[data-state=following]')")
            .await?;
        ensure!(
            page.is("text('#history').includes('The journal is empty')")
                .await?,
            "no history"
        );

        let (address, _) = playground.link.split_once('#').unwrap_or_default();
        page.open(&format!("{address}#wrong")).await?;
        page.until("text('#wall').startsWith('Open the link that the terminal shows')")
            .await?;
        ensure!(
            page.is("one('#main').hidden").await?,
            "the page is shown without a key"
        );
        page.keep_pictures("wrong-key").await?;

        page.open(&playground.link).await?;
        page.until("text('#live span') === 'live' && one('#n1')")
            .await?;
        playground.halt()?;
        page.until("text('#live span') === 'the playground does not answer'")
            .await?;
        page.until("one('#p1 [data-do=kill][aria-disabled=true]')")
            .await?;
        axe::finds_nothing(page, "lost").await?;
        page.keep_pictures("lost-stream").await?;
        playground.resume()?;
        page.until("text('#live span') === 'live'").await?;
        page.until("one('#p1 [data-do=kill]:not([aria-disabled])')")
            .await?;

        damage(page, playground).await?;

        playground.end()?;
        page.until("text('#live span') === 'the playground does not answer'")
            .await?;
        page.has_no_errors(&["401", "net::ERR_"]).await
    })
    .await
}

/// A persister whose journal is damaged ends, the page says why, and a new disk mends it.
async fn damage(page: &Browser, playground: &Playground) -> Result<()> {
    page.click("#do-write").await?;
    page.until("one('#outcomes li')?.dataset.outcome === 'durable'")
        .await?;
    // Damage to the newest record would look like a torn tail, which is cut and fetched again.
    page.fill("#key", "/later").await?;
    page.click("#do-write").await?;
    let both = "document.querySelectorAll('#outcomes [data-outcome=durable]').length === 2";
    page.until(both).await?;
    page.click("#p2 [data-do=kill]").await?;
    page.until("one('#p2 [data-do=start]:not([aria-disabled], [data-rests])')")
        .await?;
    flip_a_bit(&playground.journal("p2")?, b"/greeting")?;
    page.click("#p2 [data-do=start]").await?;
    page.until("one('#p2[data-state=ended]') && text('#p2 .says').startsWith('status 10')")
        .await?;
    axe::finds_nothing(page, "with a persister that ended").await?;
    page.keep_pictures("damaged").await?;
    page.click("#p2 [data-do=wipe]").await?;
    page.click("dialog .danger").await?;
    page.until("one('#p2[data-state=wiped] [data-do=start]:not([aria-disabled], [data-rests])')")
        .await?;
    page.click("#p2 [data-do=start]").await?;
    page.until("one('#p2[data-state=following]')").await
}

/// Flips a bit of `text`, in the first segment of a journal.
fn flip_a_bit(journal: &Path, text: &[u8]) -> Result<()> {
    let segments = fs::read_dir(journal)?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut segments = segments.filter(|path| path.extension().is_some_and(|end| end == "seg"));
    let segment = segments.next().context("a segment")?;
    let mut content = fs::read(&segment)?;
    let place = content.windows(text.len()).position(|part| part == text);
    content[place.context("the text is in the segment")? + 1] ^= 1;
    Ok(fs::write(&segment, content)?)
}
