//! What the warden does about what it sees. Pure.
//!
//! Three checks in a row that fail make a server a failed one. From then on it is not watched: that
//! it comes back by itself is not even seen. It is taken out of use, another one is made in its
//! stead from scratch, and only when that is registered it is used, and watched, again.
//!
//! A cluster changes by one member at a time, so a second member that fails is taken out of use at
//! once and waits for its turn. An effect that fails is tried again at the next round of checks.

use std::fmt;

/// So many failed checks in a row are enough.
pub(crate) const STRIKES: u8 = 3;

/// What a server is to its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// One of those that decide by majority.
    Member,
    /// Anything else.
    Other,
}

/// What is done about a failed server, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nobody is led to it any more.
    TakeOut,
    /// It is no member of its cluster any more.
    Remove,
    /// Its process ends, and its disk is lost.
    End,
    /// Another one starts in its stead, with an empty disk, at other addresses, and joins.
    Start,
    /// Others are led to it.
    Register,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TakeOut => "take it out of use",
            Self::Remove => "remove it from its cluster",
            Self::End => "end it",
            Self::Start => "start another",
            Self::Register => "register another",
        })
    }
}

/// What the warden sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A server was checked.
    Check {
        /// Which.
        server: usize,
        /// Whether it answered as it must.
        well: bool,
    },
    /// A round of checks is over.
    Round,
    /// What was to be done to a server was done, or failed.
    Ended {
        /// Which.
        server: usize,
        /// Whether it was done.
        done: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In use, and so many checks in a row have failed.
    Watched(u8),
    /// Failed; this is under way.
    Doing(Effect),
    /// Failed; this is to be done at the next round, or in its turn.
    Waits(Effect),
}

/// What is known of all servers.
#[derive(Clone, Debug)]
pub struct Warden {
    servers: Vec<(Role, State)>,
}

impl Warden {
    /// All of them are in use.
    #[must_use]
    pub fn new(roles: impl IntoIterator<Item = Role>) -> Self {
        let servers = roles.into_iter();
        Self {
            servers: servers.map(|role| (role, State::Watched(0))).collect(),
        }
    }

    /// Whether a server is in use, and therefore watched.
    #[must_use]
    pub fn is_watched(&self, server: usize) -> bool {
        matches!(self.servers[server].1, State::Watched(_))
    }

    /// Whether every server is in use, and nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        (0..self.servers.len()).all(|server| self.is_watched(server))
    }

    /// Takes in what was seen; gives what is to be done now, and to whom. At most one thing is done
    /// to a server at a time.
    pub fn see(&mut self, seen: Seen) -> Vec<(usize, Effect)> {
        match seen {
            Seen::Check { server, well } => return self.check(server, well),
            Seen::Ended { server, done } => self.ended(server, done),
            Seen::Round => {}
        }
        if matches!(seen, Seen::Ended { done: false, .. }) {
            return Vec::new();
        }
        let servers = 0..self.servers.len();
        let begin = |server| Some((server, self.begin(server)?));
        servers.filter_map(begin).collect()
    }

    fn check(&mut self, server: usize, well: bool) -> Vec<(usize, Effect)> {
        let State::Watched(strikes) = &mut self.servers[server].1 else {
            return Vec::new();
        };
        *strikes = if well { 0 } else { *strikes + 1 };
        if *strikes < STRIKES {
            return Vec::new();
        }
        self.servers[server].1 = State::Doing(Effect::TakeOut);
        vec![(server, Effect::TakeOut)]
    }

    fn ended(&mut self, server: usize, done: bool) {
        let (role, State::Doing(effect)) = self.servers[server] else {
            return;
        };
        let next = match (effect, done) {
            (Effect::TakeOut, true) if role == Role::Member => State::Waits(Effect::Remove),
            (Effect::TakeOut | Effect::Remove, true) => State::Waits(Effect::End),
            (Effect::End, true) => State::Waits(Effect::Start),
            (Effect::Start, true) => State::Waits(Effect::Register),
            (Effect::Register, true) => State::Watched(0),
            // What is half-way up is of no use to anybody.
            (Effect::Start, false) => State::Waits(Effect::End),
            (effect, false) => State::Waits(effect),
        };
        self.servers[server].1 = next;
    }

    /// Begins what a server waits for, if it may.
    fn begin(&mut self, server: usize) -> Option<Effect> {
        let (role, State::Waits(effect)) = self.servers[server] else {
            return None;
        };
        let is_others = |(at, other): (usize, &(Role, State))| {
            at != server && other.0 == Role::Member && changes_the_cluster(other.1)
        };
        let is_turn = !self.servers.iter().enumerate().any(is_others);
        if role == Role::Member && effect == Effect::Remove && !is_turn {
            return None;
        }
        self.servers[server].1 = State::Doing(effect);
        Some(effect)
    }
}

/// Whether a member in this state is between leaving its cluster and being back in it.
fn changes_the_cluster(state: State) -> bool {
    match state {
        State::Doing(Effect::Remove) => true,
        State::Doing(effect) | State::Waits(effect) => {
            matches!(effect, Effect::End | Effect::Start)
        }
        State::Watched(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What a server is in a world of models.
    #[derive(Clone, Debug)]
    struct Model {
        role: Role,
        /// Others are led to it.
        in_use: bool,
        is_member: bool,
        /// The process is another one than that which failed.
        is_new: bool,
        strikes: u8,
        doing: Option<Effect>,
        done: Vec<Effect>,
    }

    impl Model {
        fn new(role: Role) -> Self {
            Self {
                role,
                in_use: true,
                is_member: true,
                is_new: true,
                strikes: 0,
                doing: None,
                done: Vec::new(),
            }
        }

        fn end(&mut self, done: bool) {
            let effect = self.doing.take().expect("something is under way");
            if !done {
                return;
            }
            self.done.push(effect);
            match effect {
                Effect::TakeOut => self.in_use = false,
                Effect::Remove => self.is_member = false,
                Effect::End => self.is_new = false,
                Effect::Start => (self.is_new, self.is_member) = (true, true),
                Effect::Register => {
                    self.in_use = true;
                    self.strikes = 0;
                    self.done.clear();
                }
            }
        }
    }

    struct World {
        warden: Warden,
        models: Vec<Model>,
    }

    impl World {
        fn see(&mut self, seen: Seen) {
            match seen {
                Seen::Check { server, well } => {
                    let model = &mut self.models[server];
                    model.strikes = if well { 0 } else { model.strikes + 1 };
                }
                Seen::Ended { server, done } => self.models[server].end(done),
                Seen::Round => {}
            }
            for (server, effect) in self.warden.see(seen) {
                self.begins(server, effect);
            }
            for (server, model) in self.models.iter().enumerate() {
                if self.warden.is_watched(server) {
                    assert!(model.in_use && model.is_member && model.is_new, "{model:?}");
                    assert!(
                        model.strikes < STRIKES && model.doing.is_none(),
                        "{model:?}"
                    );
                }
                // Whoever failed is out of use from its being taken out to its registration.
                let is_out = model.done.contains(&Effect::TakeOut);
                assert_eq!(model.in_use, !is_out, "{model:?}");
            }
            let away = self
                .models
                .iter()
                .filter(|it| it.role == Role::Member && !it.is_member);
            assert!(away.count() <= 1, "two members are away at a time");
        }

        fn begins(&mut self, server: usize, effect: Effect) {
            let model = &mut self.models[server];
            assert_eq!(model.doing, None, "two things at a time");
            let last = model.done.last().copied();
            let may = match effect {
                Effect::TakeOut => last.is_none() && model.strikes >= STRIKES,
                Effect::Remove => last == Some(Effect::TakeOut) && model.role == Role::Member,
                // Also after a start that has failed.
                Effect::End => match model.role {
                    Role::Member => matches!(last, Some(Effect::Remove | Effect::End)),
                    Role::Other => matches!(last, Some(Effect::TakeOut | Effect::End)),
                },
                Effect::Start => last == Some(Effect::End),
                Effect::Register => last == Some(Effect::Start),
            };
            assert!(may, "{effect:?} of {model:?}");
            model.doing = Some(effect);
        }

        /// Whatever is under way is done, and all checks are well, until nothing is left to do.
        fn settle(&mut self) {
            for _ in 0..100 {
                for server in 0..self.models.len() {
                    if self.models[server].doing.is_some() {
                        self.see(Seen::Ended { server, done: true });
                    }
                    if self.warden.is_watched(server) {
                        self.see(Seen::Check { server, well: true });
                    }
                }
                self.see(Seen::Round);
            }
            assert!(self.warden.is_idle(), "{:?}", self.warden);
        }
    }

    fn roles() -> impl Strategy<Value = Vec<Role>> {
        vec(prop_oneof![Just(Role::Member), Just(Role::Other)], 1..7)
    }

    proptest! {
        /// In any order of checks and ends: see the head of this module.
        #[test]
        fn whatever_happens_a_failed_server_is_replaced_before_it_is_used(
            roles in roles(),
            events in vec((0..4_u8, 0..7_usize, proptest::bool::weighted(0.4)), 0..300),
        ) {
            let models = roles.iter().map(|role| Model::new(*role)).collect();
            let mut world = World { warden: Warden::new(roles), models };
            for (what, server, good) in events {
                let server = server % world.models.len();
                let is_doing = world.models[server].doing.is_some();
                match what {
                    0 => world.see(Seen::Round),
                    1 if is_doing => world.see(Seen::Ended { server, done: good }),
                    _ if world.warden.is_watched(server) => {
                        world.see(Seen::Check { server, well: good });
                    }
                    // A failed one that answers again is none the better for it.
                    _ => {
                        let seen = Seen::Check { server, well: good };
                        prop_assert_eq!(world.warden.see(seen), []);
                        prop_assert!(!world.warden.is_watched(server));
                    }
                }
            }
            world.settle();
        }
    }

    #[test]
    fn two_strikes_are_forgiven() {
        let mut warden = Warden::new([Role::Member]);
        let mut check = |well| warden.see(Seen::Check { server: 0, well });
        for well in [false, false, true, false, false] {
            assert_eq!(check(well), []);
        }
        assert_eq!(check(false), [(0, Effect::TakeOut)]);
        assert_eq!(check(true), []);
    }
}
