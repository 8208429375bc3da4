//! A stranger writes, breaks, loses everything, restores, and walks back in time.

use anyhow::{Result, ensure};
use fantoccini::key::Key;

use crate::browser::Browser;
use crate::{axe, visit};

/// The newest outcome on the page.
const NEWEST: &str = "one('#outcomes li:first-child')?.dataset.outcome";

#[tokio::test]
async fn everything_is_lost_and_restored_and_the_proof_says_equal() -> Result<()> {
    visit("stranger", async |page, _| {
        page.until("text('#live span') === 'live' && one('#p2[data-state=following]')")
            .await?;
        ensure!(
            page.is("location.hash === ''").await?,
            "the key stays in the address"
        );
        write(page, "/greeting", "hello", "durable").await?;
        page.until("one('#keys th')?.textContent === '/greeting'")
            .await?;
        axe::finds_nothing(page, "calm").await?;
        page.keep_pictures("calm").await?;
        pause(page).await?;
        kill(page).await?;
        power_cut(page).await?;
        lose_everything(page).await?;
        go_back(page).await?;
        look_into(page).await?;
        page.has_no_errors(&[]).await
    })
    .await
}

/// Writes with the form, and waits for one outcome.
async fn write(page: &Browser, key: &str, value: &str, outcome: &str) -> Result<()> {
    page.fill("#key", key).await?;
    page.fill("#value", value).await?;
    page.click("#do-write").await?;
    let newest = "text('#outcomes li:first-child code')";
    page.until(&format!("{newest} === {key:?} && {NEWEST} === {outcome:?}"))
        .await
}

async fn pause(page: &Browser) -> Result<()> {
    page.click("#p1 [data-do=pause]").await?;
    page.until("one('#p1[data-state=paused]')").await?;
    write(page, "/unsure", "who knows", "applied").await?;
    page.keep_pictures("unconfirmed").await?;
    page.until("one('#p1 [data-do=resume]:not([aria-disabled], [data-rests])')")
        .await?;
    page.click("#p1 [data-do=resume]").await?;
    page.until("one('#p1[data-state=following]')").await
}

async fn kill(page: &Browser) -> Result<()> {
    page.click("#p2 [data-do=kill]").await?;
    page.until("one('#p2[data-state=down]')").await?;
    page.until("one('#p2 [data-do=start]:not([aria-disabled], [data-rests])')")
        .await?;
    page.click("#p2 [data-do=start]").await?;
    page.until("one('#p2[data-state=following]')").await
}

async fn power_cut(page: &Browser) -> Result<()> {
    page.click("#power-cut").await?;
    page.click("dialog .danger").await?;
    page.until("one('#restore:not([aria-disabled])')").await?;
    page.click("#restore").await?;
    page.until("one('#proof:not([hidden])[data-tone=ok]')")
        .await
}

async fn lose_everything(page: &Browser) -> Result<()> {
    write(page, "/greeting", "a second one", "durable").await?;
    page.until("one('#lose:not([aria-disabled])')").await?;
    page.click("#lose").await?;
    let harmless = "document.activeElement.textContent === 'Keep everything'";
    ensure!(page.is(harmless).await?, "the focus is on what destroys");
    axe::finds_nothing(page, "with a dialog").await?;
    page.keep_pictures("dialog").await?;
    page.click("dialog .danger").await?;
    page.until("one('#restore:not([aria-disabled])') && one('#n1:not([data-state=serving])')")
        .await?;
    page.keep_pictures("lost").await?;
    page.click("#restore").await?;
    page.until("one('#proof:not([hidden])[data-tone=ok]')")
        .await?;
    for row in ["keys", "hash"] {
        let row = format!(
            "(() => {{ const row = [...document.querySelectorAll('#proof-rows tr')]\
             .find((row) => row.cells[0].textContent.startsWith({row:?})); \
             return row.cells[1].textContent && \
                 row.cells[1].textContent === row.cells[2].textContent; }})()"
        );
        ensure!(page.is(&row).await?, "{row}");
    }
    page.until("one('#n1[data-state=serving]') && one('#p2[data-state=following]')")
        .await?;
    axe::finds_nothing(page, "with a proof").await?;
    page.keep_pictures("proof").await?;
    page.keep_variants("proof").await
}

async fn go_back(page: &Browser) -> Result<()> {
    page.click("#slider").await?;
    page.press(Key::Home).await?;
    page.until("one('#history[data-past]') && text('#history .moment').startsWith('change 1 of')")
        .await?;
    let changed = "[...document.querySelectorAll('#diff li')]\
                   .some((row) => row.dataset.kind === 'changed' && \
                       row.querySelector('code').textContent === '/greeting')";
    page.until(changed).await?;
    axe::finds_nothing(page, "in the past").await?;
    page.keep_pictures("past").await?;
    page.click("#diff [aria-label='Bring back /greeting']")
        .await?;
    page.until("text('#said') && !text('#said').startsWith('Asking')")
        .await?;
    page.press(Key::Escape).await?;
    page.until("!one('#history[data-past]')").await?;
    let back = "[...document.querySelectorAll('#keys tr')]\
                .some((row) => row.cells[0].textContent === '/greeting' && \
                    row.cells[1].textContent === 'hello')";
    page.until(back).await
}

async fn look_into(page: &Browser) -> Result<()> {
    page.click("#p1 .word").await?;
    page.until("text('.meaning:popover-open').startsWith('On disk up to')")
        .await?;
    page.press(Key::Escape).await?;
    page.until("!one('.meaning:popover-open')").await?;
    page.click("#p1 [aria-label='Log of p1']").await?;
    page.until("text('dialog pre').length > 20").await?;
    page.press(Key::Escape).await?;
    page.until("!one('dialog')").await?;
    page.choose("#load", "50").await?;
    page.until("(one('ack-plot .p50').getAttribute('d') ?? '').includes('L')")
        .await?;
    page.keep_picture("load").await?;
    page.choose("#load", "0").await
}
