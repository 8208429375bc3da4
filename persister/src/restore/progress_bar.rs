//! How far a piece of work has come, for people who wait for it: a bar on a terminal, elsewhere a
//! line in the log now and then.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Work below this count is over before a bar could be read.
const WORTH_SHOWING: u64 = 10_000;

/// How often the log says how far it is, where there is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// How far a piece of work has come.
pub(super) struct Bar {
    bar: ProgressBar,
    what: &'static str,
    total: u64,
    done: u64,
    begun: Instant,
    /// When to log next; `None` where there is a bar.
    log_at: Option<Instant>,
}

impl Bar {
    /// For `total` steps.
    #[must_use]
    pub(super) fn new(what: &'static str, total: u64) -> Self {
        let begun = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal && total >= WORTH_SHOWING {
            let style = ProgressStyle::with_template(
                "{msg} {wide_bar} {human_pos}/{human_len} ({per_sec}, {eta} left)",
            );
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total).with_style(style).with_message(what)
        } else {
            ProgressBar::hidden()
        };
        Self {
            bar,
            what,
            total,
            done: 0,
            begun,
            log_at: (!terminal).then(|| begun + LOG_EVERY),
        }
    }

    /// One more step.
    pub(super) fn one(&mut self) {
        self.add(1);
    }

    /// So many more steps.
    pub(super) fn add(&mut self, steps: u64) {
        self.done += steps;
        self.bar.inc(steps);
        // Looking at the clock at every step would be a part of the work.
        if self.done % 256 < steps
            && let Some(at) = self.log_at
            && Instant::now() >= at
        {
            self.log_at = Some(Instant::now() + LOG_EVERY);
            self.log();
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn log(&self) {
        let (done, total) = (self.done as f64, self.total.max(self.done) as f64);
        let rate = done / self.begun.elapsed().as_secs_f64();
        let left = Duration::try_from_secs_f64(((total - done) / rate).round());
        tracing::info!(
            "{}: {} of {} ({rate:.0} a second, about {} left)",
            self.what,
            self.done,
            self.total,
            left.map_or_else(
                |_| "ever".to_owned(),
                |left| humantime::format_duration(left).to_string()
            ),
        );
    }

    /// All is done.
    pub(super) fn done(&self) {
        self.bar.finish_and_clear();
    }
}
