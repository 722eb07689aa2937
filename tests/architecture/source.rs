//! Source files, parsed, with the paths they name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{ItemMod, ItemUse, UseTree, Visibility};

/// One source file.
pub struct Source {
    /// Path from the root, such as `src/log/open.rs`.
    pub path: String,
    pub text: String,
    pub syntax: syn::File,
}

impl Source {
    pub fn lines(&self) -> usize {
        self.text.lines().count()
    }

    /// Returns every path that the file names, as segments such as `["crate", "log", "Reader"]`. Includes paths inside
    /// macros.
    pub fn named(&self) -> BTreeSet<Vec<String>> {
        let mut names = Names::default();
        names.visit_file(&self.syntax);
        names.paths.into_iter().map(|(_, path)| path).collect()
    }

    /// Returns the file's module, as segments below `src`.
    pub fn module(&self) -> Vec<String> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        path.split('/').map(str::to_owned).collect()
    }

    /// Returns every path of the crate that the file names outside its tests, as segments below `src`. A path that
    /// begins with a child module counts, too.
    pub fn named_in_crate(&self) -> BTreeSet<Vec<String>> {
        let children = self.children();
        let mut names = Names { skips_tests: true, ..Names::default() };
        names.visit_file(&self.syntax);
        names
            .paths
            .into_iter()
            .filter_map(|(inner, path)| resolve(&[self.module(), inner].concat(), &path, &children))
            .collect()
    }

    /// Returns the names that the file exports from other modules of the crate: each with its path below `src`.
    pub fn reexported(&self) -> BTreeMap<Vec<String>, Vec<String>> {
        let children = self.children();
        let mut names = Names::default();
        names.visit_file(&self.syntax);
        let exports = names.exports.into_iter().filter_map(|(name, path)| {
            let exported = [self.module(), vec![name]].concat();
            Some((exported, resolve(&self.module(), &path, &children)?))
        });
        exports.collect()
    }

    /// Returns the modules that are declared without a body.
    fn children(&self) -> Vec<String> {
        let names = self.syntax.items.iter().filter_map(|item| match item {
            syn::Item::Mod(ItemMod { ident, content: None, .. }) => Some(ident.to_string()),
            _ => None,
        });
        names.collect()
    }

    /// Returns the two possible files of each module that is declared without a body.
    pub fn declared(&self) -> Vec<[String; 2]> {
        let stem = self.path.trim_end_matches(".rs");
        let is_root = ["lib", "main"].iter().any(|root| stem.ends_with(&format!("/{root}")));
        let directory = if is_root { Path::new(stem).parent().unwrap() } else { Path::new(stem) };
        let file = |path: PathBuf| path.to_str().unwrap().to_owned();
        let beside = |name: &str| Path::new(stem).parent().unwrap().join(format!("{name}.rs"));
        let files = |name: &String| [file(directory.join(format!("{name}.rs"))), file(beside(name))];
        self.children().iter().map(files).collect()
    }
}

/// Whether a module is compiled for unit tests only.
pub fn is_test(item: &ItemMod) -> bool {
    item.attrs.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|cfg| cfg == "test")
    })
}

/// Reads every Rust file below these directories.
pub fn all(directories: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    for directory in directories {
        collect(&root().join(directory), &mut paths);
    }
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn read(path: &Path) -> Source {
    let text = std::fs::read_to_string(path).unwrap();
    let syntax = syn::parse_file(&text).unwrap();
    Source { path: path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(), text, syntax }
}

/// Returns a path as segments below `src`. `None` if it leads out of the crate, or is a name of the module itself.
fn resolve(module: &[String], path: &[String], children: &[String]) -> Option<Vec<String>> {
    let begin = match path.first()?.as_str() {
        // The binary names the library by its name.
        "crate" | "cleat" => return Some(path[1..].to_vec()),
        "self" | "super" => {
            let steps = path.iter().take_while(|segment| *segment == "super").count();
            let rest = path.iter().skip_while(|segment| ["self", "super"].contains(&segment.as_str()));
            return Some(module[..module.len() - steps].iter().chain(rest).cloned().collect());
        }
        first => first,
    };
    children.iter().any(|child| child == begin).then(|| [module, path].concat())
}

/// The paths of a file, each with the inline modules around it.
#[derive(Default)]
struct Names {
    paths: BTreeSet<(Vec<String>, Vec<String>)>,
    /// Names that `pub use` declares outside inline modules, with the paths that they stand for.
    exports: BTreeSet<(String, Vec<String>)>,
    inner: Vec<String>,
    skips_tests: bool,
}

impl Names {
    fn add(&mut self, path: Vec<String>) {
        self.paths.insert((self.inner.clone(), path));
    }

    fn tree(&mut self, prefix: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            UseTree::Name(name) => self.add(with(&name.ident)),
            UseTree::Rename(rename) => self.add(with(&rename.ident)),
            UseTree::Glob(_) => self.add(prefix.to_vec()),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(prefix, item)),
        }
    }

    /// Adds the paths in a macro's tokens. The tokens are not parsed: names with `::` between them are a path.
    fn tokens(&mut self, tokens: proc_macro2::TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                proc_macro2::TokenTree::Group(group) => self.tokens(group.stream()),
                proc_macro2::TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                proc_macro2::TokenTree::Ident(ident) => {
                    if colons != 2 {
                        path.clear();
                    }
                    path.push(ident.to_string());
                    self.add(path.clone());
                    colons = 0;
                    continue;
                }
                _ => {}
            }
            (path, colons) = (Vec::new(), 0);
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if self.skips_tests && is_test(item) {
            return;
        }
        self.inner.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.inner.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let is_export = self.inner.is_empty() && !matches!(item.vis, Visibility::Inherited);
        let before = self.paths.clone();
        self.tree(&[], &item.tree);
        if is_export {
            let added = self.paths.difference(&before).map(|(_, path)| path.clone());
            self.exports.extend(added.filter_map(|path| Some((path.last()?.clone(), path))));
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.add(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}
