//! A playground from its beginning to its end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;

use crate::play::actions::Whole;
use crate::play::inner::Play;
use crate::play::narrate::narrate;
use crate::play::setup::{Options, make};
use crate::play::watch::watch;
use crate::programs::Programs;
use crate::world::World;

/// How long the end of all processes may take before they are killed.
const END_LIMIT: Duration = Duration::from_secs(3);

/// A playground, with its processes. They end when it is dropped.
#[derive(Debug)]
pub struct Playground {
    play: Play,
    tasks: JoinSet<()>,
    world: World,
}

impl Playground {
    /// Makes the machines and begins to start them. The page can be looked at at once.
    ///
    /// # Errors
    /// A directory that cannot be used, a disk without room, no ports.
    pub fn begin(options: &Options, programs: &Programs) -> Result<Self> {
        let (inner, world) = make(options, programs)?;
        let play = Play(Arc::new(inner));
        let mut tasks = JoinSet::new();
        tasks.spawn(narrate(play.clone(), world.feed().clone()));
        tasks.spawn(watch(play.clone()));
        tasks.spawn(play.clone().generate());
        let turn = play.0.busy.begin(Whole::Start)?;
        let all = play.clone();
        play.spawn(turn, async move { all.start_all().await });
        Ok(Self { play, tasks, world })
    }

    /// What a page is shown, and commands.
    #[must_use]
    pub fn play(&self) -> &Play {
        &self.play
    }

    /// Where everything of this run is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.world.directory()
    }

    /// Whatever is left of it is killed when this future is dropped.
    pub async fn end(mut self) {
        self.play.0.load.set(0);
        self.tasks.shutdown().await;
        // Persisters are asked; what does not end in time is killed as the world is dropped.
        let _ = tokio::time::timeout(END_LIMIT, self.world.end()).await;
    }
}
