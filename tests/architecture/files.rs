//! Rules for all files: each names its subject first, none is dead, and files and functions stay below a maximum size.

use std::collections::BTreeSet;

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use super::source::{self, Source};

const EVERYWHERE: [&str; 3] = ["src", "tests", "benches"];

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
        let is_root =
            matches!(parts[..], ["src", "lib.rs" | "main.rs"] | ["tests" | "benches", _] | ["tests", _, "main.rs"]);
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
