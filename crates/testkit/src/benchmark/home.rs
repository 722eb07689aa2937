//! A directory for one daemon: its binary, its configuration, its data, its log output. It is removed on drop. Starts
//! nothing.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use crate::workload::SECRET;

pub struct Home(TempDir);

impl Home {
    /// Makes the directory below `scratch`.
    pub fn new(binary: &str, scratch: &str) -> Self {
        let home = Self(tempfile::tempdir_in(scratch).unwrap());
        // A copy, because a build may replace the binary while this runs.
        std::fs::copy(binary, home.binary()).unwrap();
        std::fs::create_dir(home.data()).unwrap();
        let text = format!(
            "[data]\ncreate = true\ndirectory = \"{}\"\n[webhooks]\nlisten = \"127.0.0.1:0\"\n\
             [[webhooks.endpoints]]\nname = \"fasten\"\nsecrets = [\"whsec_{}\"]\n\
             [grpc]\nlisten = \"127.0.0.1:0\"\nmax_watches_per_caller = 1000\n[operations]\nlisten = \"127.0.0.1:0\"\n",
            home.data().display(),
            STANDARD.encode(SECRET)
        );
        std::fs::write(home.config(), text).unwrap();
        home
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn binary(&self) -> PathBuf {
        self.path().join("cleat")
    }

    pub fn config(&self) -> PathBuf {
        self.path().join("config.toml")
    }

    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// File of the daemon's stderr.
    pub fn log(&self) -> PathBuf {
        self.path().join("stderr")
    }
}
