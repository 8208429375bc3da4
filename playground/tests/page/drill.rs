//! A drill in the page: watched, and nothing else.

use anyhow::{Result, ensure};

use crate::playground::Playground;
use crate::{axe, visit_at};

#[tokio::test]
async fn a_drill_is_watched_to_its_verdict_and_ends_with_an_interrupt() -> Result<()> {
    let run = ["run", "lose-everything", "--shape", "lite", "--rounds", "1"];
    let playground = Playground::drill(&run)?;
    visit_at("drill", playground, async |page, playground| {
        page.until("text('#run').endsWith('drill lose-everything') && one('#persister-1')")
            .await?;
        ensure!(
            page.is("one('#lose').getAttribute('aria-disabled') === 'true'")
                .await?
        );
        page.until("one('#proof:not([hidden])[data-tone=ok]')")
            .await?;
        page.until("text('#says').startsWith('Passed, 1 of 1 rounds')")
            .await?;
        page.until("(one('ack-plot .p50').getAttribute('d') ?? '') !== ''")
            .await?;
        ensure!(
            page.is("text('#feed').includes('kill all')").await?,
            "no step is told"
        );
        let refused = "return fetch('/api/do', {method: 'POST', body: '{\"do\": \"lose\"}', \
                       headers: {'Content-Type': 'application/json', Authorization: 'Bearer ' + \
                       sessionStorage.getItem('cairn-playground-key')}}).then((it) => it.status);";
        ensure!(
            page.run(refused).await? == 409,
            "something can be done to a drill"
        );
        axe::finds_nothing(page, "a drill").await?;
        page.keep_pictures("passed").await?;
        ensure!(
            playground.interrupt()?.code() == Some(0),
            "a drill that has passed"
        );
        page.until("text('#live span') === 'the playground does not answer'")
            .await?;
        page.has_no_errors(&["409", "net::ERR_"]).await
    })
    .await
}
