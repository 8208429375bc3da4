//! Real processes on this computer's loopback, as machines that can be lost.
//!
//! What holds, and how the tests try to break it:
//!
//! 1. **No child outlives the program**, however it ends. Each is started behind a guard
//!    ([`guard`]), by the one thread that never ends. *Tried:* the program is killed by SIGKILL at
//!    random moments, also while it starts and ends children; children are started by threads that
//!    end at once.
//! 2. **A signal reaches its process or nobody.** Signals go through a pidfd. *Tried:* commands
//!    race with processes that end by themselves.
//! 3. **A machine does one thing at a time.** A second command is refused at once, with what is
//!    being done. *Tried:* two commands together; a command whose future is dropped half-way.
//! 4. **Every step ends**, in success or in a sentence with the end of the log. *Tried:* a program
//!    that ignores SIGTERM, that never becomes ready, that ends at once, that does not exist; a
//!    taken port; no more file descriptors.
//! 5. **What is believed is looked up**, from the kernel, when a command is decided. *Tried:*
//!    processes killed and halted behind the world's back.
//! 6. **Two worlds share nothing:** no directory, no port. *Tried:* two in one directory; many at
//!    once.
//! 7. **Nothing is deleted but what a world has made.** *Tried:* strange files, links and living
//!    runs beside dead ones.
//! 8. **Everything is bounded:** the feed, the logs that errors repeat, every wait.
//!
//! ```text
//!  World ── directory, ports, feed
//!    └─ Machine ── one command at a time: decide (pure) ─▶ steps ─▶ effects
//!         └─ Service ── how to start it, when it is ready
//!              └─ Process ── guard, pidfd, log            ◀── nursery: the thread that starts
//! ```
//!
//! One service is one process. What it starts in turn dies with it only by SIGKILL of its process
//! group.

pub mod decide;
pub(crate) mod directory;
pub(crate) mod error;
pub(crate) mod feed;
pub mod guard;
pub mod machine;
mod nursery;
pub(crate) mod ports;
pub(crate) mod process;
pub mod services;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::join_all;

pub use decide::{Command, Condition};
pub use directory::{RunDirectory, default_parent};
pub use error::{Error, Result};
pub use feed::{Event, Feed, What};
pub use machine::Machine;
pub use ports::{Port, Ports};
pub use process::{Launch, Process, log_tail};
pub use services::service::Service;

/// Machines, their directory, their ports. All processes end when it is dropped.
#[derive(Debug)]
pub struct World {
    machines: Vec<Arc<Machine>>,
    shared: machine::Shared,
    /// Last, so that it is removed when nothing writes there any more.
    directory: RunDirectory,
}

impl World {
    /// A world without machines. `guard` is the program that has the guard's subcommand: `cairn`
    /// itself.
    #[must_use]
    pub fn new(guard: PathBuf, directory: RunDirectory) -> Self {
        let shared = machine::Shared {
            guard,
            directory: directory.path().to_owned(),
            ports: Arc::new(Mutex::new(Ports::default())),
            feed: Feed::new(),
        };
        Self {
            machines: Vec::new(),
            shared,
            directory,
        }
    }

    /// Where it keeps everything.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Whether its disks are memory.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.directory.is_in_memory()
    }

    /// What happens.
    #[must_use]
    pub fn feed(&self) -> &Feed {
        &self.shared.feed
    }

    /// A port for a service.
    ///
    /// # Errors
    /// [`Error::NoPorts`].
    pub fn port(&self) -> Result<Port> {
        let mut ports = self
            .shared
            .ports
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        ports.port()
    }

    /// A new machine, nothing of which runs yet. Its name is a part of file names.
    pub fn machine(&mut self, name: &str, services: Vec<Box<dyn Service>>) -> Arc<Machine> {
        let machine = Machine::new(name.to_owned(), services, self.shared.clone());
        let machine = Arc::new(machine);
        self.machines.push(Arc::clone(&machine));
        machine
    }

    /// All machines, in the order in which they were made.
    #[must_use]
    pub fn machines(&self) -> &[Arc<Machine>] {
        &self.machines
    }

    /// Does it to several machines at the same moment: every first step is taken before any is
    /// waited for.
    ///
    /// # Errors
    /// The first machine's that failed, after all have come to an end.
    pub async fn together(machines: &[Arc<Machine>], command: Command) -> Result<()> {
        let ends = join_all(machines.iter().map(|machine| machine.run(command))).await;
        ends.into_iter().collect()
    }

    /// The power goes: every process of these machines dies at the same moment. One that is down
    /// already is as it should be.
    ///
    /// # Errors
    /// As [`World::together`].
    pub async fn cut_power(machines: &[Arc<Machine>]) -> Result<()> {
        let kill = |machine: &Arc<Machine>| {
            let machine = Arc::clone(machine);
            async move {
                match machine.run(Command::Kill).await {
                    Err(Error::Refused { .. }) => Ok(()),
                    done => done,
                }
            }
        };
        let ends = join_all(machines.iter().map(kill)).await;
        ends.into_iter().collect()
    }

    /// Ends everything that is up: SIGTERM, and SIGKILL where that fails.
    pub async fn end(self) {
        let up = self.machines.iter().filter(|machine| {
            machine
                .about()
                .iter()
                .any(|about| about.condition != Condition::Down)
        });
        join_all(up.map(|machine| machine.run(Command::Terminate))).await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for machine in &self.machines {
            machine.kill_now();
        }
        // Somebody may hold a machine for longer; its processes are dead, and are waited for here.
        for machine in &self.machines {
            machine.wait_for_end();
        }
    }
}
