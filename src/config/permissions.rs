//! Who else may read or write the files that the daemon trusts. Knows their modes, and nothing of what is in them.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::geteuid;

const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
/// To read a file, or to list or enter a directory.
const OTHERS_READ: u32 = 0o005;

/// What was found while the configuration was read: what it cannot be used for, and what the operator should know.
#[derive(Default)]
pub(super) struct Findings {
    pub problems: Vec<String>,
    pub warnings: Vec<String>,
    /// Whether the configuration itself holds a secret that is not the published one.
    pub inline_secrets: bool,
}

/// Reads a file, and what was opened as it.
pub(super) fn read(path: &Path) -> io::Result<(Metadata, String)> {
    let mut file = File::open(path)?;
    let opened = file.metadata()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok((opened, text))
}

impl Findings {
    /// Checks who may write what was opened at a path and, if it is `confidential`, who may read it. `name` is what
    /// messages call it.
    pub fn check_permissions(&mut self, name: &str, opened: &Metadata, confidential: bool) {
        let (mode, owner) = (opened.mode() & 0o7777, opened.uid());
        if mode & GROUP_OR_OTHERS_WRITE != 0 {
            self.problems.push(format!("{name} has mode {mode:04o}: others than its owner may write it"));
        } else if owner != 0 && owner != geteuid().as_raw() {
            self.problems.push(format!("{name} belongs to user {owner}, who is neither root nor the daemon's user"));
        } else if confidential && mode & OTHERS_READ != 0 {
            self.warnings.push(format!("{name} has mode {mode:04o}: every local user may read it"));
        }
    }
}
