//! The limit on open files: the daemon raises it as far as allowed, and warns if that is too little.

use crate::support::{Daemon, Launch};

/// Starts the daemon under a soft limit and a hard limit.
fn under(directory: &std::path::Path, soft: u64, hard: u64) -> Daemon {
    let limits = format!("ulimit -S -n {soft}; ulimit -H -n {hard}; exec \"$@\"");
    Launch { wrapped: &["sh", "-c", &limits, "sh"], ..Launch::new(directory) }.start().ready()
}

/// Returns the soft limit and the hard limit from `/proc`.
fn limits(daemon: &Daemon) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().take(2).map(ToOwned::to_owned).collect()
}

#[test]
fn all_open_files_that_are_allowed_are_taken() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = under(directory.path(), 100, 4096);
    assert_eq!(limits(&daemon), ["4096", "4096"]);
    assert!(!daemon.log().contains("the limit of open files"), "{}", daemon.log());
}

#[test]
fn too_few_allowed_open_files_are_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = under(directory.path(), 100, 300);
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("the limit of open files")).expect("a warning");
    assert!(line.contains("\"level\":\"WARN\"") && line.contains("\"allowed\":300"), "{line}");
}
