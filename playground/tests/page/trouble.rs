//! What goes wrong is said, and goes away by itself.

use anyhow::{Result, ensure};

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

        playground.end()?;
        page.until("text('#live span') === 'the playground does not answer'")
            .await?;
        page.has_no_errors(&["401", "net::ERR_"]).await
    })
    .await
}
