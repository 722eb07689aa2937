//! Libraries that simulate a faulty machine when they are preloaded into the daemon.

use std::path::Path;
use std::process::Command;

/// Leaves out the sync of the log. The suites must notice.
pub const NO_SYNC: &str = include_str!("no_sync.c");
/// Makes an operation on files fail, or freezes the process at it.
pub const FAULTS: &str = include_str!("faults.c");
/// Shifts the clock by `CLOCK_OFFSET` seconds, and says that it is not synchronised.
pub const SHIFTED_CLOCK: &str = include_str!("shifted_clock.c");

/// Compiles a source into the directory. `None` if there is no C compiler.
pub fn compile(directory: &Path, source: &str) -> Option<String> {
    let (file, library) = (directory.join("preload.c"), directory.join("preload.so"));
    std::fs::write(&file, source).unwrap();
    let output = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &file]).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(library.to_str().unwrap().to_owned())
}
