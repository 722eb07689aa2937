//! Allowed imports. Data flows ingest → log → fold → serve; modules import only downwards.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{self, Source};

/// Modules with the modules they may name. All of these are above the module in this list.
const MAY_NAME: [(&str, &[&str]); 18] = [
    ("proto", &[]),
    ("worker", &[]),
    ("event", &[]),
    ("metrics", &[]),
    ("telemetry", &[]),
    ("rejections", &["event"]),
    ("token", &["event"]),
    ("config", &["event"]),
    ("http", &["metrics", "telemetry"]),
    ("storage", &[]),
    ("segment", &["event", "storage"]),
    ("log", &["event", "segment", "storage", "telemetry", "worker"]),
    ("fold", &["event", "log", "segment", "storage", "worker"]),
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
    ("tonic", &["src/serve", "src/proto", "src/cli"]),
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
fn siblings_make_no_circle_and_no_child_names_its_parent() {
    let sources = source::all(&["src"]);
    let files: BTreeSet<Vec<String>> = sources.iter().map(Source::module).collect();
    let mut edges: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    let mut upward: Vec<String> = Vec::new();
    for source in sources.iter().filter(|source| !source.path.contains("/tests")) {
        let from = source.module();
        for path in source.named_in_crate() {
            let Some(len) = (1..=path.len()).rev().find(|len| files.contains(&path[..*len])) else { continue };
            let to = &path[..len];
            let shared = from.iter().zip(to).take_while(|(from, to)| from == to).count();
            let is_parent = shared == to.len() && shared < from.len();
            if is_parent && len < path.len() {
                upward.push(format!("{} names {}", source.path, path.join("::")));
            }
            if shared < from.len() && shared < to.len() {
                edges.entry(from[..=shared].to_vec()).or_default().insert(to[..=shared].to_vec());
            }
        }
    }
    assert!(upward.is_empty(), "a child names its parent: {upward:#?}");
    assert!(edges.len() > 100, "{} modules name a sibling", edges.len());
    let circles = circles(edges);
    assert!(circles.is_empty(), "a circle: {circles:#?}");
}

/// Removes modules that name none, or that none names, until only circles stay.
fn circles(mut edges: BTreeMap<Vec<String>, BTreeSet<Vec<String>>>) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    loop {
        let named: BTreeSet<Vec<String>> = edges.values().flatten().cloned().collect();
        let before = edges.len();
        edges.retain(|from, to| named.contains(from) && !to.is_empty());
        let left: BTreeSet<Vec<String>> = edges.keys().cloned().collect();
        for to in edges.values_mut() {
            *to = to.intersection(&left).cloned().collect();
        }
        if edges.len() == before {
            return edges;
        }
    }
}

#[test]
fn no_path_climbs_twice() {
    let mut climbing: Vec<String> = Vec::new();
    for source in source::all(&["src", "tests", "benches", "crates"]) {
        let named = source.named().into_iter();
        let twice = named.filter(|path| path.windows(2).any(|pair| pair == ["super", "super"]));
        climbing.extend(twice.map(|path| format!("{} names {}", source.path, path.join("::"))));
    }
    assert!(climbing.is_empty(), "{climbing:#?}");
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
