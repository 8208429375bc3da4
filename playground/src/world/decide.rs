//! What a command does to a machine, given what its services do now. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What can be done to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Start what is down, and wait until it is ready.
    Start,
    /// SIGKILL: no handler runs. Disks stay.
    Kill,
    /// SIGSTOP: it does nothing, and its connections stay open.
    Halt,
    /// SIGCONT: it goes on as if nothing had been.
    Resume,
    /// SIGTERM, and wait for the end.
    Terminate,
    /// SIGINT, and wait for the end.
    Interrupt,
    /// SIGHUP, and wait for the end.
    HangUp,
    /// SIGTERM, wait for the end, start.
    Restart,
    /// SIGKILL, and delete its disks. It stays down.
    Wipe,
    /// Lose it with its disks, and take other addresses for what will be started in its stead.
    Discard,
    /// Lose it with its disks, and start another in its stead, with empty disks and other
    /// addresses.
    Replace,
}

impl Command {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Start,
        Self::Kill,
        Self::Halt,
        Self::Resume,
        Self::Terminate,
        Self::Interrupt,
        Self::HangUp,
        Self::Restart,
        Self::Wipe,
        Self::Discard,
        Self::Replace,
    ];
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Kill => "kill",
            Self::Halt => "halt",
            Self::Resume => "resume",
            Self::Terminate => "terminate",
            Self::Interrupt => "interrupt",
            Self::HangUp => "hang-up",
            Self::Restart => "restart",
            Self::Wipe => "wipe",
            Self::Discard => "discard",
            Self::Replace => "replace",
        })
    }
}

/// What a service does, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// No process.
    Down,
    /// A process that runs, ready or not.
    Up,
    /// A process that is stopped.
    Halted,
}

/// A signal that a command sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Send {
    /// SIGKILL, to the whole process group.
    Kill,
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Cont,
    /// SIGTERM.
    Term,
    /// SIGINT.
    Int,
    /// SIGHUP.
    Hup,
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start its process.
    Launch,
    /// Wait until it is ready.
    AwaitReady,
    /// Send a signal.
    Signal(Send),
    /// Wait until the kernel says that it is stopped.
    AwaitHalted,
    /// Wait until it has ended.
    AwaitEnd,
    /// Delete its disk.
    Delete,
    /// Give it other ports.
    Readdress,
}

/// An effect on one service, by its place in the machine.
pub type Step = (usize, Effect);

/// The steps of a command, in their order; or why it makes no sense.
///
/// Every signal of a command comes before everything that waits, so that what is killed together
/// dies together.
///
/// # Errors
/// A sentence for people.
pub fn decide(command: Command, services: &[Condition]) -> Result<Vec<Step>, &'static str> {
    use Condition::{Down, Halted, Up};
    let all = |is: Condition| services.iter().all(|&one| one == is);
    let any = |is: Condition| services.contains(&is);
    match command {
        Command::Start if any(Halted) => return Err("it is halted; resume it"),
        Command::Start if all(Up) => return Err("it runs already"),
        Command::Kill | Command::Terminate | Command::Interrupt | Command::HangUp if all(Down) => {
            return Err("it is down already");
        }
        Command::Halt if !any(Up) => return Err("nothing of it runs"),
        Command::Resume if !any(Halted) => return Err("it is not halted"),
        _ => {}
    }
    let mut steps = Steps {
        services,
        steps: Vec::new(),
    };
    match command {
        Command::Start => steps.start(&[Down]),
        Command::Kill => steps.end(Send::Kill),
        Command::Terminate => steps.end(Send::Term),
        Command::Interrupt => steps.end(Send::Int),
        Command::HangUp => steps.end(Send::Hup),
        Command::Halt => {
            steps.each(&[Up], Effect::Signal(Send::Stop));
            steps.each(&[Up], Effect::AwaitHalted);
        }
        Command::Resume => steps.each(&[Halted], Effect::Signal(Send::Cont)),
        Command::Restart => {
            steps.end(Send::Term);
            steps.start(&[Down, Up, Halted]);
        }
        Command::Wipe => steps.lose(),
        Command::Discard => steps.discard(),
        Command::Replace => {
            steps.discard();
            steps.start(&[Down, Up, Halted]);
        }
    }
    Ok(steps.steps)
}

struct Steps<'a> {
    services: &'a [Condition],
    steps: Vec<Step>,
}

impl Steps<'_> {
    fn each(&mut self, which: &[Condition], effect: Effect) {
        let those = (0..)
            .zip(self.services)
            .filter(|(_, is)| which.contains(is));
        self.steps.extend(those.map(|(n, _)| (n, effect)));
    }

    fn start(&mut self, which: &[Condition]) {
        self.each(which, Effect::Launch);
        self.each(which, Effect::AwaitReady);
    }

    fn end(&mut self, signal: Send) {
        use Condition::{Halted, Up};
        self.each(&[Up, Halted], Effect::Signal(signal));
        if signal != Send::Kill {
            // What is halted sees no other signal before it goes on.
            self.each(&[Halted], Effect::Signal(Send::Cont));
        }
        self.each(&[Up, Halted], Effect::AwaitEnd);
    }

    fn discard(&mut self) {
        use Condition::{Down, Halted, Up};
        self.lose();
        self.each(&[Down, Up, Halted], Effect::Readdress);
    }

    fn lose(&mut self) {
        use Condition::{Down, Halted, Up};
        self.end(Send::Kill);
        self.each(&[Down, Up, Halted], Effect::Delete);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service as a model: what an effect does to it, and which effects are wrong.
    #[derive(Clone, Copy, Debug)]
    struct Model {
        is: Condition,
        told_to_end: bool,
        has_disk: bool,
        readdressed: bool,
    }

    fn apply(model: &mut Model, effect: Effect) {
        use Condition::{Down, Halted, Up};
        match effect {
            Effect::Launch => {
                assert_eq!(model.is, Down, "started twice");
                *model = Model {
                    is: Up,
                    told_to_end: false,
                    has_disk: true,
                    ..*model
                };
            }
            Effect::AwaitReady => assert_eq!(model.is, Up, "waits for what does not run"),
            Effect::Signal(signal) => {
                assert_ne!(model.is, Down, "signals nobody");
                match signal {
                    Send::Stop => model.is = Halted,
                    Send::Cont => model.is = Up,
                    Send::Kill | Send::Term | Send::Int | Send::Hup => model.told_to_end = true,
                }
            }
            Effect::AwaitHalted => assert_eq!(model.is, Halted),
            Effect::AwaitEnd => {
                assert!(model.told_to_end, "waits for an end that nobody asked for");
                model.is = Down;
            }
            Effect::Delete => {
                assert_eq!(model.is, Down, "deletes under a living process");
                model.has_disk = false;
            }
            Effect::Readdress => {
                assert_eq!(model.is, Down);
                model.readdressed = true;
            }
        }
    }

    #[test]
    fn every_command_leads_every_machine_to_what_it_promises() {
        use Condition::{Down, Halted, Up};
        let all = [Down, Up, Halted];
        let machines = (0..27).map(|n| vec![all[n / 9], all[n / 3 % 3], all[n % 3]]);
        let mut cases = 0;
        for machine in machines.chain(all.iter().map(|&a| vec![a])) {
            for command in Command::ALL {
                let Ok(steps) = decide(command, &machine) else {
                    continue;
                };
                assert!(!steps.is_empty(), "{command} does nothing to {machine:?}");
                let begin = |&is| Model {
                    is,
                    told_to_end: false,
                    has_disk: true,
                    readdressed: false,
                };
                let mut models: Vec<Model> = machine.iter().map(begin).collect();
                for (service, effect) in steps {
                    apply(&mut models[service], effect);
                }
                for (now, before) in models.iter().zip(&machine) {
                    let case = format!("{command} of {machine:?}");
                    let expected = match command {
                        Command::Start | Command::Restart | Command::Replace => Up,
                        Command::Halt if *before == Up => Halted,
                        Command::Resume if *before == Halted => Up,
                        Command::Halt | Command::Resume => *before,
                        _ => Down,
                    };
                    assert_eq!(now.is, expected, "{case}");
                    let loses = [Command::Wipe, Command::Discard].contains(&command);
                    let moves = [Command::Replace, Command::Discard].contains(&command);
                    assert_eq!(now.has_disk, !loses, "{case}");
                    assert_eq!(now.readdressed, moves, "{case}");
                }
                cases += 1;
            }
        }
        assert!(cases > 150, "{cases}");
    }

    #[test]
    fn what_is_killed_together_is_signalled_before_anything_is_waited_for() {
        let steps = decide(Command::Kill, &[Condition::Up, Condition::Halted]);
        let kill = Effect::Signal(Send::Kill);
        let expected = vec![
            (0, kill),
            (1, kill),
            (0, Effect::AwaitEnd),
            (1, Effect::AwaitEnd),
        ];
        assert_eq!(steps, Ok(expected));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_reason() {
        for (command, is) in [
            (Command::Start, Condition::Up),
            (Command::Start, Condition::Halted),
            (Command::Kill, Condition::Down),
            (Command::Terminate, Condition::Down),
            (Command::Interrupt, Condition::Down),
            (Command::HangUp, Condition::Down),
            (Command::Halt, Condition::Halted),
            (Command::Halt, Condition::Down),
            (Command::Resume, Condition::Up),
        ] {
            assert!(decide(command, &[is]).is_err(), "{command} {is:?}");
        }
    }
}
