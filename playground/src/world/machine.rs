//! A machine: services that are started, signalled, lost and replaced together, one command at a
//! time.
//!
//! [`decide`] is pure; here its steps are taken. Each has a limit, and leaves what is known about
//! the service true when it fails or its future is dropped. A second command meanwhile is refused,
//! not queued: what it would do may make no sense by then.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::world::decide::{Command, Condition, Effect, Send, decide};
use crate::world::error::{Error, Result};
use crate::world::feed::{Feed, What};
use crate::world::ports::Ports;
use crate::world::process::Process;
use crate::world::services::service::{Place, Service};

/// How long a process may take to stop at SIGSTOP.
const HALT_LIMIT: Duration = Duration::from_secs(2);

/// How often it is looked whether something is ready.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A machine of one or more services.
#[derive(Debug)]
pub struct Machine {
    name: String,
    /// Set while a command is under way.
    doing: Mutex<Option<Command>>,
    slots: Vec<Slot>,
    shared: Shared,
}

/// What all machines of a world have in common.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) guard: PathBuf,
    pub(super) directory: PathBuf,
    pub(super) ports: Arc<Mutex<Ports>>,
    pub(super) feed: Feed,
}

/// A service, and its process if there is one.
#[derive(Debug)]
struct Slot {
    service: Box<dyn Service>,
    place: Place,
    process: Mutex<Option<Arc<Process>>>,
}

/// What is known about a service.
#[derive(Clone, Debug)]
pub struct About {
    /// Its name.
    pub name: String,
    /// What it does now.
    pub condition: Condition,
    /// Its process id, if it runs.
    pub pid: Option<u32>,
    /// How its last process ended, if it did.
    pub ended: Option<ExitStatus>,
    /// Its log.
    pub log: PathBuf,
}

impl Machine {
    pub(super) fn new(name: String, services: Vec<Box<dyn Service>>, shared: Shared) -> Self {
        let slots = services.into_iter().map(|service| {
            let place = Place {
                directory: shared.directory.join(&name).join(service.name()),
                log: shared
                    .directory
                    .join(format!("{name}.{}.log", service.name())),
            };
            Slot {
                service,
                place,
                process: Mutex::default(),
            }
        });
        Self {
            slots: slots.collect(),
            name,
            doing: Mutex::default(),
            shared,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is known about its services, looked up now.
    #[must_use]
    pub fn about(&self) -> Vec<About> {
        let about = |slot: &Slot| {
            let process = slot.process();
            let condition = slot.condition();
            let ended = process
                .as_ref()
                .and_then(|process| process.ended().ok().flatten());
            let pid = process.map(|process| process.pid());
            About {
                name: slot.service.name().to_owned(),
                condition,
                pid: pid.filter(|_| condition != Condition::Down),
                ended,
                log: slot.place.log.clone(),
            }
        };
        self.slots.iter().map(about).collect()
    }

    /// Where a service keeps its data.
    #[must_use]
    pub fn directory_of(&self, service: &str) -> Option<&Path> {
        let slot = self
            .slots
            .iter()
            .find(|slot| slot.service.name() == service)?;
        Some(&slot.place.directory)
    }

    /// Whether every service runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.slots
            .iter()
            .all(|slot| slot.condition() == Condition::Up)
    }

    /// Whether no service has a process, not even one that is halted.
    #[must_use]
    pub fn is_down(&self) -> bool {
        let mut slots = self.slots.iter();
        slots.all(|slot| slot.condition() == Condition::Down)
    }

    /// Does it to all services.
    ///
    /// # Errors
    /// [`Error::Busy`] if another command is under way, [`Error::Refused`] if it makes no sense
    /// now, and the first step that fails.
    pub async fn run(&self, command: Command) -> Result<()> {
        self.run_on(command, None).await
    }

    /// Does it to one service by its name, or to all of them.
    ///
    /// # Errors
    /// As [`Machine::run`].
    pub async fn run_on(&self, command: Command, service: Option<&str>) -> Result<()> {
        let _turn = self.turn(command)?;
        let refused = |why: &str| Error::Refused {
            machine: self.name.clone(),
            command,
            why: why.to_owned(),
        };
        let chosen: Vec<&Slot> = self
            .slots
            .iter()
            .filter(|slot| service.is_none_or(|name| slot.service.name() == name))
            .collect();
        if chosen.is_empty() {
            return Err(refused("it has no such service"));
        }
        let conditions: Vec<Condition> = chosen.iter().map(|slot| slot.condition()).collect();
        let steps = decide(command, &conditions).map_err(refused)?;
        for (service, effect) in steps {
            let done = self.take(chosen[service], effect).await;
            if let Err(error) = &done {
                self.tell(
                    chosen[service],
                    What::Failed {
                        why: error.to_string(),
                    },
                );
            }
            done?;
        }
        Ok(())
    }

    /// Kills every process at once, whatever else is under way. For the end of the world.
    pub(super) fn kill_now(&self) {
        for process in self.slots.iter().filter_map(Slot::process) {
            process.kill();
        }
    }

    /// Blocks until every killed process has ended, so that nothing writes into its directory any
    /// more.
    pub(super) fn wait_for_end(&self) {
        for slot in &self.slots {
            if let Some(process) = slot.process() {
                // A failure is a process that is stuck in the kernel; it is dead to everybody else.
                let _ = process.wait(slot.service.end_limit());
            }
        }
    }

    fn turn(&self, command: Command) -> Result<Turn<'_>> {
        let mut doing = lock(&self.doing);
        if let Some(doing) = *doing {
            return Err(Error::Busy {
                machine: self.name.clone(),
                doing,
            });
        }
        *doing = Some(command);
        Ok(Turn(&self.doing))
    }

    async fn take(&self, slot: &Slot, effect: Effect) -> Result<()> {
        match effect {
            Effect::Launch => self.launch(slot),
            Effect::AwaitReady => self.ready(slot).await,
            Effect::Signal(signal) => self.signal(slot, signal),
            Effect::AwaitHalted => halted(slot).await,
            Effect::AwaitEnd => match slot.process() {
                Some(process) => process.end_within(slot.service.end_limit()).await.map(drop),
                None => Ok(()),
            },
            Effect::Delete => self.delete(slot),
            Effect::Readdress => self.readdress(slot),
        }
    }

    fn launch(&self, slot: &Slot) -> Result<()> {
        let directory = &slot.place.directory;
        fs::create_dir_all(directory).map_err(Error::io("cannot create", directory))?;
        let mut launch = slot.service.launch(&slot.place)?;
        launch.name = format!("{}/{}", self.name, slot.service.name());
        launch.directory = Some(directory.clone());
        let process = Arc::new(Process::start(&launch, &self.shared.guard)?);
        *lock(&slot.process) = Some(Arc::clone(&process));
        slot.service.launched(&process);
        let (pid, command) = (process.pid(), launch.command_line());
        self.tell(slot, What::Started { pid, command });
        self.watch_end(slot, process);
        Ok(())
    }

    /// Tells of the end when it comes, whoever brings it about.
    fn watch_end(&self, slot: &Slot, process: Arc<Process>) {
        let (feed, machine) = (self.shared.feed.clone(), self.name.clone());
        let service = slot.service.name().to_owned();
        tokio::spawn(async move {
            if let Ok(status) = process.end().await {
                feed.tell(
                    machine,
                    service,
                    What::Ended {
                        status: status.to_string(),
                    },
                );
            }
        });
    }

    async fn ready(&self, slot: &Slot) -> Result<()> {
        let Some(process) = slot.process() else {
            return Ok(());
        };
        let (start, limit) = (Instant::now(), slot.service.start_limit());
        let look = async {
            loop {
                if let Some(status) = process.ended()? {
                    return Err(process.ended_early(status));
                }
                if slot.service.is_ready().await {
                    return Ok(());
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let looked = tokio::time::timeout(limit, look).await;
        looked.unwrap_or_else(|_| Err(process.too_slow("getting ready", limit)))?;
        self.tell(
            slot,
            What::Ready {
                after: start.elapsed(),
            },
        );
        Ok(())
    }

    fn signal(&self, slot: &Slot, signal: Send) -> Result<()> {
        let Some(process) = slot.process() else {
            return Ok(());
        };
        match signal {
            Send::Kill => process.kill(),
            Send::Stop => process.signal(Signal::STOP)?,
            Send::Cont => process.signal(Signal::CONT)?,
            Send::Term => process.signal(Signal::TERM)?,
            Send::Int => process.signal(Signal::INT)?,
            Send::Hup => process.signal(Signal::HUP)?,
        }
        self.tell(
            slot,
            What::Signalled {
                signal,
                pid: process.pid(),
            },
        );
        Ok(())
    }

    fn delete(&self, slot: &Slot) -> Result<()> {
        let directory = &slot.place.directory;
        match fs::remove_dir_all(directory) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("cannot delete", directory)(error)),
        }
        self.tell(slot, What::Deleted);
        Ok(())
    }

    fn readdress(&self, slot: &Slot) -> Result<()> {
        for port in slot.service.ports() {
            port.set(lock(&self.shared.ports).number()?);
        }
        Ok(())
    }

    fn tell(&self, slot: &Slot, what: What) {
        let service = slot.service.name().to_owned();
        self.shared.feed.tell(self.name.clone(), service, what);
    }
}

impl Slot {
    fn process(&self) -> Option<Arc<Process>> {
        lock(&self.process).clone()
    }

    fn condition(&self) -> Condition {
        match self.process() {
            Some(process) if matches!(process.ended(), Ok(None)) => {
                if process.is_halted() {
                    Condition::Halted
                } else {
                    Condition::Up
                }
            }
            _ => Condition::Down,
        }
    }
}

async fn halted(slot: &Slot) -> Result<()> {
    let Some(process) = slot.process() else {
        return Ok(());
    };
    let look = async {
        while !process.is_halted() {
            if let Some(status) = process.ended()? {
                return Err(process.ended_early(status));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    };
    let looked = tokio::time::timeout(HALT_LIMIT, look).await;
    looked.unwrap_or_else(|_| Err(process.too_slow("stopping", HALT_LIMIT)))
}

/// A command's turn, which ends when it is dropped: also with the future that holds it.
struct Turn<'a>(&'a Mutex<Option<Command>>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *lock(self.0) = None;
    }
}

/// Every value behind these locks is whole between any two statements, so a panic elsewhere spoils
/// none.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
