//! Allowed imports. Data flows ingest → log → fold → serve; modules import only downwards.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{self, Source};

/// Modules with the modules they may name. All of these are above the module in this list.
const MAY_NAME: [(&str, &[&str]); 17] = [
    ("proto", &[]),
    ("event", &[]),
    ("metrics", &[]),
    ("telemetry", &[]),
    ("rejections", &["event"]),
    ("token", &["event"]),
    ("config", &["event"]),
    ("http", &["metrics", "telemetry"]),
    ("storage", &[]),
    ("segment", &["event", "storage", "token"]),
    ("log", &["event", "segment", "storage", "telemetry", "token"]),
    ("fold", &["event", "log", "segment", "storage", "token"]),
    ("backfill", &["config", "event", "log"]),
    ("ingest", &["config", "event", "http", "log", "metrics", "rejections", "telemetry", "token"]),
    ("serve", &["backfill", "event", "fold", "http", "log", "metrics", "proto", "rejections", "token"]),
    ("operations", &["http", "metrics"]),
    (
        "daemon",
        &[
            "backfill",
            "config",
            "event",
            "fold",
            "http",
            "ingest",
            "log",
            "metrics",
            "operations",
            "rejections",
            "serve",
        ],
    ),
];

/// Crates that shape the code that uses them, with the only files or modules that may use them.
const CONFINED: [(&str, &[&str]); 7] = [
    ("sled", &["src/log/journal.rs"]),
    ("xorf", &["src/log/dedup/runs/"]),
    ("zstd", &["src/storage/compression.rs", "src/log/format/tests/dictionary.rs"]),
    ("hyper", &["src/http", "src/ingest", "src/operations.rs", "src/serve/transport", "src/cli/send.rs"]),
    ("tonic", &["src/serve", "src/proto.rs", "src/cli"]),
    ("prost", &["src/serve", "src/proto", "src/cli"]),
    ("anyhow", &["src/main.rs", "src/cli"]),
];

/// Returns the library's module that a file belongs to. `None` if the file belongs to the binary or is the library's
/// root.
fn module(source: &Source) -> Option<&str> {
    let name = source.path.strip_prefix("src/")?.split('/').next()?.trim_end_matches(".rs");
    (!["lib", "main", "cli"].contains(&name)).then_some(name)
}

#[test]
fn modules_name_only_what_lies_below_them_in_the_flow() {
    let mut used: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let sources = source::all(&["src"]);
    for source in &sources {
        let Some(from) = module(source) else { continue };
        let named = source.named().into_iter().filter(|path| path.len() > 1 && path[0] == "crate");
        used.entry(from).or_default().extend(named.map(|path| path[1].clone()).filter(|to| to != from));
    }
    let allowed: BTreeMap<&str, BTreeSet<String>> =
        MAY_NAME.iter().map(|(from, to)| (*from, to.iter().map(ToString::to_string).collect())).collect();
    assert_eq!(used, allowed, "left: what is; right: what may be. An edge that nobody uses any more goes, too");
}

#[test]
fn the_allowed_edges_make_no_circle() {
    for (index, (from, to)) in MAY_NAME.iter().enumerate() {
        let below: Vec<&str> = MAY_NAME[..index].iter().map(|(name, _)| *name).collect();
        assert!(to.iter().all(|to| below.contains(to)), "{from} names what does not stand above it in the list");
    }
}

#[test]
fn the_parts_of_a_module_make_no_circle() {
    let sources = source::all(&["src"]);
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.path.contains("/tests")) {
        let stem = source.path.trim_end_matches(".rs");
        let Some((parent, _)) = stem.rsplit_once('/') else { continue };
        let siblings = source.named().into_iter().filter(|path| path.len() > 1 && path[0] == "super");
        let siblings = siblings.map(|path| format!("{parent}/{}", path[1]));
        let exists = |sibling: &String| sources.iter().any(|source| source.path == format!("{sibling}.rs"));
        edges.entry(stem.to_owned()).or_default().extend(siblings.filter(exists));
    }
    // A file that names no sibling, or is named by none, is in no circle. Such files are removed until only circles
    // stay.
    loop {
        let named: BTreeSet<String> = edges.values().flatten().cloned().collect();
        let before = edges.len();
        edges.retain(|from, to| named.contains(from) && !to.is_empty());
        let left: BTreeSet<String> = edges.keys().cloned().collect();
        for to in edges.values_mut() {
            *to = to.intersection(&left).cloned().collect();
        }
        if edges.len() == before {
            break;
        }
    }
    assert!(edges.is_empty(), "a circle: {edges:#?}");
}

#[test]
fn each_crate_stays_where_it_belongs() {
    let sources = source::all(&["src"]);
    for (name, places) in CONFINED {
        let users = sources.iter().filter(|source| source.named().iter().any(|path| path.len() > 1 && path[0] == name));
        let users: Vec<&str> = users.map(|source| source.path.as_str()).collect();
        assert!(!users.is_empty(), "nobody uses {name}");
        for user in users {
            assert!(places.iter().any(|place| user.starts_with(place)), "{user} names {name}");
        }
    }
}
