//! Rules for all files: each names its subject first, none is dead, and files and functions stay below a maximum size.

use std::collections::{BTreeMap, BTreeSet};

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use super::source::{self, Source};

const EVERYWHERE: [&str; 4] = ["src", "tests", "benches", "crates"];

#[test]
fn every_file_says_first_what_it_owns() {
    for source in source::all(&EVERYWHERE) {
        assert!(source.text.starts_with("//! "), "{} does not begin with //!", source.path);
    }
}

#[test]
fn no_file_is_dead() {
    let sources = source::all(&EVERYWHERE);
    let declared: BTreeSet<String> = sources.iter().flat_map(Source::declared).flatten().collect();
    for path in sources.iter().map(|source| &source.path) {
        let parts: Vec<&str> = path.split('/').collect();
        let is_root = matches!(
            parts[..],
            ["src", "lib.rs" | "main.rs"]
                | ["tests" | "benches", _]
                | ["tests", _, "main.rs"]
                | ["crates", _, "src", "lib.rs"]
        );
        assert!(is_root || declared.contains(path), "{path} is part of no module");
    }
}

#[test]
fn documents_name_files_that_exist() {
    let mut named = 0;
    let documents = std::fs::read_dir(source::root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let documents = documents.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    for document in documents.chain(["README.md", "CONTRIBUTING.md"].map(|name| source::root().join(name))) {
        let text = std::fs::read_to_string(&document).unwrap();
        let is_part = |c: char| c.is_ascii_alphanumeric() || "/_-.".contains(c);
        for path in text
            .split(|c| !is_part(c))
            .filter(|path| EVERYWHERE.iter().any(|root| path.starts_with(&format!("{root}/"))))
        {
            let path = path.trim_end_matches('.');
            assert!(source::root().join(path).exists(), "{} names {path}", document.display());
            named += 1;
        }
    }
    assert!(named > 100, "only {named} paths found");
}

#[test]
fn files_stay_small_enough_to_read() {
    for source in source::all(&EVERYWHERE) {
        assert!(source.lines() <= 500, "{} has {} lines, at most 500 are allowed", source.path, source.lines());
    }
}

/// Lines below which a file with one importer belongs to that importer.
const SMALL_LINES: usize = 60;
/// Begins the reason in the head of a small file that stands on its own.
const REASON: &str = "Kept apart:";

#[test]
fn small_files_have_several_importers_or_a_reason() {
    let sources = source::all(&["src"]);
    let files: BTreeSet<Vec<String>> = sources.iter().map(Source::module).collect();
    let exports: BTreeMap<Vec<String>, Vec<String>> = sources.iter().flat_map(Source::reexported).collect();
    let mut importers: BTreeMap<Vec<String>, BTreeSet<&str>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.path.contains("/tests")) {
        let own_exports: BTreeSet<Vec<String>> = source.reexported().into_values().collect();
        for path in source.named_in_crate().difference(&own_exports) {
            let path = followed(path.clone(), &exports, &files);
            let module = (1..=path.len()).rev().map(|len| path[..len].to_vec()).find(|module| files.contains(module));
            if let Some(module) = module.filter(|module| *module != source.module()) {
                importers.entry(module).or_default().insert(&source.path);
            }
        }
    }
    let mut small = Vec::new();
    for source in sources.iter().filter(|source| source.lines() < SMALL_LINES && !source.path.contains("/tests")) {
        let module = source.module();
        let is_root = source.path == "src/lib.rs" || source.path == "src/main.rs";
        let has_children = files.iter().any(|file| file.len() > module.len() && file.starts_with(&module));
        let head = source.text.lines().map_while(|line| line.strip_prefix("//!"));
        let has_reason = head.collect::<String>().contains(REASON);
        let count = importers.get(&module).map_or(0, BTreeSet::len);
        if !is_root && !has_children && !has_reason && count < 2 {
            small.push(format!("{} ({} lines, {count} importers)", source.path, source.lines()));
        }
    }
    assert!(small.is_empty(), "{small:#?}");
}

/// Follows re-exports to the module that defines a path.
fn followed(
    mut path: Vec<String>,
    exports: &BTreeMap<Vec<String>, Vec<String>>,
    files: &BTreeSet<Vec<String>>,
) -> Vec<String> {
    // As many steps as folders are deep, so that a circle of exports ends.
    for _ in 0..8 {
        let export =
            (1..=path.len()).rev().find(|len| !files.contains(&path[..*len]) && exports.contains_key(&path[..*len]));
        let Some(len) = export else { break };
        path = [&exports[&path[..len]], &path[len..]].concat();
    }
    path
}

#[test]
fn functions_stay_short_enough_to_read_at_once() {
    let mut functions = Functions::default();
    for source in source::all(&EVERYWHERE) {
        functions.path = source.path;
        functions.visit_file(&source.syntax);
    }
    let over = |lines: usize| functions.found.iter().filter(|found| found.0 > lines).collect::<Vec<_>>();
    assert!(over(70).is_empty(), "{:#?}", over(70));
    assert!(over(40).len() <= functions.found.len() / 100, "too many over 40 lines: {:#?}", over(40));
}

/// Functions with their lengths in lines.
#[derive(Default)]
struct Functions {
    path: String,
    found: Vec<(usize, String)>,
}

impl Functions {
    fn add(&mut self, name: &syn::Ident, body: proc_macro2::Span) {
        let lines = body.end().line - body.start().line + 1;
        self.found.push((lines, format!("{}::{name}", self.path)));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig.ident, item.block.span());
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig.ident, item.block.span());
        visit::visit_impl_item_fn(self, item);
    }
}
