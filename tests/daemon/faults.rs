//! Faults at named points: a library that is preloaded into the daemon and makes one operation on files fail, or
//! freezes the process at it. It knows nothing of the meaning of the daemon's files.

use std::path::{Path, PathBuf};

use crate::preload;

/// Operation that the library watches for, and its action; see `faults.c`.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    pub operation: &'static str,
    pub path: &'static str,
    /// Number of the first matching operation that is hit, from 1.
    pub nth: u32,
    pub action: &'static str,
}

pub const STOP_BEFORE: &str = "stop-before";
pub const STOP_AFTER: &str = "stop-after";

/// The compiled library, and the files that control it.
pub struct Faults {
    library: String,
    switch: PathBuf,
    marker: PathBuf,
}

impl Faults {
    /// Compiles the library. `None` if there is no C compiler. The directory must not be on the disk that fails.
    pub fn new(directory: &Path) -> Option<Self> {
        let library = preload::compile(directory, preload::FAULTS)?;
        Some(Self { library, switch: directory.join("faults-switch"), marker: directory.join("faults-marker") })
    }

    /// Returns the environment of a daemon under a rule. The rule applies while it is armed.
    pub fn env(&self, rule: &Rule) -> [(&'static str, String); 4] {
        let Rule { operation, path, nth, action } = rule;
        [
            ("LD_PRELOAD", self.library.clone()),
            ("FAULTS", format!("{operation} {path} {nth} {action}")),
            ("FAULTS_SWITCH", self.switch.to_str().unwrap().to_owned()),
            ("FAULTS_MARKER", self.marker.to_str().unwrap().to_owned()),
        ]
    }

    /// Arms the rule.
    pub fn arm(&self) {
        std::fs::write(&self.switch, "").unwrap();
    }

    /// Disarms the rule and forgets all hits.
    pub fn disarm(&self) {
        for path in [&self.switch, &self.marker] {
            if path.exists() {
                std::fs::remove_file(path).unwrap();
            }
        }
    }

    /// Returns the paths that were hit.
    pub fn hits(&self) -> Vec<String> {
        let paths = std::fs::read_to_string(&self.marker).unwrap_or_default();
        paths.lines().map(str::to_owned).collect()
    }
}
