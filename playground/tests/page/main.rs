//! The page in a real browser: what a stranger does, the keyboard alone, and what goes wrong.
//!
//! Needs chromium and chromedriver, npm for axe-core, and etcd; `./test` installs them. Screenshots
//! of each state, light and dark, wide and narrow, are kept in the directory that
//! `CAIRN_SCREENSHOTS` names, by default in `tmp/page` of the target directory.

mod axe;
mod browser;
mod drill;
mod etcd;
mod keyboard;
mod playground;
mod stranger;
mod tour;
mod trouble;

use anyhow::Result;

use crate::browser::Browser;
use crate::playground::Playground;

/// Opens the page of a playground of its own.
async fn visit(
    name: &'static str,
    visit: impl AsyncFnOnce(&Browser, &mut Playground) -> Result<()>,
) -> Result<()> {
    visit_at(name, Playground::start()?, visit).await
}

/// Opens the page of this playground. If `visit` fails, a picture of the page is kept.
async fn visit_at(
    name: &'static str,
    mut playground: Playground,
    visit: impl AsyncFnOnce(&Browser, &mut Playground) -> Result<()>,
) -> Result<()> {
    let browser = Browser::start(name).await?;
    browser.open(&playground.link).await?;
    let visited = visit(&browser, &mut playground).await;
    if visited.is_err() {
        browser.keep_picture("failed").await?;
        eprintln!("{}", browser.says().await?);
    }
    browser.end().await?;
    visited
}
