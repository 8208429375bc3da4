//! Members of etcd in the page: an election, no majority, losses, and etcd's own hash in the proof.

use anyhow::{Context as _, Result, ensure};
use fantoccini::key::Key;

use crate::browser::Browser;
use crate::playground::Playground;
use crate::{axe, visit_at};

/// The newest outcome on the page.
const NEWEST: &str = "one('#outcomes li:first-child')?.dataset.outcome";

/// All members serve, one of them leads, and all persisters follow.
const WELL: &str = "document.querySelectorAll('#nodes [data-state=follower]').length === 2 \
                    && one('#nodes [data-state=leader]') \
                    && document.querySelectorAll('#persisters [data-state=following]').length === 2";

const PROVED: &str =
    "one('#proof:not([hidden])[data-tone=ok]') && text('#proof-says').startsWith('=')";

#[tokio::test]
async fn a_cluster_of_etcd_loses_its_leader_its_majority_and_everything() -> Result<()> {
    let playground = Playground::start_with(&["--engine", "etcd"])?;
    visit_at("etcd", playground, async |page, _| {
        page.until("text('#live span') === 'live' && one('#n1')")
            .await?;
        let missing = "one('#missing').hidden || !text('#missing')";
        ensure!(
            page.is(missing).await?,
            "apt-get install etcd-server etcd-client"
        );
        page.until(WELL).await?;
        write(page, "/greeting", "durable").await?;
        election(page).await?;
        no_majority(page).await?;
        unconfirmed(page).await?;
        lose(page, "power-cut", 1).await?;
        lose(page, "lose", 2).await?;
        page.keep_pictures("proof").await?;
        go_back(page).await?;
        page.has_no_errors(&[]).await
    })
    .await
}

#[tokio::test]
async fn where_etcd_is_missing_the_page_says_how_to_install_it_and_goes_on() -> Result<()> {
    let playground = Playground::start_without_path(&["--engine", "etcd"])?;
    visit_at("no-etcd", playground, async |page, _| {
        page.until("text('#live span') === 'live' && one('#p2[data-state=following]')")
            .await?;
        let says = "!one('#missing').hidden && text('#missing').includes('apt install etcd') \
                    && text('#missing').includes('Going on with doozer-lite.')";
        page.until(says).await?;
        ensure!(page.is("text('#run').includes('1 × doozer-lite')").await?);
        axe::finds_nothing(page, "without etcd").await?;
        page.keep_pictures("missing").await?;
        page.has_no_errors(&[]).await
    })
    .await
}

/// Writes with the form, and waits for the outcome; `""`: any but durable.
async fn write(page: &Browser, key: &str, outcome: &str) -> Result<()> {
    page.fill("#key", key).await?;
    page.click("#do-write").await?;
    let newest = format!("text('#outcomes li:first-child code') === {key:?}");
    page.until(&format!("{newest} && {NEWEST} !== 'waiting'"))
        .await?;
    let told = page.value(NEWEST).await?;
    let is_right = match outcome {
        "" => told != "durable",
        outcome => told == outcome,
    };
    ensure!(is_right, "{key}: {told}, and not {outcome:?}");
    Ok(())
}

/// The id of a member that is in this state.
async fn member(page: &Browser, state: &str) -> Result<String> {
    let id = page
        .value(&format!("one('#nodes [data-state={state}]')?.id"))
        .await?;
    id.as_str()
        .map(str::to_owned)
        .with_context(|| format!("no {state}"))
}

async fn kill(page: &Browser, id: &str) -> Result<()> {
    page.click(&format!("#{id} [data-do=kill]")).await?;
    page.until(&format!("one('#{id}[data-state=down]')")).await
}

/// The leader dies, the others choose another one, and writes go on.
async fn election(page: &Browser) -> Result<()> {
    let dead = member(page, "leader").await?;
    kill(page, &dead).await?;
    page.until("one('#nodes [data-state=leader]') && one('#nodes [data-state=follower]')")
        .await?;
    page.until("text('#says').endsWith('The others have a majority.')")
        .await?;
    // The first ones may still go to the dead one; a person writes again.
    for n in 1.. {
        if write(page, &format!("/after/{n}"), "durable").await.is_ok() {
            break;
        }
        ensure!(n < 20, "no write comes through after the election");
    }
    page.keep_pictures("election").await
}

async fn no_majority(page: &Browser) -> Result<()> {
    let dead = member(page, "down").await?;
    let other = member(page, "follower").await?;
    kill(page, &other).await?;
    page.until("text('#says').startsWith('2 of 3 nodes are down: no majority.')")
        .await?;
    write(page, "/nobody", "").await?;
    page.keep_pictures("no-majority").await?;
    axe::finds_nothing(page, "without a majority").await?;
    for id in [dead, other] {
        page.click(&format!("#{id} [data-do=start]")).await?;
        page.until(&format!("one('#{id}:not([data-state=down])')"))
            .await?;
    }
    page.until(WELL).await
}

async fn unconfirmed(page: &Browser) -> Result<()> {
    page.click("#p1 [data-do=pause]").await?;
    page.until("one('#p1[data-state=paused]')").await?;
    write(page, "/unsure", "applied").await?;
    page.click("#p1 [data-do=resume]").await?;
    page.until(WELL).await
}

/// Loses, restores, and reads the proof, with so many rows of etcd's own hash.
async fn lose(page: &Browser, how: &str, hashes: usize) -> Result<()> {
    page.until("one('#figures').textContent.includes('HashKV')")
        .await?;
    page.click(&format!("#{how}")).await?;
    page.click("dialog .danger").await?;
    page.until("one('#restore:not([aria-disabled])') && one('#proof').hidden")
        .await?;
    page.click("#restore").await?;
    page.until(PROVED).await?;
    let equal = "[...document.querySelectorAll('#proof-rows tr')].filter((row) => \
                 row.cells[0].textContent.startsWith('HashKV') && \
                 row.cells[1].textContent === row.cells[2].textContent && \
                 row.cells[3].textContent.startsWith('✓ equal')).length";
    let equal = page.value(equal).await?;
    ensure!(
        equal == hashes,
        "{how}: {equal} of {hashes} hashes of etcd are equal"
    );
    page.until(WELL).await
}

/// The slider, a key brought back, and an older state as a new revision.
async fn go_back(page: &Browser) -> Result<()> {
    page.fill("#value", "a mistake").await?;
    write(page, "/greeting", "durable").await?;
    page.until(
        "[...document.querySelectorAll('#keys td')].some((td) => \
                td.textContent === 'a mistake')",
    )
    .await?;
    page.click("#slider").await?;
    page.press(Key::Home).await?;
    page.until("text('#history .moment').startsWith('change 1 of')")
        .await?;
    page.click("#diff [aria-label='Bring back /greeting']")
        .await?;
    page.until("text('#said').startsWith('journal:')").await?;

    page.click("#give-back").await?;
    page.until("text('dialog .report').startsWith('It would put 0 keys')")
        .await?;
    axe::finds_nothing(page, "before an older state comes back").await?;
    page.keep_pictures("give-back").await?;
    page.click("dialog .primary").await?;
    page.until("text('dialog h2') === 'Given back'").await?;
    page.press(Key::Escape).await?;
    page.until(PROVED).await?;
    let now = "text('#proof thead th:nth-child(3)') === 'Now' && \
               text('#proof-rows td:nth-child(3)') === '1'";
    page.until(now).await?;
    page.keep_pictures("given-back").await?;
    page.click("#back").await?;
    page.until("text('#keys th') === '/greeting' && one('#keys').rows.length === 1")
        .await
}
