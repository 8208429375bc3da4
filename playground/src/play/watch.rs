//! Looks at everything four times a second while a page is open, and tells what it sees.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::time::MissedTickBehavior;

use crate::play::inner::{Play, lock};
use crate::play::looks::{NodeLook, look_at_persister};
use crate::play::target::Target;
use crate::told::feed::{Kind, Tone};
use crate::told::time::now;
use crate::world::decide::Condition;

/// How often it looks, and how often a page is told at most.
const EVERY: Duration = Duration::from_millis(250);

/// How often a page is told even if nothing has changed.
const AT_LEAST: Duration = Duration::from_secs(5);

/// Watches for ever.
pub(super) async fn watch(play: Play) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = None;
    loop {
        ticks.tick().await;
        play.0.clients.latency.roll(now(), play.something_is_down());
        play.note_loss();
        // Nobody looks: then nodes and persisters are not asked, and nothing is made for nobody.
        if play.0.shown.states.receiver_count() == 0 {
            continue;
        }
        play.look().await;
        play.note_agreement().await;
        play.0.past.advance().await;
        let Ok(state) = serde_json::to_string(&play.snapshot()) else {
            continue;
        };
        let is_due = told.is_none_or(|told: Instant| told.elapsed() >= AT_LEAST);
        let changed = play.0.shown.states.send_if_modified(|known| {
            let changes = is_due || **known != *state;
            if changes {
                *known = Arc::from(state);
            }
            changes
        });
        if changed {
            told = Some(Instant::now());
        }
    }
}

impl Play {
    /// Asks every node and persister that runs.
    pub(super) async fn look(&self) {
        let nodes = self.0.nodes.iter().zip(&self.0.eyes);
        let nodes = nodes.map(|(target, eye)| async move {
            let last = target.noted().node;
            let look = match target.condition() {
                Condition::Up => eye.look(last).await,
                // It cannot answer, and is not asked.
                Condition::Halted => last.without_answer(),
                Condition::Down => NodeLook::default(),
            };
            target.note(|noted| noted.node = look);
        });
        let persisters = self.0.persisters.iter().map(|target: &Target| async move {
            if target.condition() != Condition::Up {
                return;
            }
            let last = target.noted().persister;
            let look = look_at_persister(&target.address.address(), last).await;
            target.note(|noted| noted.persister = look);
        });
        tokio::join!(join_all(nodes), join_all(persisters));
        self.note_leader();
    }

    /// Tells of another leader than before.
    fn note_leader(&self) {
        let leads = self.0.nodes.iter().find(|node| node.noted().node.leads());
        let Some(leads) = leads else { return };
        let before = lock(&self.0.leader).replace(leads.id.clone());
        if before.as_ref() == Some(&leads.id) {
            return;
        }
        let says = match before {
            Some(before) => format!("{} leads, after {before}", leads.id),
            None => format!("{} leads", leads.id),
        };
        self.0.past.mark("leader", says.clone());
        self.feed().tell(Kind::Node, Tone::Plain, says, None);
    }

    fn something_is_down(&self) -> bool {
        self.targets()
            .any(|target| target.condition() != Condition::Up)
    }
}
