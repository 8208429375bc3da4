//! A repair from its beginning to its end.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    checkpoint::verified::VerifiedCheckpoints,
    directory::{handle::Directory, listing::Listing, lock::take_lock},
    error::{Error, Result},
    format::{
        layout::SegmentHeader,
        names::{NEXT, segment_name},
    },
    model::ids::{Revision, Sequence},
    recovery::leftovers::remove_temporary,
    repair::{
        catalog::Catalog,
        donor::Donor,
        found::{self, Found},
        lineage::Lineage,
        plan::sweep,
        report::{Damage, RepairReport},
        start::start,
        swap,
        told::{Teller, damage},
        watch::{RepairPhase, RepairProgress, Watch},
        write::{Sources, Written, write},
    },
    segment::{create::sync_dir, scan},
    stop::Stop,
    storage::{
        file_handle::FileHandle,
        traits::{Access, Lock, SharedStorage, Storage},
    },
};

/// Repairs the journal in `dir`, which nobody may have open for writing. Does nothing to a journal
/// that is whole. A torn tail is no damage: it is left to the next opening, unless a donor has what
/// lies behind the tear.
///
/// # Errors
/// As [`Repair::run`].
pub fn repair(dir: &Path) -> Result<RepairReport> {
    Repair::of(Directory::at(dir)).run()
}

/// A repair that is about to be run.
pub struct Repair<'a> {
    directory: Directory,
    donors: &'a mut [Box<dyn Donor>],
    into: Option<PathBuf>,
    tell: Option<&'a mut dyn FnMut(RepairProgress)>,
    stop: Stop,
}

impl std::fmt::Debug for Repair<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repair")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl<'a> Repair<'a> {
    /// Of the journal in this directory, with nobody's help.
    #[must_use]
    pub fn of(directory: Directory) -> Self {
        Self {
            directory,
            donors: &mut [],
            into: None,
            tell: None,
            stop: Stop::new(),
        }
    }

    /// Puts what donors still know into the place of what is lost, among it what an earlier repair
    /// had to leave out, and what they know beyond the journal's end. The first donor is asked
    /// first.
    #[must_use]
    pub fn with(mut self, donors: &'a mut [Box<dyn Donor>]) -> Self {
        self.donors = donors;
        self
    }

    /// Writes the new journal into this directory, which holds nothing, and leaves the damaged one
    /// as it is: for a file system that has no room for both.
    #[must_use]
    pub fn into_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.into = Some(dir.into());
        self
    }

    /// Tells now and then how far it is.
    #[must_use]
    pub fn telling(mut self, tell: &'a mut dyn FnMut(RepairProgress)) -> Self {
        self.tell = Some(tell);
        self
    }

    /// Ends with [`Error::Stopped`] soon after `stop` has been asked; then nothing is changed.
    #[must_use]
    pub fn unless(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    /// Repairs.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if nothing can be salvaged; [`Error::NoRoom`]; [`Error::Locked`]; the
    /// disk's, and a donor's. After an error everything is as it was, or the repair is run again.
    pub fn run(self) -> Result<RepairReport> {
        let storage = self.directory.shared().clone();
        let dir = self.directory.path().to_owned();
        let found = Listing::read_damaged(&*storage, &dir)?;
        let resumed = swap::is_under_way(&found);
        if found.segments.is_empty() && found.misnamed.is_empty() && !resumed {
            return Err(found.not_a_journal(&dir));
        }
        let lock = Arc::new(take_lock(&*storage, &dir)?);
        let mut job = Job {
            storage,
            dir,
            lock,
            donors: self.donors,
            into: self.into,
            watch: Watch::new(self.tell, self.stop),
            report: RepairReport {
                resumed,
                ..RepairReport::default()
            },
        };
        job.run()?;
        Ok(job.report)
    }
}

struct Job<'a> {
    storage: SharedStorage,
    dir: PathBuf,
    lock: Arc<Box<dyn Lock>>,
    donors: &'a mut [Box<dyn Donor>],
    into: Option<PathBuf>,
    watch: Watch<'a>,
    report: RepairReport,
}

impl Job<'_> {
    fn run(&mut self) -> Result<()> {
        let mut lineage = Lineage::default();
        // Donors that cannot be read are found out before anything is changed.
        let mut turns = Vec::new();
        for donor in self.donors.iter_mut() {
            turns.extend(donor.turns()?);
        }
        if self.report.resumed {
            swap::finish(&*self.storage, &self.dir)?;
        } else {
            swap::discard(&*self.storage, &self.dir)?;
        }
        let listing = self.clear()?;
        let mut files = Found::all(&*self.storage, &listing)?;
        let Some(uuid) = found::identity(&*self.storage, &mut files)? else {
            return Err(Error::Corrupt {
                path: files[0].path.clone(),
                offset: 0,
                sequence: files[0].first,
                revision: Revision::NONE,
                detail:
                    "no segment header is readable and no record verifies: nothing can be salvaged"
                        .to_owned(),
            });
        };
        let checkpoints = VerifiedCheckpoints::read(&*self.storage, &listing, uuid)?;
        let bytes = self.bytes(listing.segments.values());
        self.watch.begin(RepairPhase::Reading, bytes);
        let sound = &checkpoints.sound;
        let catalog = Catalog::read(&*self.storage, files, uuid, sound, &mut self.watch)?;
        for turn in catalog.turns.iter().cloned().chain(turns) {
            lineage.learn(turn);
        }
        let start = start(&catalog, &checkpoints);
        let items = &catalog.items;
        let mut plan = sweep::plan(items, &start, sound, &lineage, self.donors)?;
        let (mut complaint, end) = self.complaint()?;
        if complaint.is_none() && !plan.fills {
            // Nobody was told of what lies behind a torn tail, unless another journal has it too.
            let opens = items.partition_point(|item| item.first <= end);
            let behind = items.len() - opens;
            plan.fills = behind > 0
                && sweep::plan(&items[..opens], &start, sound, &lineage, self.donors)?.fills;
        }
        if complaint.is_none() && start.first != catalog.files[0].0.first {
            // A damaged checkpoint that history begins with looks sound until all of it is read.
            complaint = checkpoints.damaged.first().cloned();
        }
        let aside = match complaint.is_some() || !checkpoints.damaged.is_empty() || plan.fills {
            true if self.into.is_none() => Some(swap::aside(&*self.storage, &self.dir)?),
            _ => None,
        };
        let teller = Teller {
            storage: &*self.storage,
            dir: &self.dir,
            catalog: &catalog,
            aside: aside.as_deref(),
        };
        self.report.damaged.extend(teller.checkpoints(&checkpoints));
        if complaint.is_none() && !plan.fills {
            // Only checkpoints are damaged, and what they cover is there.
            for damage in &self.report.damaged {
                if let Some(aside) = damage.kept.as_deref().and_then(Path::parent)
                    && damage.is_checkpoint()
                {
                    swap::move_aside(&*self.storage, &damage.file, aside)?;
                }
            }
            self.report.kept_records += catalog.records();
            return Ok(());
        }
        let complaint = complaint.filter(|_| self.report.damaged.is_empty());
        self.report.damaged.extend(teller.losses(&plan, complaint)?);
        for lacking in &plan.lacking {
            let file = sound[*lacking].path().to_owned();
            let detail = "it was made when something had been lost that is there again";
            let damage = damage(file, aside.as_deref(), detail.to_owned());
            self.report.damaged.push(damage);
        }
        let needed = bytes + self.bytes(listing.checkpoints.values());
        let sources = Sources {
            catalog: &catalog,
            start: &start,
            checkpoints: sound,
            donors: self.donors,
        };
        let target = match &self.into {
            Some(into) => vacant(&*self.storage, into)?,
            None => swap::make_room(&*self.storage, &self.dir)?,
        };
        let written = write(
            &self.storage,
            &target,
            &self.lock,
            &plan,
            sources,
            &mut self.watch,
        );
        let Written { records, filled } = match written {
            Ok(written) => written,
            Err(error) => {
                // What there is of it takes room, perhaps the room that was lacking.
                if self.into.is_none() {
                    let _ = swap::discard(&*self.storage, &self.dir);
                }
                return Err(no_room(error, target, needed));
            }
        };
        self.report.kept_records = records;
        self.report.filled = filled;
        match aside {
            Some(aside) => swap::commit(&*self.storage, &self.dir, &aside),
            None => sync_dir(&*self.storage, &target),
        }
    }

    /// Removes what is of no value, and gives files their names back.
    fn clear(&mut self) -> Result<Listing> {
        let storage = self.storage.clone();
        let listing = Listing::read_damaged(&*storage, &self.dir)?;
        if let Some((kept, _)) = remove_temporary(&*storage, &self.dir, &listing)? {
            self.report.damaged.push(Damage {
                kept: Some(kept),
                ..damage(
                    self.dir.join(NEXT),
                    None,
                    "it has no sound header, and is not empty".to_owned(),
                )
            });
        }
        let mut files = Found::all(&*storage, &listing)?;
        let uuid = found::identity(&*storage, &mut files)?;
        let mut segments = listing.segments.clone();
        let wrong = files.iter().filter(|f| f.header.is_err());
        let wrong = wrong.map(|f| (f.path.clone(), false));
        let misnamed = listing.misnamed.iter().map(|path| (path.clone(), true));
        let mut changed = !listing.temporary.is_empty();
        for (path, misnamed) in misnamed.chain(wrong).collect::<Vec<_>>() {
            let own = claimed(&*storage, &path)?.filter(|h| uuid.is_none_or(|uuid| uuid == h.uuid));
            let own = own.map(|header| header.first);
            if let Some(first) = own.filter(|first| !segments.contains_key(first)) {
                let own = self.dir.join(segment_name(first));
                let renamed = storage.rename(&path, &own);
                renamed.map_err(|e| Error::io(own.as_path(), "rename a misnamed segment to", e))?;
                sync_dir(&*storage, &self.dir)?;
                segments.insert(first, own);
                let detail = format!(
                    "by its header it is {}, and has that name now",
                    segment_name(first)
                );
                self.report.damaged.push(damage(path, None, detail));
            } else if misnamed {
                let aside = swap::aside(&*storage, &self.dir)?;
                let kept = swap::move_aside(&*storage, &path, &aside)?;
                let detail = "its name is not that of a journal's file".to_owned();
                self.report.damaged.push(Damage {
                    kept: Some(kept),
                    ..damage(path, None, detail)
                });
            } else {
                continue;
            }
            changed = true;
        }
        let listing = match changed {
            true => Listing::read_damaged(&*storage, &self.dir)?,
            false => listing,
        };
        if listing.segments.is_empty() {
            return Err(listing.not_a_journal(&self.dir));
        }
        Ok(listing)
    }

    /// What is wrong with the journal, if anything is: it cannot be opened then. And the last
    /// record that can be read until there.
    fn complaint(&self) -> Result<(Option<Error>, Sequence)> {
        let mut end = Sequence(0);
        let mut read = || {
            let reader = Directory::on(self.storage.clone(), &self.dir).reader()?;
            let mut records = reader.records();
            while let Some(record) = records.next_ref() {
                end = record?.sequence;
                self.watch.stop().check()?;
            }
            Ok(())
        };
        match read() {
            Ok(()) => Ok((None, end)),
            Err(
                error @ (Error::Corrupt { .. }
                | Error::ForeignFile { .. }
                | Error::CheckpointDamaged { .. }),
            ) => Ok((Some(error), end)),
            Err(other) => Err(other),
        }
    }

    fn bytes<'p>(&self, paths: impl Iterator<Item = &'p PathBuf>) -> u64 {
        let length = |path: &PathBuf| FileHandle::open(&*self.storage, path, Access::Read)?.len();
        paths.filter_map(|path| length(path).ok()).sum()
    }
}

/// The directory, which holds nothing of anybody's.
fn vacant(storage: &dyn Storage, dir: &Path) -> Result<PathBuf> {
    let created = storage.create_dir(dir);
    created.map_err(|e| Error::io(dir, "create the directory", e))?;
    let listing = Listing::read(storage, dir)?;
    if !listing.is_vacant() {
        return Err(Error::NotAJournal {
            path: dir.to_owned(),
            detail: "it is not empty: a journal is repaired into an empty directory".to_owned(),
        });
    }
    Ok(dir.to_owned())
}

/// A full disk is told of with what it takes.
fn no_room(error: Error, path: PathBuf, needed: u64) -> Error {
    let mut cause = &error;
    while let Error::Poisoned { cause: by, .. } = cause {
        cause = by;
    }
    match cause {
        Error::Io { source, .. }
            if matches!(
                source.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded
            ) =>
        {
            Error::NoRoom { path, needed }
        }
        _ => error,
    }
}

/// The header of a file, if it is sound, whatever the file is called.
fn claimed(storage: &dyn Storage, path: &Path) -> Result<Option<SegmentHeader>> {
    let Ok(file) = FileHandle::open(storage, path, Access::Read) else {
        return Ok(None);
    };
    Ok(scan::decode_header(&file)?.0.ok())
}
