//! Opening the journal, also on a disk that is full.

use cairn_journal::{Journal, Recovery, Retention};

use crate::config::Config;
use crate::error::Error;

/// How many bytes are free before a journal that found no room is opened again.
const BEGINNING: u64 = 4 << 20;

/// Opens the journal. Where even that finds no room, what need not be retained goes first: once
/// open it would go anyway, so a disk that is full must not keep it.
pub(super) fn open(config: &Config) -> Result<Journal, Error> {
    let open = || Journal::open(&config.journal, config.options.clone());
    let opened = match open().map_err(Error::from) {
        Err(error) if error.is_disk_full() => {
            make_room(config, error)?;
            open()?
        }
        other => other?,
    };
    let (journal, recovery) = opened;
    tell(config, &recovery);
    Ok(journal)
}

/// Whether the disk has room for a beginning: a segment that is made ready, and a checkpoint's
/// first blocks. A disk that cannot say is tried.
pub(super) fn has_room(config: &Config) -> bool {
    rustix::fs::statvfs(&config.journal).map_or(true, |disk| {
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        free >= BEGINNING.min(2 * config.options.segment_bytes)
    })
}

/// Removes history that need not be retained; gives `full` back if that makes no room.
fn make_room(config: &Config, full: Error) -> Result<(), Error> {
    let retention = &config.maintenance.retention;
    if *retention == Retention::default() {
        return Err(full);
    }
    match cairn_journal::Directory::at(&config.journal).retire(retention) {
        Ok(report) if report.bytes > 0 => {
            tracing::warn!(
                bytes = report.bytes,
                "no room to open the journal: history that need not be retained was removed first"
            );
            Ok(())
        }
        Ok(_) => Err(full),
        Err(retiring) => {
            tracing::error!(error = %retiring, "nor can history be removed");
            Err(full)
        }
    }
}

fn tell(config: &Config, recovery: &Recovery) {
    tracing::info!(
        journal = %config.journal.display(),
        created = recovery.created,
        valid_to = %recovery.valid_to,
        torn_bytes = recovery.torn_bytes,
        "journal open"
    );
    if let Some(torn) = &recovery.torn_file {
        tracing::warn!(
            "a write was under way at the end of the last run: {} bytes that were never \
             acknowledged are kept in {}",
            recovery.torn_bytes,
            torn.display()
        );
    }
}
