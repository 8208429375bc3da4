//! The keyboard alone is enough.

use anyhow::{Result, ensure};
use fantoccini::key::Key;

use crate::browser::Browser;
use crate::visit;

#[tokio::test]
async fn the_keyboard_alone_loses_everything_and_restores_it() -> Result<()> {
    visit("keyboard", async |page, _| {
        page.until("text('#live span') === 'live' && one('#p2[data-state=following]')")
            .await?;
        page.press('w').await?;
        page.until("document.activeElement.id === 'key'").await?;
        page.press(Key::Enter).await?;
        page.until("one('#outcomes li:first-child')?.dataset.outcome === 'durable'")
            .await?;
        // In a field a letter is a letter.
        page.press('l').await?;
        ensure!(
            !page.is("one('dialog')").await?,
            "a letter in a field opened a dialog"
        );

        page.press(Key::Tab).await?;
        tab_to(page, "id === 'do-write'").await?;
        page.press_shift('1').await?;
        page.until("document.activeElement.textContent === 'p1'")
            .await?;
        tab_to(page, "dataset.do === 'pause'").await?;
        page.press(' ').await?;
        // A button whose command has just changed rests for a moment.
        page.until("document.activeElement.matches('#p1 [data-do=resume]:not([data-rests])')")
            .await?;
        page.press(' ').await?;
        page.until("one('#p1[data-state=following]')").await?;

        page.until("one('#lose:not([aria-disabled])')").await?;
        page.press('l').await?;
        page.until("document.activeElement.textContent === 'Keep everything'")
            .await?;
        page.press(Key::Escape).await?;
        page.until("!one('dialog')").await?;
        page.press('l').await?;
        page.until("one('dialog')").await?;
        tab_to(page, "textContent === 'Lose everything'").await?;
        page.press(Key::Enter).await?;
        page.until("one('#restore:not([aria-disabled])')").await?;
        page.press('r').await?;
        page.until("one('#proof:not([hidden])[data-tone=ok]')")
            .await?;

        letters_off(page).await?;
        page.has_no_errors(&[]).await
    })
    .await
}

/// Goes on with Tab until the focus is there.
async fn tab_to(page: &Browser, there: &str) -> Result<()> {
    for _ in 0..30 {
        if page.is(&format!("document.activeElement.{there}")).await? {
            return Ok(());
        }
        page.press(Key::Tab).await?;
    }
    anyhow::bail!("Tab does not lead to {there}")
}

/// The list of keys has a switch, and it works.
async fn letters_off(page: &Browser) -> Result<()> {
    page.press(',').await?;
    page.until("one('#history[data-past]')").await?;
    page.press(Key::Escape).await?;
    page.until("!one('#history[data-past]')").await?;
    page.press('?').await?;
    page.until("one('dialog')").await?;
    page.keep_pictures("keys").await?;
    tab_to(page, "id === 'letters'").await?;
    page.press(' ').await?;
    page.press(Key::Escape).await?;
    page.until("!one('dialog')").await?;
    page.until("one('#lose:not([aria-disabled])')").await?;
    page.press('l').await?;
    ensure!(
        !page.is("one('dialog')").await?,
        "a letter that is off acts"
    );
    Ok(())
}
