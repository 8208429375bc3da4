//! The arrows of a crate, from file to file, and what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::circles::{Graph, circles, order};
use crate::modules::{Id, Modules};
use crate::resolve::{Resolved, Target};
use crate::scan::Reference;
use crate::sources::Sources;

/// The arrows within a crate, by the folder in which they are arrows between neighbours.
pub(crate) struct Arrows {
    folders: BTreeMap<PathBuf, Graph>,
    files: BTreeSet<(PathBuf, PathBuf)>,
    findings: Vec<String>,
}

impl Arrows {
    pub(crate) fn of(sources: &Sources) -> Self {
        let mut modules = Modules::of(sources);
        let mut arrows = Self {
            folders: BTreeMap::new(),
            files: BTreeSet::new(),
            findings: std::mem::take(&mut modules.findings),
        };
        for id in 0..modules.all.len() {
            arrows.module(&modules, id);
        }
        arrows
    }

    fn module(&mut self, modules: &Modules, id: Id) {
        let scan = &modules.all[id].scan;
        for (index, used) in scan.uses.iter().enumerate() {
            let resolved = modules.resolve_use(id, index);
            if used.is_glob {
                // That of an enum's variants names what it imports from.
                if let Target::Module(_) = resolved.target {
                    let shown = modules.shown(id, &used.path);
                    self.findings.push(format!(
                        "{shown} imports all of a module: name what is used"
                    ));
                }
            }
            self.reference(modules, id, &used.path, resolved);
            self.both(modules, id, used.name.as_deref(), &used.path);
        }
        for path in &scan.paths {
            self.reference(modules, id, path, modules.resolve(id, &path.path));
        }
    }

    fn reference(&mut self, modules: &Modules, id: Id, path: &Reference, resolved: Resolved) {
        let shown = modules.shown(id, path);
        if let Some((through, name)) = resolved.through.first() {
            let through = modules.all[*through].file.display();
            let place = match resolved.target {
                Target::Item(target) | Target::Module(target) => modules.name(target),
                Target::Outside => "another crate".to_owned(),
                Target::Nothing(_) => "nothing".to_owned(),
            };
            self.findings.push(format!(
                "{shown} goes through `use` of {name} in {through}; it is defined in {place}"
            ));
        }
        match resolved.target {
            Target::Item(target) => self.arrow(modules, id, target, &shown),
            Target::Nothing(name) => self.findings.push(format!("{shown}: no {name} there")),
            Target::Module(_) | Target::Outside => {}
        }
    }

    /// A `use` of a name that is both a module and re-exported as a function, which is then called.
    fn both(&mut self, modules: &Modules, id: Id, name: Option<&str>, path: &Reference) {
        let Some((name, (last, parents))) = name.zip(path.path.split_last()) else {
            return;
        };
        let Target::Module(parent) = modules.resolve(id, parents).target else {
            return;
        };
        if !modules.ambiguous(parent).contains(&**last) {
            return;
        }
        let calls = &modules.all[id].scan.calls;
        for (_, line) in calls.iter().filter(|(called, _)| called == name) {
            self.findings.push(format!(
                "{} brings a module and a re-export of one name, and line {line} calls the latter",
                modules.shown(id, path)
            ));
        }
    }

    fn arrow(&mut self, modules: &Modules, from: Id, to: Id, shown: &str) {
        let file = |id: Id| modules.all[id].file.clone();
        if file(from) != file(to) {
            self.files.insert((file(from), file(to)));
        }
        let (from, to) = (modules.place(from), modules.place(to));
        let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        let (Some(a), Some(b)) = (from.get(common), to.get(common)) else {
            return;
        };
        let folder = from[..common].iter().collect();
        let graph: &mut Graph = self.folders.entry(folder).or_default();
        let evidence = graph
            .entry(a.clone())
            .or_default()
            .entry(b.clone())
            .or_default();
        evidence.push(shown.to_owned());
    }

    /// Everything that is wrong, a line each.
    pub(crate) fn findings(&self) -> Vec<String> {
        let mut findings = self.findings.clone();
        for (folder, graph) in &self.folders {
            for circle in circles(graph) {
                let folder = Path::new("src").join(folder);
                findings.push(format!("circle in {}: {circle}", folder.display()));
            }
        }
        findings.sort();
        findings.dedup();
        findings
    }

    /// Every folder's files and folders, those that use others before those that are used.
    pub(crate) fn order(&self) -> String {
        let mut lines = Vec::new();
        for (folder, graph) in &self.folders {
            let folder = Path::new("src").join(folder);
            lines.push(format!(
                "  {}: {}",
                folder.display(),
                order(graph).join(" > ")
            ));
        }
        lines.join("\n")
    }

    /// Which file uses which other one.
    pub(crate) fn files(&self) -> &BTreeSet<(PathBuf, PathBuf)> {
        &self.files
    }
}

impl Modules {
    /// `crate::a::b`.
    pub(crate) fn name(&self, id: Id) -> String {
        let mut name = vec!["crate".to_owned()];
        name.extend(self.all[id].path.iter().cloned());
        name.join("::")
    }

    /// Its file by folders; one beside a folder of its name counts as that folder's `mod.rs`.
    fn place(&self, id: Id) -> Vec<String> {
        let file = &self.all[id].file;
        let stem = file.with_extension("");
        let has_folder = self
            .all
            .iter()
            .any(|other| other.file != *file && other.file.starts_with(&stem));
        let file = if has_folder {
            stem.join("mod.rs")
        } else {
            file.clone()
        };
        file.iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect()
    }
}
