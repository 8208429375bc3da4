//! A progress bar for work that people wait for; silent where nobody watches.

use indicatif::{ProgressBar, ProgressStyle};

/// Work below this count is over before a bar could be read.
const WORTH_SHOWING: u64 = 10_000;

/// How far a piece of work has come.
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar for `total` steps. Hidden unless standard error is a terminal.
    #[must_use]
    pub fn new(what: &'static str, total: u64) -> Self {
        if total < WORTH_SHOWING {
            return Self(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar} {human_pos}/{human_len} ({per_sec}, {eta} left)",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(ProgressBar::new(total).with_style(style).with_message(what))
    }

    /// One more step.
    pub fn one(&self) {
        self.0.inc(1);
    }

    /// All is done.
    pub fn done(&self) {
        self.0.finish_and_clear();
    }
}
