//! What a drill has shown, for people and for programs.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::drill::options::{Options, Shape};
use crate::ledger::audit::{Audit, Tally};
use crate::ledger::book::Ledger;
use crate::ledger::outcome::Class;
use crate::ledger::times::{Latency, Outage, Requests, latency, outages, requests};
use crate::world::World;

/// What a drill has shown.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The drill.
    pub drill: String,
    /// Whether everything was as clients were told, and every step could be done.
    pub passed: bool,
    /// The step that could not be done, and why.
    pub failed: Option<String>,
    /// What it ran on.
    pub shape: Shape,
    /// Whether a persister lied.
    pub liar: bool,
    /// The seed that gives the same choices again. The moments of kills among the work of other
    /// processes are never quite the same.
    pub seed: u64,
    /// Rounds that were run.
    pub rounds: u32,
    /// Rounds that were asked for.
    pub rounds_asked: u32,
    /// All audits together.
    pub audit: Audit,
    /// How long acknowledged writes took.
    pub durable: Latency,
    /// What all writers together had to bear.
    pub requests: Requests,
    /// What each writer had to bear.
    pub writers: Vec<Outage>,
    /// When the warden changed the number of members, and to what; the first thousand times.
    pub members: Vec<Members>,
    /// The longest that the cluster took to be back, in seconds.
    pub longest_back_s: f64,
    /// How long the drill took, in seconds.
    pub took_s: f64,
    /// Whether the disks were memory, where an fsync is nothing.
    pub in_memory: bool,
    /// Where everything is, if it was kept.
    pub kept: Option<PathBuf>,
    /// The steps, with what they were done to; the first thousand.
    pub story: Vec<Event>,
    /// How many steps are not told.
    pub story_untold: usize,
    /// When which servers were down or halted; the first thousand times.
    pub down: Vec<Down>,
}

/// A step that was done.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// When it began, in seconds since the drill's beginning.
    pub at_s: f64,
    /// The step, and the machines that it was done to.
    pub says: String,
}

/// A time in which a machine was down or halted, because a step said so.
#[derive(Clone, Debug, Serialize)]
pub struct Down {
    /// The machine.
    pub machine: String,
    /// Since when, in seconds since the drill's beginning.
    pub from_s: f64,
    /// Until when; none: until the end.
    pub to_s: Option<f64>,
}

/// A change of the number of members.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Members {
    /// When, in seconds since the drill's beginning.
    pub at_s: f64,
    /// How many there were from then on.
    pub members: usize,
}

/// How many steps, and times, a report tells.
const TOLD: usize = 1_000;

/// How many changes of members are told in words.
const FEW: usize = 6;

impl Report {
    pub(super) fn new(
        drill: &str,
        shape: Shape,
        rounds: u32,
        options: &Options,
        world: &World,
    ) -> Self {
        Self {
            liar: options.liar,
            seed: options.seed,
            rounds_asked: rounds,
            in_memory: world.is_in_memory(),
            kept: options.keep.as_ref().map(|_| world.directory().to_owned()),
            ..Self::empty(drill, shape)
        }
    }

    /// Of a drill that has not begun.
    pub(super) fn empty(drill: &str, shape: Shape) -> Self {
        Self {
            drill: drill.to_owned(),
            passed: false,
            failed: None,
            shape,
            liar: false,
            seed: 0,
            rounds: 0,
            rounds_asked: 0,
            audit: Audit::default(),
            durable: Latency::default(),
            requests: Requests::default(),
            writers: Vec::new(),
            members: Vec::new(),
            longest_back_s: 0.0,
            took_s: 0.0,
            in_memory: false,
            kept: None,
            story: Vec::new(),
            story_untold: 0,
            down: Vec::new(),
        }
    }

    /// A step begins.
    pub(super) fn tell(&mut self, at: Duration, says: String) {
        match self.story.len() < TOLD {
            true => self.story.push(Event {
                at_s: at.as_secs_f64(),
                says,
            }),
            false => self.story_untold += 1,
        }
    }

    pub(super) fn goes_down(&mut self, machine: &str, at: Duration) {
        if self.down.len() < TOLD && !self.down.iter().any(|down| down.lasts(machine)) {
            self.down.push(Down {
                machine: machine.to_owned(),
                from_s: at.as_secs_f64(),
                to_s: None,
            });
        }
    }

    pub(super) fn comes_back(&mut self, machine: &str, at: Duration) {
        if let Some(down) = self.down.iter_mut().find(|down| down.lasts(machine)) {
            down.to_s = Some(at.as_secs_f64());
        }
    }

    pub(super) fn has_members(&mut self, members: usize, at: Duration) {
        let at_s = at.as_secs_f64();
        if self.members.len() < TOLD {
            self.members.push(Members { at_s, members });
        }
    }

    pub(super) fn audited(&mut self, back: Duration, audit: Audit) {
        self.longest_back_s = self.longest_back_s.max(back.as_secs_f64());
        self.audit.add(audit);
    }

    pub(super) fn finish(&mut self, ledger: &Ledger, took: Duration) {
        // A drill that saw no acknowledged write has shown nothing.
        self.passed = self.failed.is_none()
            && self.audit.passed()
            && self.audit.durable.writes > 0
            && self.rounds == self.rounds_asked;
        self.durable = latency(ledger.points(), Class::Durable);
        let last = ledger
            .points()
            .last()
            .map_or(Duration::ZERO, |point| point.at);
        self.writers = outages(ledger.points(), last);
        self.requests = requests(&self.writers);
        self.took_s = took.as_secs_f64();
    }
}

impl Report {
    /// When the number of members changed, in words; the first few times.
    pub(super) fn changes(&self) -> String {
        let few = self.members.iter().take(FEW);
        let mut says: Vec<String> = few
            .map(|it| format!("{} at {:.1} s", it.members, it.at_s))
            .collect();
        if let more @ 1.. = self.members.len().saturating_sub(FEW) {
            says.push(format!("and {more} changes more"));
        }
        says.join(", ")
    }
}

impl Down {
    fn lasts(&self, machine: &str) -> bool {
        self.to_s.is_none() && self.machine == machine
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed { "PASSED" } else { "FAILED" };
        let Self {
            drill,
            rounds,
            rounds_asked,
            took_s,
            seed,
            audit,
            ..
        } = self;
        writeln!(
            f,
            "{drill}: {verdict} ({rounds} of {rounds_asked} rounds, {took_s:.1} s, --seed {seed})"
        )?;
        if let Some(failed) = &self.failed {
            writeln!(f, "  {failed}")?;
        }
        for (told, tally, must) in audit.rows() {
            let Tally { writes, there } = tally;
            writeln!(
                f,
                "  {told:<26} {writes:>7} writes {there:>7} there {:>5} gone  {must}",
                tally.gone()
            )?;
        }
        let Latency {
            p50_ms,
            p99_ms,
            max_ms,
            ..
        } = self.durable;
        writeln!(
            f,
            "  acknowledged after         p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, longest {max_ms:.1} ms"
        )?;
        let Requests {
            writes,
            failed,
            failed_fraction,
            longest_wait_s,
            longest_outage_s,
        } = self.requests;
        let percent = failed_fraction * 100.0;
        writeln!(
            f,
            "  failed requests            {failed} of {writes} ({percent:.2} %); longest wait \
             {longest_wait_s:.1} s"
        )?;
        let back = self.longest_back_s;
        writeln!(
            f,
            "  longest outage             {longest_outage_s:.1} s for a writer; servers back after \
             at most {back:.1} s"
        )?;
        if !self.members.is_empty() {
            writeln!(f, "  members                    {}", self.changes())?;
        }
        if self.in_memory {
            writeln!(
                f,
                "  note: the disks of this drill are in memory, where an fsync is nothing"
            )?;
        }
        if let Some(kept) = &self.kept {
            writeln!(f, "  kept in {}", kept.display())?;
        }
        for fault in &audit.told {
            writeln!(f, "  {}: {}", fault.key, fault.says)?;
        }
        let untold = audit.faults.saturating_sub(audit.told.len() as u64);
        if untold > 0 {
            writeln!(f, "  and {untold} keys more")?;
        }
        Ok(())
    }
}
