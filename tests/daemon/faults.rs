//! Faults at named points: a library that, preloaded into the daemon, makes one operation on files fail, or freezes the process
//! at it. Knows nothing of what the daemon's files mean.

use std::path::{Path, PathBuf};

use crate::preload;

/// What the library watches for, and what it does then; see `faults.c`.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    pub operation: &'static str,
    pub path: &'static str,
    /// The first operation that is meant, from 1.
    pub nth: u32,
    pub action: &'static str,
}

pub const STOP_BEFORE: &str = "stop-before";
pub const STOP_AFTER: &str = "stop-after";

/// The compiled library, and the files by which it is steered.
pub struct Faults {
    library: String,
    switch: PathBuf,
    marker: PathBuf,
}

impl Faults {
    /// `None` if there is no C compiler. The directory must not be on the disk that fails.
    pub fn new(directory: &Path) -> Option<Self> {
        let library = preload::compile(directory, preload::FAULTS)?;
        Some(Self { library, switch: directory.join("faults-switch"), marker: directory.join("faults-marker") })
    }

    /// The environment of a daemon under a rule, which holds while it is armed.
    pub fn env(&self, rule: &Rule) -> [(&'static str, String); 4] {
        let Rule { operation, path, nth, action } = rule;
        [
            ("LD_PRELOAD", self.library.clone()),
            ("FAULTS", format!("{operation} {path} {nth} {action}")),
            ("FAULTS_SWITCH", self.switch.to_str().unwrap().to_owned()),
            ("FAULTS_MARKER", self.marker.to_str().unwrap().to_owned()),
        ]
    }

    /// From now on the rule holds.
    pub fn arm(&self) {
        std::fs::write(&self.switch, "").unwrap();
    }

    /// From now on nothing happens, and no hit is known.
    pub fn disarm(&self) {
        for path in [&self.switch, &self.marker] {
            if path.exists() {
                std::fs::remove_file(path).unwrap();
            }
        }
    }

    /// The paths that were hit.
    pub fn hits(&self) -> Vec<String> {
        let paths = std::fs::read_to_string(&self.marker).unwrap_or_default();
        paths.lines().map(str::to_owned).collect()
    }
}
