//! The tour does each of its steps, and knows that it is done.

use anyhow::Result;

use crate::{axe, visit};

#[tokio::test]
async fn the_tour_leads_through_a_loss_and_back_in_time() -> Result<()> {
    visit("tour", async |page, _| {
        page.until("text('#live span') === 'live' && one('#p2[data-state=following]')")
            .await?;
        page.click("#open-tour").await?;
        for step in 1..=6 {
            page.until(&format!("text('#tour').includes('{step} of 6')"))
                .await?;
            page.click("#tour-run").await?;
            page.until("text('#tour .done') && one('#tour-run:not([aria-disabled])')")
                .await?;
            if step == 5 {
                axe::finds_nothing(page, "with the tour").await?;
                page.keep_pictures("restored").await?;
            }
            page.click("#tour-next").await?;
        }
        page.until("one('#tour').hidden && document.activeElement.id === 'open-tour'")
            .await?;
        let back = "[...document.querySelectorAll('#keys tr')]\
                    .some((row) => row.cells[0].textContent === '/greeting' && \
                        row.cells[1].textContent !== 'a mistake')";
        page.click("#back").await?;
        page.until(back).await?;
        page.has_no_errors(&[]).await
    })
    .await
}
