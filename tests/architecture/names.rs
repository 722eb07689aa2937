//! Names: one name for one type, and no `if` in the dress of a filter.

use std::collections::BTreeMap;

use syn::visit::{self, Visit};
use syn::{Expr, ExprMethodCall, ItemEnum, ItemMod, ItemStruct, ItemTrait, ItemType, Pat};

use super::source;

/// Names of two types, with the reason.
const SHARED: [(&str, &str); 3] = [
    ("Log", "the section `[log]` of the configuration, and the log"),
    ("Operations", "the section `[operations]` of the configuration, and the listener"),
    ("Views", "the section `[views]` of the configuration, and the views"),
];

#[test]
fn type_names_are_unique_in_the_library() {
    let mut types: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in source::all(&["src"]) {
        if source.path.starts_with("src/cli") || source.path.contains("/tests") {
            continue;
        }
        let mut found = Types::default();
        found.visit_file(&source.syntax);
        for name in found.0 {
            types.entry(name).or_default().push(source.path.clone());
        }
    }
    assert!(types.len() > 300, "only {} types found", types.len());
    let shared: BTreeMap<&str, &Vec<String>> =
        types.iter().filter(|(_, paths)| paths.len() > 1).map(|(name, paths)| (name.as_str(), paths)).collect();
    let allowed = SHARED.map(|(name, _)| name);
    assert!(shared.keys().eq(allowed.iter()), "of several types: {shared:#?}");
}

/// Types that a file declares outside its tests.
#[derive(Default)]
struct Types(Vec<String>);

impl<'ast> Visit<'ast> for Types {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !source::is_test(item) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_struct(&mut self, item: &'ast ItemStruct) {
        self.0.push(item.ident.to_string());
    }

    fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
        self.0.push(item.ident.to_string());
    }

    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        self.0.push(item.ident.to_string());
    }

    fn visit_item_type(&mut self, item: &'ast ItemType) {
        self.0.push(item.ident.to_string());
    }
}

#[test]
fn no_filter_ignores_its_argument() {
    let mut found = Vec::new();
    for source in source::all(&["src", "tests", "benches", "crates"]) {
        let mut filters = Filters::default();
        filters.visit_file(&source.syntax);
        found.extend(filters.0.into_iter().map(|line| format!("{}:{line}", source.path)));
    }
    assert!(found.is_empty(), "an `if` says it: {found:#?}");
}

/// Lines of filters whose condition does not look at the value.
#[derive(Default)]
struct Filters(Vec<usize>);

impl<'ast> Visit<'ast> for Filters {
    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        let ignores = |argument: &Expr| matches!(argument, Expr::Closure(closure) if matches!(closure.inputs.first(), Some(Pat::Wild(_))));
        if call.method == "filter" && call.args.iter().any(ignores) {
            self.0.push(call.method.span().start().line);
        }
        visit::visit_expr_method_call(self, call);
    }
}
