//! A library that, preloaded into the daemon, leaves out the sync of its log. The suites must notice.

use std::path::Path;
use std::process::Command;

const SOURCE: &str = include_str!("no_sync.c");

/// Compiles it into the directory; None where there is no C compiler.
pub fn compiled(directory: &Path) -> Option<String> {
    let (source, library) = (directory.join("no_sync.c"), directory.join("no_sync.so"));
    std::fs::write(&source, SOURCE).unwrap();
    let output = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(library.to_str().unwrap().to_owned())
}
