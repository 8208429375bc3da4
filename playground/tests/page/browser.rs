//! Chromium, driven over WebDriver. It ends with the test, also with one that panics: its driver
//! is killed, and the browser ends with the pipe to its driver.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use fantoccini::actions::{InputSource as _, KeyAction, KeyActions};
use fantoccini::key::Key;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

/// How long anything on the page may take before a test gives up on it.
const DEADLINE: Duration = Duration::from_secs(45);

/// How long to wait before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(30);

const WIDE: (u32, u32) = (1280, 900);
const NARROW: (u32, u32) = (390, 844);

const NEEDS: &str = "the tests of the page need chromium and chromedriver: ./test installs what \
                     the tests need, or: apt-get install chromium chromium-driver";

/// A window of the browser.
pub(crate) struct Browser {
    name: &'static str,
    client: Client,
    driver: Driver,
    pictures: PathBuf,
    _profile: tempfile::TempDir,
}

/// The driver's process.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Browser {
    /// Starts a driver and a browser with an empty profile.
    pub(crate) async fn start(name: &'static str) -> Result<Self> {
        let pictures = std::env::var_os("CAIRN_SCREENSHOTS").filter(|path| !path.is_empty());
        let pictures = pictures.map_or_else(
            || Path::new(env!("CARGO_TARGET_TMPDIR")).join("page"),
            PathBuf::from,
        );
        fs::create_dir_all(&pictures).with_context(|| pictures.display().to_string())?;
        let profile = tempfile::tempdir()?;
        let (driver, port) = driver()?;
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities(profile.path())?)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .context(NEEDS)?;
        let browser = Self {
            name,
            client,
            driver,
            pictures,
            _profile: profile,
        };
        browser.look(WIDE, "light").await?;
        Ok(browser)
    }

    /// Opens an address, also one that differs from the present one in its fragment alone.
    pub(crate) async fn open(&self, link: &str) -> Result<()> {
        self.client.goto("about:blank").await?;
        Ok(self.client.goto(link).await?)
    }

    /// Waits until an expression is true on the page.
    pub(crate) async fn until(&self, is_so: &str) -> Result<()> {
        let begin = Instant::now();
        while !self.is(is_so).await? {
            ensure!(begin.elapsed() < DEADLINE, "it never became true: {is_so}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Whether an expression is true on the page.
    pub(crate) async fn is(&self, is_so: &str) -> Result<bool> {
        Ok(self.value(&format!("Boolean({is_so})")).await? == Value::Bool(true))
    }

    /// What an expression is on the page.
    pub(crate) async fn value(&self, expression: &str) -> Result<Value> {
        let script = format!(
            "const one = (css) => document.querySelector(css); \
             const text = (css) => one(css)?.textContent ?? ''; return {expression};"
        );
        let done = self.client.execute(&script, Vec::new()).await;
        done.with_context(|| expression.to_owned())
    }

    /// Runs a script, and gives what it returns, be it later.
    pub(crate) async fn run(&self, script: &str) -> Result<Value> {
        Ok(self.client.execute(script, Vec::new()).await?)
    }

    /// Runs an expression that ends later.
    pub(crate) async fn later(&self, script: &str, args: Vec<Value>) -> Result<Value> {
        Ok(self.client.execute_async(script, args).await?)
    }

    /// Clicks as a person would: what is covered or out of sight cannot be clicked.
    pub(crate) async fn click(&self, css: &str) -> Result<()> {
        // While a command is under way others are off.
        let it = Value::from(css);
        self.until(&format!(
            "one({it})?.matches(':not([aria-disabled], [data-rests])')"
        ))
        .await?;
        let element = self.client.wait().at_most(DEADLINE);
        let element = element.for_element(Locator::Css(css)).await;
        let element = element.with_context(|| css.to_owned())?;
        element.click().await.with_context(|| css.to_owned())
    }

    /// Replaces what stands in a field.
    pub(crate) async fn fill(&self, css: &str, text: &str) -> Result<()> {
        let field = self.client.find(Locator::Css(css)).await?;
        field.clear().await?;
        Ok(field.send_keys(text).await?)
    }

    /// Chooses from a list.
    pub(crate) async fn choose(&self, css: &str, value: &str) -> Result<()> {
        let list = self.client.find(Locator::Css(css)).await?;
        Ok(list.select_by_value(value).await?)
    }

    /// Presses one key, wherever the focus is.
    pub(crate) async fn press(&self, key: impl Into<char>) -> Result<()> {
        self.chord(&[key.into()]).await
    }

    /// Presses Shift and a key.
    pub(crate) async fn press_shift(&self, key: char) -> Result<()> {
        self.chord(&[Key::Shift.into(), key]).await
    }

    async fn chord(&self, keys: &[char]) -> Result<()> {
        let mut actions = KeyActions::new("keyboard".to_owned());
        for &value in keys {
            actions = actions.then(KeyAction::Down { value });
        }
        for &value in keys.iter().rev() {
            actions = actions.then(KeyAction::Up { value });
        }
        Ok(self.client.perform_actions(actions).await?)
    }

    /// Keeps pictures of the whole page: light and dark, wide and narrow. Checks that nothing makes
    /// it wider than its window.
    pub(crate) async fn keep_pictures(&self, state: &str) -> Result<()> {
        for (size, width) in [(NARROW, "narrow"), (WIDE, "wide")] {
            for colours in ["dark", "light"] {
                self.look(size, colours).await?;
                self.keep_picture(&format!("{state}-{width}-{colours}"))
                    .await?;
            }
            let wider = "document.documentElement.scrollWidth > innerWidth";
            ensure!(!self.is(wider).await?, "{state}, {width}: scrolls sideways");
        }
        Ok(())
    }

    /// Keeps a picture of the whole page as it is.
    pub(crate) async fn keep_picture(&self, state: &str) -> Result<()> {
        let whole = json!({"format": "png", "captureBeyondViewport": true});
        let picture = self.devtools("Page.captureScreenshot", whole).await?;
        let picture = picture["data"].as_str().context("a picture")?;
        let picture = base64::prelude::BASE64_STANDARD.decode(picture)?;
        let file = format!("{}-{state}.png", self.name);
        Ok(fs::write(self.pictures.join(file), picture)?)
    }

    /// Keeps pictures of the page as it is with colours that the system forces upon it, light and
    /// dark, at 200 %, and on paper.
    pub(crate) async fn keep_variants(&self, state: &str) -> Result<()> {
        let wider = "document.documentElement.scrollWidth > innerWidth";
        for colours in ["light", "dark"] {
            self.emulate(WIDE, 1, "", colours, "active").await?;
            self.keep_picture(&format!("{state}-forced-{colours}"))
                .await?;
        }
        // The same window, in which everything is twice as large.
        self.emulate((WIDE.0 / 2, WIDE.1 / 2), 2, "", "light", "none")
            .await?;
        self.keep_picture(&format!("{state}-zoomed")).await?;
        ensure!(!self.is(wider).await?, "{state}, 200 %: scrolls sideways");
        self.emulate((794, 1123), 1, "print", "light", "none")
            .await?;
        self.keep_picture(&format!("{state}-paper")).await?;
        self.look(WIDE, "light").await
    }

    /// The colours that the system is said to have.
    pub(crate) async fn look(&self, size: (u32, u32), colours: &str) -> Result<()> {
        self.emulate(size, 1, "", colours, "none").await
    }

    async fn emulate(
        &self,
        (width, height): (u32, u32),
        scale: u32,
        media: &str,
        colours: &str,
        forced: &str,
    ) -> Result<()> {
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": scale, "mobile": false,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
            .await?;
        let features = json!({"media": media, "features": [
            {"name": "prefers-color-scheme", "value": colours},
            {"name": "forced-colors", "value": forced},
            // A picture shows how it is, not how it fades.
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]});
        self.devtools("Emulation.setEmulatedMedia", features)
            .await?;
        Ok(())
    }

    /// Fails if the page has reported an error or broken its own policy. `expected` are parts of
    /// messages that the test itself has caused.
    pub(crate) async fn has_no_errors(&self, expected: &[&str]) -> Result<()> {
        let log = self.issue("se/log", json!({"type": "browser"})).await?;
        for entry in log.as_array().context("a log")? {
            let message = entry["message"].as_str().unwrap_or_default();
            let is_expected = expected.iter().any(|part| message.contains(part));
            ensure!(is_expected, "the page reports {entry}");
        }
        Ok(())
    }

    /// All that the page shows, for the report of a test that failed.
    pub(crate) async fn says(&self) -> Result<String> {
        let text = self.value("document.body.innerText").await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Closes the browser and ends its driver.
    pub(crate) async fn end(self) -> Result<()> {
        self.client.close().await?;
        drop(self.driver);
        Ok(())
    }

    async fn devtools(&self, command: &str, params: Value) -> Result<Value> {
        let body = json!({"cmd": command, "params": params});
        self.issue("goog/cdp/execute", body).await
    }

    async fn issue(&self, path: &'static str, body: Value) -> Result<Value> {
        Ok(self.client.issue_cmd(Extension { path, body }).await?)
    }
}

/// A command of Chromium's driver that is none of WebDriver's.
#[derive(Debug)]
struct Extension {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        let session = session.unwrap_or_default();
        base.join(&format!("session/{session}/{}", self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}

/// Starts a driver, which takes a port that is free and says which.
fn driver() -> Result<(Driver, u16)> {
    let child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "chromedriver", "--port=0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut driver = Driver(child.context("setpriv, of util-linux: ./test installs it")?);
    let mut lines = BufReader::new(driver.0.stdout.take().context("a pipe")?).lines();
    let said = lines.by_ref().map_while(|line| line.ok());
    let mut ports = said.filter_map(|line| {
        let (_, port) = line.split_once("started successfully on port ")?;
        port.trim_end_matches('.').parse().ok()
    });
    let Some(port) = ports.next() else {
        bail!(NEEDS);
    };
    drop(ports);
    std::thread::spawn(move || lines.for_each(drop));
    Ok((driver, port))
}

fn capabilities(profile: &Path) -> Result<Capabilities> {
    let profile = format!("--user-data-dir={}", profile.display());
    let options = json!({
        "goog:loggingPrefs": {"browser": "ALL"},
        "goog:chromeOptions": {"binary": "/usr/bin/chromium", "args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe", profile,
        ]},
    });
    match options {
        Value::Object(options) => Ok(options),
        other => bail!("{other} is no object"),
    }
}
