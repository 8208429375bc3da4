//! The tree of a crate's modules, each with the names that it binds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::scan::{Reference, Scan};
use crate::sources::Sources;

/// Which module, by its place in [`Modules`].
pub(crate) type Id = usize;

/// The crate's root module.
pub(crate) const ROOT: Id = 0;

/// All modules of a crate; the root is the first.
pub(crate) struct Modules {
    pub(crate) all: Vec<Module>,
    /// What is wrong already: files that no module declares, modules without a file.
    pub(crate) findings: Vec<String>,
    /// Where modules of tests are, without the `.rs`.
    tests: Vec<PathBuf>,
}

pub(crate) struct Module {
    pub(crate) file: PathBuf,
    /// From the root: `["checkpoint", "file"]`.
    pub(crate) path: Vec<String>,
    pub(crate) parent: Option<Id>,
    pub(crate) names: BTreeMap<String, Vec<Binding>>,
    pub(crate) scan: Scan,
}

/// What a name stands for.
#[derive(Clone)]
pub(crate) enum Binding {
    /// An item that the module defines.
    Item,
    /// A child.
    Module(Id),
    /// What a `use` brings; its index in [`Scan::uses`].
    Use(usize),
    /// An item or a `use` within a function: seen by its own module alone.
    LocalItem,
    LocalUse(usize),
}

impl Modules {
    pub(crate) fn of(sources: &Sources) -> Self {
        let mut modules = Self {
            all: Vec::new(),
            findings: Vec::new(),
            tests: Vec::new(),
        };
        let folder = PathBuf::new();
        modules.file(sources, &sources.root, &folder, Vec::new(), None);
        let seen: BTreeSet<_> = modules.all.iter().map(|module| &module.file).collect();
        let is_library = sources.root == Path::new("lib.rs");
        for file in sources.files.keys() {
            let other_root = file == Path::new("main.rs") || file.starts_with("bin");
            let is_test = modules
                .tests
                .iter()
                .any(|test| file.with_extension("").starts_with(test));
            if is_library && !other_root && !is_test && !seen.contains(file) {
                modules
                    .findings
                    .push(format!("{}: no module declares it", file.display()));
            }
        }
        modules
    }

    /// `folder` is where the children of this file's module are.
    fn file(
        &mut self,
        sources: &Sources,
        file: &Path,
        folder: &Path,
        path: Vec<String>,
        parent: Option<Id>,
    ) -> Id {
        let scan = Scan::of(&sources.files[file]).unwrap_or_else(|error| {
            self.findings.push(format!("{}: {error}", file.display()));
            Scan::default()
        });
        self.module(sources, file, folder, path, parent, scan)
    }

    fn module(
        &mut self,
        sources: &Sources,
        file: &Path,
        folder: &Path,
        path: Vec<String>,
        parent: Option<Id>,
        mut scan: Scan,
    ) -> Id {
        let id = self.all.len();
        let inline = std::mem::take(&mut scan.inline);
        let outlined = std::mem::take(&mut scan.outlined);
        self.tests
            .extend(scan.tests.iter().map(|name| folder.join(name)));
        for name in std::mem::take(&mut scan.exported_macros) {
            if id != ROOT {
                self.all[ROOT].bind(name, Binding::Item);
            }
        }
        let mut module = Module {
            file: file.to_owned(),
            path: path.clone(),
            parent,
            names: BTreeMap::new(),
            scan: Scan::default(),
        };
        for name in &scan.names {
            let binding = if name.is_local {
                Binding::LocalItem
            } else {
                Binding::Item
            };
            module.bind(name.name.clone(), binding);
        }
        for (index, used) in scan.uses.iter().enumerate() {
            if let Some(name) = &used.name {
                let binding = if used.is_local {
                    Binding::LocalUse(index)
                } else {
                    Binding::Use(index)
                };
                module.bind(name.clone(), binding);
            }
        }
        module.scan = scan;
        self.all.push(module);

        let below = |name: &str| {
            let mut path = path.clone();
            path.push(name.to_owned());
            path
        };
        for (name, scan) in inline {
            let child = self.module(
                sources,
                file,
                &folder.join(&name),
                below(&name),
                Some(id),
                scan,
            );
            self.all[id].bind(name, Binding::Module(child));
        }
        for name in outlined {
            let plain = folder.join(format!("{name}.rs"));
            let in_folder = folder.join(&name).join("mod.rs");
            let file = [plain, in_folder]
                .into_iter()
                .find(|file| sources.files.contains_key(file));
            let Some(file) = file else {
                self.findings
                    .push(format!("mod {} has no file", below(&name).join("::")));
                continue;
            };
            let child = self.file(sources, &file, &folder.join(&name), below(&name), Some(id));
            self.all[id].bind(name, Binding::Module(child));
        }
        id
    }

    /// A reference of this module, as a finding shows it.
    pub(crate) fn shown(&self, module: Id, reference: &Reference) -> String {
        let file = self.all[module].file.display();
        format!("{file}:{} `{}`", reference.line, reference.path.join("::"))
    }
}

impl Module {
    fn bind(&mut self, name: String, binding: Binding) {
        self.names.entry(name).or_default().push(binding);
    }
}
