//! Where the damage is that a plan found, in words for people.

use std::path::{Path, PathBuf};

use crate::{
    checkpoint::verified::VerifiedCheckpoints,
    error::{Error, Result},
    format::{layout::SEGMENT_HEADER_BYTES, names::segment_name},
    model::ids::Sequence,
    repair::{
        catalog::{Catalog, What},
        plan::decided::{Loss, Plan},
        report::Damage,
    },
    segment::{scan, window::unreadable_detail},
    storage::traits::Storage,
};

/// What is known to whoever tells.
pub(crate) struct Teller<'a> {
    pub(crate) storage: &'a dyn Storage,
    pub(crate) dir: &'a Path,
    pub(crate) catalog: &'a Catalog,
    /// Where the originals of damaged files are going to be.
    pub(crate) aside: Option<&'a Path>,
}

impl Teller<'_> {
    /// What is wrong with checkpoints.
    pub(crate) fn checkpoints(&self, checkpoints: &VerifiedCheckpoints) -> Vec<Damage> {
        let damaged = checkpoints.damaged.iter().map(|error| {
            let (path, offset, detail) = match error {
                Error::CheckpointDamaged {
                    path,
                    offset,
                    detail,
                    ..
                } => (path.clone(), *offset, detail.clone()),
                Error::ForeignFile { path, detail } => (path.clone(), 0, detail.clone()),
                other => (self.dir.to_owned(), 0, other.to_string()),
            };
            Damage {
                offset,
                ..damage(path, self.aside, detail)
            }
        });
        damaged.collect()
    }

    /// What is wrong with segments. `complaint`: what is wrong with the journal, if that is all
    /// that is known.
    pub(crate) fn losses(&self, plan: &Plan, complaint: Option<Error>) -> Result<Vec<Damage>> {
        let (catalog, aside) = (self.catalog, self.aside);
        let (mut damaged, mut told) = (Vec::new(), Vec::new());
        for loss in &plan.losses {
            let (file, at) = self.place(loss)?;
            told.extend(file);
            damaged.push(Damage {
                lost: loss.sequences.filter(|_| !loss.made_good),
                revisions: loss.span.map(|span| (span.first, span.last)),
                exact: loss.exact,
                ..at
            });
        }
        for (i, (file, _)) in catalog.files.iter().enumerate() {
            if let Err(detail) = &file.header
                && !told.contains(&i)
            {
                let damage = damage(file.path.clone(), aside, detail.clone());
                damaged.push(damage);
            }
        }
        if let Some(Error::Corrupt {
            path,
            offset,
            detail,
            ..
        }) = complaint
            && damaged.is_empty()
        {
            damaged.push(Damage {
                offset,
                ..damage(path, aside, detail)
            });
        }
        Ok(damaged)
    }

    /// Where a hole is, and what is wrong there.
    fn place(&self, loss: &Loss) -> Result<(Option<usize>, Damage)> {
        let (catalog, aside) = (self.catalog, self.aside);
        let items = &catalog.items;
        let missing = loss.sequences.map(|(first, _)| first);
        if let Some(item) = items.get(loss.before)
            && let Some(missing) = missing
        {
            if let What::Checkpoint(_) = item.what {
                let path = &catalog.files[item.file].0.path;
                let detail = format!(
                    "the journal ends before it; the checkpoint of revision {} proves that \
                     sequence {} had been acknowledged, and has the state there",
                    item.revision, item.last
                );
                return Ok((None, damage(path.clone(), aside, detail)));
            }
            let header = catalog.files[item.file].0.header.as_ref().ok();
            let before = header.map(|header| header.context.predecessor_first);
            let before = before.filter(|before| *before > Sequence::NONE);
            let is_there = |first| catalog.files.iter().any(|(file, _)| file.first == first);
            let first_file = catalog.files[0].0.first;
            let gone = before.is_some_and(|before| before <= missing && !is_there(before));
            if gone || missing < first_file {
                let name = segment_name(before.filter(|_| gone).unwrap_or(missing));
                let detail = "the segment is missing".to_owned();
                return Ok((None, damage(self.dir.join(name), None, detail)));
            }
        }
        let before = items[..loss.before.min(items.len())].iter().rev();
        let mut before = before.filter(|item| missing.is_none_or(|missing| item.last < missing));
        let (file, offset) = match before.next() {
            Some(item) => (item.file, item.to),
            None => (0, SEGMENT_HEADER_BYTES as u64),
        };
        let (found, _) = &catalog.files[file];
        // A record of which only the header is left is the first that is lost.
        let detail = match (&found.header, catalog.open(self.storage, file)?) {
            (Err(detail), _) => detail.clone(),
            (Ok(_), None) => "no record in it verifies".to_owned(),
            (Ok(_), Some((mut source, seed))) => match scan::look(&mut source, seed, offset)? {
                Err(stop) => source
                    .unreadable()
                    .map_or_else(|| stop.detail(), unreadable_detail),
                Ok(_) => "records are missing behind it".to_owned(),
            },
        };
        let at = Damage {
            offset,
            ..damage(found.path.clone(), aside, detail)
        };
        Ok((Some(file), at))
    }
}

/// Something wrong with a file, of which the original is going to be kept in `aside`.
pub(crate) fn damage(file: PathBuf, aside: Option<&Path>, detail: String) -> Damage {
    Damage {
        kept: aside
            .zip(file.file_name())
            .map(|(dir, name)| dir.join(name)),
        file,
        offset: 0,
        lost: None,
        revisions: None,
        exact: true,
        detail,
    }
}
