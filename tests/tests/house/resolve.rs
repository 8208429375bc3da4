//! What a path stands for, and which re-exports it goes through.

use std::collections::BTreeSet;

use crate::modules::{Binding, Id, Modules, ROOT};

/// What a path leads to.
pub(crate) enum Target {
    /// Something that this module defines.
    Item(Id),
    /// A module itself. That is no arrow: the paths that go on from it are.
    Module(Id),
    /// Another crate, or something local to a function.
    Outside,
    /// Nothing; the name that was not found.
    Nothing(String),
}

/// A path, followed.
pub(crate) struct Resolved {
    pub(crate) target: Target,
    /// The modules whose `use` the path goes through, and the name there.
    pub(crate) through: Vec<(Id, String)>,
}

/// More steps than any path of ours has; ends the search where globs import each other.
const DEEPEST: usize = 24;

impl Modules {
    /// Follows a path as code of module `from` means it.
    pub(crate) fn resolve(&self, from: Id, path: &[String]) -> Resolved {
        self.start(from, path, DEEPEST, None)
    }

    /// Follows the path of a `use`, which does not see the name that it binds itself.
    pub(crate) fn resolve_use(&self, from: Id, index: usize) -> Resolved {
        let path = &self.all[from].scan.uses[index].path.path;
        self.start(from, path, DEEPEST, Some(index))
    }

    fn start(&self, from: Id, path: &[String], depth: usize, own_use: Option<usize>) -> Resolved {
        let mut at = None;
        let mut rest = path;
        while let Some((first, further)) = rest.split_first() {
            let here = at.unwrap_or(from);
            at = Some(match &**first {
                "crate" => ROOT,
                "self" => here,
                "super" => self.all[here].parent.unwrap_or(ROOT),
                _ => break,
            });
            rest = further;
        }
        if let Some(at) = at {
            return self.walk(at, rest, depth);
        }
        match rest.split_first() {
            Some((first, rest)) if depth > 0 => self.bare(from, first, rest, depth, own_use),
            _ => outside(),
        }
    }

    /// Follows a path that begins with a name of this module: an item, a child or an import, those
    /// in functions too. A name that is not found is another crate's, or a generic parameter.
    fn bare(
        &self,
        from: Id,
        first: &str,
        rest: &[String],
        depth: usize,
        own_use: Option<usize>,
    ) -> Resolved {
        let bindings = self.all[from]
            .names
            .get(first)
            .map_or(&[][..], Vec::as_slice);
        let is_own = |binding: &&Binding| match binding {
            Binding::Use(used) | Binding::LocalUse(used) => Some(*used) == own_use,
            _ => false,
        };
        let bindings: Vec<_> = bindings.iter().filter(|binding| !is_own(binding)).collect();
        let child = bindings
            .iter()
            .find(|binding| matches!(binding, Binding::Module(_)));
        match child.filter(|_| !rest.is_empty()).or(bindings.first()) {
            None => outside(),
            Some(Binding::Item | Binding::LocalItem) => item(from),
            Some(Binding::Module(child)) => self.walk(*child, rest, depth - 1),
            Some(Binding::Use(used) | Binding::LocalUse(used)) => {
                let path = &self.all[from].scan.uses[*used].path.path;
                // What that import goes through is found where it stands.
                match self.start(from, path, depth - 1, Some(*used)).target {
                    Target::Module(id) => self.walk(id, rest, depth - 1),
                    target => Resolved {
                        target,
                        through: Vec::new(),
                    },
                }
            }
        }
    }

    /// Follows what is left of a path from a module on.
    fn walk(&self, at: Id, rest: &[String], depth: usize) -> Resolved {
        let Some((name, further)) = rest.split_first() else {
            return module(at);
        };
        if depth == 0 {
            return nothing(name);
        }
        let bindings = self.all[at].names.get(name).map_or(&[][..], Vec::as_slice);
        let child = bindings.iter().find_map(|binding| match binding {
            Binding::Module(child) => Some(*child),
            _ => None,
        });
        if let Some(child) = child
            && (!further.is_empty() || bindings.len() == 1)
        {
            return self.walk(child, further, depth - 1);
        }
        if bindings
            .iter()
            .any(|binding| matches!(binding, Binding::Item))
        {
            return item(at);
        }
        for binding in bindings {
            if let Binding::Use(used) = binding {
                let path = &self.all[at].scan.uses[*used].path.path;
                let Resolved {
                    target,
                    mut through,
                } = self.start(at, path, depth - 1, Some(*used));
                through.insert(0, (at, name.clone()));
                return match target {
                    Target::Module(id) if !further.is_empty() => {
                        let mut resolved = self.walk(id, further, depth - 1);
                        through.append(&mut resolved.through);
                        Resolved {
                            through,
                            ..resolved
                        }
                    }
                    target => Resolved { target, through },
                };
            }
        }
        if let Some(child) = child {
            return self.walk(child, further, depth - 1);
        }
        for used in self.all[at]
            .scan
            .uses
            .iter()
            .filter(|used| used.is_glob && !used.is_local)
        {
            let Target::Module(id) = self.start(at, &used.path.path, depth - 1, None).target else {
                continue;
            };
            let mut resolved = self.walk(id, rest, depth - 1);
            if !matches!(resolved.target, Target::Nothing(_)) {
                resolved.through.insert(0, (at, "*".to_owned()));
                return resolved;
            }
        }
        if self.all[at].scan.has_item_macros {
            return item(at);
        }
        nothing(name)
    }

    /// Names that a module both has as a child and imports as something else: `use` brings both.
    pub(crate) fn ambiguous(&self, at: Id) -> BTreeSet<&str> {
        let names = self.all[at].names.iter();
        names
            .filter(|(_, bindings)| {
                bindings.iter().any(|b| matches!(b, Binding::Module(_)))
                    && bindings.iter().any(|b| matches!(b, Binding::Use(_)))
            })
            .map(|(name, _)| &**name)
            .collect()
    }
}

fn item(id: Id) -> Resolved {
    Resolved {
        target: Target::Item(id),
        through: Vec::new(),
    }
}

fn module(id: Id) -> Resolved {
    Resolved {
        target: Target::Module(id),
        through: Vec::new(),
    }
}

fn outside() -> Resolved {
    Resolved {
        target: Target::Outside,
        through: Vec::new(),
    }
}

fn nothing(name: &str) -> Resolved {
    Resolved {
        target: Target::Nothing(name.to_owned()),
        through: Vec::new(),
    }
}
