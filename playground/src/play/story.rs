//! All of a playground in one sentence: the first rule that holds. Pure.

use crate::play::loss::Lost;
use crate::told::feed::Tone;
use crate::told::state::{Doing, Story};

/// What the story is made of.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts<'a> {
    /// The keys are being brought back.
    pub(super) restoring: bool,
    /// What was lost, and not brought back yet.
    pub(super) lost: Option<Lost>,
    /// By id.
    pub(super) nodes: Vec<(&'a str, Doing)>,
    /// By id.
    pub(super) persisters: Vec<(&'a str, Doing)>,
}

pub(super) fn story(facts: &Facts<'_>) -> Story {
    let (tone, says) = tell(facts);
    Story { tone, says }
}

fn tell(facts: &Facts<'_>) -> (Tone, String) {
    let Facts {
        nodes, persisters, ..
    } = facts;
    let not_well = |of: &[(&str, Doing)]| -> Vec<(String, Doing)> {
        let away = of.iter().filter(|(_, doing)| !doing.is_well());
        away.map(|(id, doing)| ((*id).to_owned(), *doing)).collect()
    };
    let (nodes_away, persisters_away) = (not_well(nodes), not_well(persisters));
    if facts.restoring {
        return (
            Tone::Past,
            "Restoring. The keys come back from the journals.".to_owned(),
        );
    }
    match facts.lost {
        Some(Lost::Power) => {
            let says = "The power is off: every process was killed. The disks have the journals. \
                        Press Restore.";
            return (Tone::Bad, says.to_owned());
        }
        Some(Lost::Everything) => {
            let says = "Everything is lost: no node has a key. The disks have the journals. Press \
                        Restore.";
            return (Tone::Bad, says.to_owned());
        }
        None => {}
    }
    let starting = |of: &[(String, Doing)]| of.iter().all(|(_, it)| *it == Doing::Starting);
    if !nodes_away.is_empty() && nodes_away.len() * 2 >= nodes.len() {
        // One that runs and has no leader waits for those that are gone.
        let mut gone = nodes_away.clone();
        gone.retain(|(_, doing)| *doing != Doing::Starting);
        let says = match gone.as_slice() {
            [] => format!("Starting {}.", counted(nodes.len(), "node")),
            gone => format!(
                "{} of {} {}: no majority. Writes wait and fail; what nodes still tell may be old.",
                gone.len(),
                counted(nodes.len(), "node"),
                is_away(gone),
            ),
        };
        let tone = if starting(&nodes_away) {
            Tone::Warn
        } else {
            Tone::Bad
        };
        return (tone, says);
    }
    if !persisters_away.is_empty() {
        if starting(&persisters_away) {
            let says = format!("Starting {}.", counted(persisters_away.len(), "persister"));
            return (Tone::Warn, says);
        }
        let names = names(&persisters_away);
        let left = persisters.len() - persisters_away.len();
        let rest = match left {
            0 => "No disk takes anything: a write is in effect, and nobody confirms it.".to_owned(),
            left => format!(
                "A write that waits for every disk is not confirmed; {} still {} everything.",
                counted(left, "disk"),
                if left == 1 { "takes" } else { "take" }
            ),
        };
        return (Tone::Warn, format!("{names}. {rest}"));
    }
    if !nodes_away.is_empty() {
        let says = format!("{}. The others have a majority.", names(&nodes_away));
        return (Tone::Warn, says);
    }
    let says = format!(
        "All is well. Everything that was acknowledged is on {}.",
        counted(persisters.len(), "disk")
    );
    (Tone::Ok, says)
}

/// `p1 is paused, p2 is down`.
fn names(away: &[(String, Doing)]) -> String {
    let each = away.iter().map(|(id, doing)| {
        let is = match doing {
            Doing::Starting => "is starting",
            Doing::Rejoining => "is new, joins and copies the state",
            Doing::Behind => "is behind",
            Doing::Paused => "is paused",
            Doing::Wiped => "is wiped",
            Doing::Restoring => "is restoring",
            Doing::Ended => "has ended",
            _ => "is down",
        };
        format!("{id} {is}")
    });
    each.collect::<Vec<_>>().join(", ")
}

fn is_away(away: &[(String, Doing)]) -> &'static str {
    let all = |is: Doing| away.iter().all(|(_, doing)| *doing == is);
    match (away.len(), all(Doing::Paused), all(Doing::Down)) {
        (1, true, _) => "is paused",
        (_, true, _) => "are paused",
        (1, _, true) => "is down",
        (_, _, true) => "are down",
        (1, ..) => "is away",
        _ => "are away",
    }
}

/// `1 disk`, `2 disks`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::Doing::{Behind, Down, Follower, Following, Leader, Paused, Serving, Starting};
    use super::*;

    fn says(
        nodes: &[(&'static str, Doing)],
        persisters: &[(&'static str, Doing)],
    ) -> (Tone, String) {
        tell(&Facts {
            nodes: nodes.to_vec(),
            persisters: persisters.to_vec(),
            ..Facts::default()
        })
    }

    #[test]
    fn the_first_rule_that_holds_tells_the_story() {
        let well = [("p1", Following), ("p2", Following)];
        let (tone, text) = says(&[("n1", Serving)], &well);
        assert_eq!(
            (tone, text.as_str()),
            (
                Tone::Ok,
                "All is well. Everything that was acknowledged is on 2 disks."
            )
        );
        let (tone, text) = says(&[("n1", Serving)], &[("p1", Following), ("p2", Paused)]);
        assert_eq!(tone, Tone::Warn);
        assert_eq!(
            text,
            "p2 is paused. A write that waits for every disk is not confirmed; 1 disk still takes \
             everything."
        );
        let (_, text) = says(&[("n1", Serving)], &[("p1", Down), ("p2", Behind)]);
        assert!(
            text.starts_with("p1 is down, p2 is behind. No disk takes"),
            "{text}"
        );
        let three = |a, b, c| [("n1", a), ("n2", b), ("n3", c)];
        let (tone, text) = says(&three(Leader, Follower, Down), &well);
        assert_eq!(tone, Tone::Warn);
        assert_eq!(text, "n3 is down. The others have a majority.");
        let (tone, text) = says(&three(Down, Follower, Down), &well);
        assert_eq!(tone, Tone::Bad);
        assert!(
            text.starts_with("2 of 3 nodes are down: no majority."),
            "{text}"
        );
        let (_, leaderless) = says(&three(Down, Starting, Down), &well);
        assert_eq!(leaderless, text);
        let (_, text) = says(&[("n1", Paused)], &well);
        assert!(
            text.starts_with("1 of 1 node is paused: no majority"),
            "{text}"
        );
        let (tone, text) = says(&[("n1", Starting)], &[("p1", Starting)]);
        assert_eq!((tone, text.as_str()), (Tone::Warn, "Starting 1 node."));
    }

    #[test]
    fn a_loss_is_told_before_what_is_down_and_a_restore_before_the_loss() {
        let down = Facts {
            nodes: vec![("n1", Down)],
            persisters: vec![("p1", Down)],
            lost: Some(Lost::Everything),
            ..Facts::default()
        };
        assert!(tell(&down).1.starts_with("Everything is lost"));
        let power = Facts {
            lost: Some(Lost::Power),
            ..down.clone()
        };
        assert!(tell(&power).1.starts_with("The power is off"));
        let restoring = Facts {
            restoring: true,
            ..down
        };
        assert_eq!(tell(&restoring).0, Tone::Past);
    }
}
