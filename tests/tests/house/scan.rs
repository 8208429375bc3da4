//! Reads one file's items and paths.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, UseTree, Visibility};

/// What a module says, before anything is resolved.
#[derive(Default)]
pub(crate) struct Scan {
    pub(crate) names: Vec<Name>,
    pub(crate) uses: Vec<Use>,
    pub(crate) paths: Vec<Reference>,
    /// Modules in files of their own.
    pub(crate) outlined: Vec<String>,
    /// Modules of tests in files of their own, which are not read.
    pub(crate) tests: Vec<String>,
    /// Modules in braces.
    pub(crate) inline: Vec<(String, Scan)>,
    /// A macro at the level of items may define names that cannot be seen.
    pub(crate) has_item_macros: bool,
    /// Functions that are called by their bare name, and where.
    pub(crate) calls: Vec<(String, usize)>,
    /// Names of `#[macro_export]` macros, which stand at the crate's root.
    pub(crate) exported_macros: Vec<String>,
}

/// A name that an item defines.
pub(crate) struct Name {
    pub(crate) name: String,
    /// Within a function.
    pub(crate) is_local: bool,
}

/// One name (or glob) of a `use`.
pub(crate) struct Use {
    pub(crate) path: Reference,
    /// The name that it binds; `None` for `_` and for globs.
    pub(crate) name: Option<String>,
    pub(crate) is_glob: bool,
    pub(crate) is_local: bool,
}

/// A path and its line.
#[derive(Clone)]
pub(crate) struct Reference {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
}

impl Scan {
    /// Reads a file; an error names the line at which it cannot be parsed.
    pub(crate) fn of(text: &str) -> Result<Self, String> {
        let file = syn::parse_file(text)
            .map_err(|error| format!("line {}: {error}", error.span().start().line))?;
        let mut visitor = Visitor::default();
        for attribute in &file.attrs {
            visitor.visit_attribute(attribute);
        }
        for item in &file.items {
            visitor.visit_item(item);
        }
        Ok(visitor.scan)
    }
}

#[derive(Default)]
struct Visitor {
    scan: Scan,
    /// How many blocks the place is in.
    depth: usize,
}

impl Visitor {
    fn define(&mut self, name: &impl ToString) {
        self.scan.names.push(Name {
            name: name.to_string(),
            is_local: self.depth > 0,
        });
    }

    fn use_tree(&mut self, tree: &UseTree, prefix: &[String]) {
        let line = tree.span().start().line;
        let mut add = |last: Option<&syn::Ident>, name: Option<String>, is_glob| {
            let mut path = prefix.to_vec();
            path.extend(
                last.map(ToString::to_string)
                    .filter(|last| last != "self" || prefix.is_empty()),
            );
            let name = match name {
                Some(name) if name == "self" => path.last().cloned(),
                name => name,
            };
            self.scan.uses.push(Use {
                path: Reference { path, line },
                name,
                is_glob,
                is_local: self.depth > 0,
            });
        };
        match tree {
            UseTree::Path(path) => {
                let mut prefix = prefix.to_vec();
                prefix.push(path.ident.to_string());
                self.use_tree(&path.tree, &prefix);
            }
            UseTree::Name(name) => add(Some(&name.ident), Some(name.ident.to_string()), false),
            UseTree::Rename(rename) => {
                let name = rename.rename.to_string();
                add(Some(&rename.ident), (name != "_").then_some(name), false);
            }
            UseTree::Glob(_) => add(None, None, true),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.use_tree(tree, prefix);
                }
            }
        }
    }

    fn add_path(&mut self, path: Vec<String>, line: usize) {
        if path.len() > 1 {
            self.scan.paths.push(Reference { path, line });
        }
    }

    /// Paths among tokens that need not be Rust.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut line = 0;
        let mut colons = 0;
        for token in tokens {
            match &token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Ident(ident) => {
                    if colons != 2 || path.is_empty() {
                        self.add_path(std::mem::take(&mut path), line);
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                    colons = 0;
                    continue;
                }
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Literal(literal) => self.string(literal),
                TokenTree::Punct(_) => {}
            }
            self.add_path(std::mem::take(&mut path), line);
            colons = 0;
        }
        self.add_path(path, line);
    }

    /// Some attributes have paths in strings.
    fn string(&mut self, literal: &proc_macro2::Literal) {
        let text = literal.to_string();
        let text = text.trim_matches('"');
        if ["crate::", "self::", "super::"]
            .iter()
            .any(|start| text.starts_with(start))
            && let Ok(path) = syn::parse_str::<syn::Path>(text)
        {
            self.add_path(segments(&path), literal.span().start().line);
        }
    }
}

fn segments(path: &syn::Path) -> Vec<String> {
    path.segments
        .iter()
        .map(|segment| segment.ident.to_string())
        .collect()
}

impl<'ast> Visit<'ast> for Visitor {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_test(attributes(item)) {
            if let Item::Mod(module) = item {
                self.scan.tests.push(module.ident.to_string());
            }
            return;
        }
        match item {
            Item::Const(item) => self.define(&item.ident),
            Item::Enum(item) => self.define(&item.ident),
            Item::Fn(item) => self.define(&item.sig.ident),
            Item::Static(item) => self.define(&item.ident),
            Item::Struct(item) => self.define(&item.ident),
            Item::Trait(item) => self.define(&item.ident),
            Item::TraitAlias(item) => self.define(&item.ident),
            Item::Type(item) => self.define(&item.ident),
            Item::Union(item) => self.define(&item.ident),
            Item::Macro(item) => match &item.ident {
                Some(name) => {
                    self.define(name);
                    if item.attrs.iter().any(|a| a.path().is_ident("macro_export")) {
                        self.scan.exported_macros.push(name.to_string());
                    }
                }
                None => self.scan.has_item_macros |= self.depth == 0,
            },
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        for attribute in &item.attrs {
            assert!(
                !attribute.path().is_ident("path"),
                "a module with #[path], which this test cannot follow"
            );
            self.visit_attribute(attribute);
        }
        let Some((_, items)) = &item.content else {
            self.scan.outlined.push(item.ident.to_string());
            return;
        };
        let mut inner = Visitor::default();
        for item in items {
            inner.visit_item(item);
        }
        self.scan.inline.push((item.ident.to_string(), inner.scan));
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&item.tree, &[]);
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let attributes = match item {
            syn::ImplItem::Const(item) => &item.attrs[..],
            syn::ImplItem::Fn(item) => &item.attrs,
            syn::ImplItem::Type(item) => &item.attrs,
            _ => &[],
        };
        if !is_test(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        self.depth += 1;
        visit::visit_block(self, block);
        self.depth -= 1;
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let syn::Expr::Path(function) = &*call.func
            && let Some(name) = function.path.get_ident()
        {
            self.scan
                .calls
                .push((name.to_string(), name.span().start().line));
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.add_path(segments(path), path.span().start().line);
        visit::visit_path(self, path);
    }

    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_macro(&mut self, invoked: &'ast syn::Macro) {
        self.visit_path(&invoked.path);
        self.tokens(invoked.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if !attribute.path().is_ident("doc") {
            self.tokens(attribute.meta.to_token_stream());
        }
    }
}

/// Under `#[cfg(test)]`, or a test.
pub(crate) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && matches!(&attribute.meta, Meta::List(list) if is_test_only(&list.tokens))
    })
}

/// `test`, or `all(test, ...)`.
fn is_test_only(condition: &TokenStream) -> bool {
    let mut tokens = condition.clone().into_iter();
    match (tokens.next(), tokens.next()) {
        (Some(TokenTree::Ident(ident)), None) => ident == "test",
        (Some(TokenTree::Ident(ident)), Some(TokenTree::Group(group))) if ident == "all" => group
            .stream()
            .into_iter()
            .any(|token| matches!(token, TokenTree::Ident(ident) if ident == "test")),
        _ => false,
    }
}

/// Those of any item.
pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
