//! Which timelines there were, and how one led to the next.
//!
//! Pure. Each timeline names its parent, so there is one way back from any of them.

use crate::{
    format::position::TimelineTag,
    model::{entry::Timeline, ids::Revision},
};

/// How many timelines may have begun in one hole: as many as an identity names ancestors.
const MAX_TURNS: usize = 8;

/// A timeline that began, as somebody knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The timeline; it names the one before.
    pub to: Timeline,
    /// The revision that it was counted from, where somebody saw it begin.
    pub begun: Option<Revision>,
}

/// All timelines that anybody knows of, each once.
#[derive(Debug, Default)]
pub(crate) struct Lineage {
    turns: Vec<Turn>,
}

impl Lineage {
    /// Takes in a timeline. Where it began, seen from the journal that has its record, is worth
    /// more than only its name.
    pub(crate) fn learn(&mut self, turn: Turn) {
        let known = self.turns.iter_mut().find(|t| t.to.id == turn.to.id);
        match known {
            Some(known) => known.begun = known.begun.or(turn.begun),
            None => self.turns.push(turn),
        }
    }

    /// The timeline with this tag, if exactly one is known.
    pub(crate) fn name(&self, tag: TimelineTag) -> Option<&str> {
        let mut fitting = self.ids().filter(|id| TimelineTag::of(Some(id)) == tag);
        let first = fitting.next()?;
        fitting.all(|other| other == first).then_some(first)
    }

    fn ids(&self) -> impl Iterator<Item = &str> {
        let parents = self.turns.iter().filter_map(|t| parent(&t.to));
        self.turns.iter().map(|t| t.to.id.as_str()).chain(parents)
    }

    /// What is known of this timeline.
    pub(crate) fn turn(&self, id: &str) -> Option<&Turn> {
        self.turns.iter().find(|turn| turn.to.id == id)
    }

    /// The timelines that began between `from` (`None`: there was none) and `to`, oldest first,
    /// `to` the last. `None`: they are not known to follow each other.
    pub(crate) fn path(&self, from: Option<&str>, to: &str) -> Option<Vec<Turn>> {
        let mut path: Vec<Turn> = Vec::new();
        let mut at = Some(to);
        while at != from {
            let Some(turn) = at.and_then(|id| self.turn(id)) else {
                // The first of all may have begun without anybody knowing more than its name.
                return (from.is_none() && !path.is_empty()).then(|| rev(path));
            };
            if path.len() == MAX_TURNS {
                return None;
            }
            path.push(turn.clone());
            at = parent(&turn.to);
        }
        Some(rev(path))
    }

    /// The timeline that went on from this one (`None`: that was the first of all), if there is
    /// exactly one.
    pub(crate) fn only_child(&self, of: Option<&str>) -> Option<&Turn> {
        let is_child = |t: &&Turn| parent(&t.to) == of;
        let mut children = self.turns.iter().filter(is_child);
        let first = children.next()?;
        children.next().is_none().then_some(first)
    }
}

fn rev(mut path: Vec<Turn>) -> Vec<Turn> {
    path.reverse();
    path
}

/// The timeline that this one went on from. Its parent may be told with its own ancestors behind
/// it, each as `id@revision`.
pub(crate) fn parent(timeline: &Timeline) -> Option<&str> {
    let nearest = timeline.parent.as_deref()?.split(' ').next()?;
    Some(nearest.rsplit_once('@').map_or(nearest, |(id, _)| id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ids::Revision, time::Timestamp};

    fn turn(id: &str, parent: Option<&str>) -> Turn {
        Turn {
            to: Timeline {
                id: id.to_owned(),
                parent: parent.map(str::to_owned),
                at: Revision(7),
                kept: true,
                observed_at: Timestamp(0),
            },
            begun: None,
        }
    }

    #[test]
    fn the_way_from_one_timeline_to_another_goes_back_by_parents() {
        let mut lineage = Lineage::default();
        for (id, parent) in [
            ("a", None),
            ("b", Some("a")),
            ("c", Some("b@7 a@3")),
            ("x", Some("a")),
        ] {
            lineage.learn(turn(id, parent));
        }
        let ids = |from, to| {
            let path = lineage.path(from, to)?;
            Some(path.into_iter().map(|t| t.to.id).collect::<Vec<_>>())
        };
        assert_eq!(ids(Some("a"), "c").unwrap(), ["b", "c"]);
        assert_eq!(ids(Some("a"), "a").unwrap(), Vec::<String>::new());
        assert_eq!(ids(None, "b").unwrap(), ["a", "b"]);
        assert_eq!(ids(Some("x"), "c"), None);
        assert_eq!(ids(Some("a"), "unheard of"), None);
        assert_eq!(lineage.only_child(Some("a")), None);
        assert_eq!(lineage.only_child(Some("b")).unwrap().to.id, "c");
    }

    #[test]
    fn a_tag_that_fits_two_names_fits_none() {
        let mut lineage = Lineage::default();
        lineage.learn(turn("0", None));
        let tag = TimelineTag::of(Some("0"));
        assert_eq!(lineage.name(tag), Some("0"));
        let twin = (1..).map(|n: u32| n.to_string());
        let twin = twin
            .filter(|id| TimelineTag::of(Some(id)) == tag)
            .take(1)
            .collect::<String>();
        lineage.learn(turn(&twin, Some("0")));
        assert_eq!(lineage.name(tag), None);
    }
}
