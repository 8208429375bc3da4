//! Where the new journal begins.

use crate::{
    checkpoint::{file::Checkpoint, verified::VerifiedCheckpoints},
    model::ids::{Revision, Sequence},
    repair::{catalog::Catalog, plan::decided::Start},
};

/// Where the new journal begins: with the first record, or with what a checkpoint covers.
pub(crate) fn start(catalog: &Catalog, checkpoints: &VerifiedCheckpoints) -> Start {
    let oldest = &catalog.files[0].0;
    let at_checkpoint = |checkpoint: &Checkpoint, first| Start {
        first,
        covered: checkpoint.revision(),
        timeline: checkpoint.header.timeline.clone(),
        open_gap: checkpoint.header.open_gap,
        unhealed: None,
    };
    let nothing = Start {
        first: Sequence(1),
        covered: Revision::NONE,
        timeline: None,
        open_gap: None,
        unhealed: None,
    };
    if oldest.first == Sequence(1) {
        return nothing;
    }
    let before = checkpoints.before(oldest.first);
    if !checkpoints.covers(oldest.first) {
        return before.map_or(nothing, |c| at_checkpoint(c, c.sequence().next()));
    }
    match &oldest.header {
        Ok(header) => Start {
            first: oldest.first,
            covered: header.covered,
            timeline: header.context.timeline.clone(),
            open_gap: header.context.open_gap,
            unhealed: header.context.unhealed,
        },
        Err(_) => {
            let first = catalog.items.iter().find(|item| item.first >= oldest.first);
            let covered = first.map_or(Revision::NONE, |item| item.after);
            let known = before.or(checkpoints.sound.first());
            let known = known.map(|c| at_checkpoint(c, oldest.first));
            Start {
                covered,
                first: oldest.first,
                ..known.unwrap_or(nothing)
            }
        }
    }
}
