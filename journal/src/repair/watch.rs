//! Who is told how far a repair is, and may ask it to end.

use crate::{error::Result, stop::Stop};

/// What a repair is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepairPhase {
    /// Looks at every record that verifies.
    Reading,
    /// Writes the new journal.
    Writing,
    /// Reads the new journal back.
    ReadingBack,
}

/// How far a repair is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairProgress {
    /// What it is doing.
    pub phase: RepairPhase,
    /// How much of it is done, in bytes of records.
    pub done: u64,
    /// How much there is to be done, about.
    pub total: u64,
}

/// How often somebody is told.
const STEP_BYTES: u64 = 4 << 20;

type Tell<'a> = &'a mut dyn FnMut(RepairProgress);

/// Counts what is done.
pub(crate) struct Watch<'a> {
    tell: Option<Tell<'a>>,
    stop: Stop,
    progress: RepairProgress,
    told: u64,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(tell: Option<Tell<'a>>, stop: Stop) -> Self {
        Self {
            tell,
            stop,
            progress: RepairProgress {
                phase: RepairPhase::Reading,
                done: 0,
                total: 0,
            },
            told: 0,
        }
    }

    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    pub(crate) fn begin(&mut self, phase: RepairPhase, total: u64) {
        self.progress = RepairProgress {
            phase,
            done: 0,
            total,
        };
        self.told = 0;
        self.say();
    }

    /// So many bytes more are done. An error if somebody has asked for an early end.
    pub(crate) fn read(&mut self, bytes: u64) -> Result<()> {
        self.stop.check()?;
        self.progress.done += bytes;
        if self.progress.done - self.told >= STEP_BYTES {
            self.told = self.progress.done;
            self.say();
        }
        Ok(())
    }

    fn say(&mut self) {
        if let Some(tell) = &mut self.tell {
            tell(self.progress);
        }
    }
}
