//! The configuration of a daemon on free ports, and its start. It knows nothing of the requests.

use std::path::Path;
use std::process::Command;

use cleat::config::DEVELOPMENT_SECRET;
use testkit::daemon::Daemon;

use super::{PATIENCE, SECRET};

/// Options of a daemon's start.
pub struct Launch<'a> {
    /// Directory of the configuration, of the log on stderr, and of the data unless `data` is set.
    pub directory: &'a Path,
    pub data: Option<&'a Path>,
    /// Further keys of `[webhooks]`, each on its line.
    pub webhooks: &'a str,
    /// Address of its API.
    pub grpc: &'a str,
    /// Further keys of `[grpc]`, each on its line.
    pub grpc_keys: &'a str,
    /// Whether the endpoint "fasten" has only the development secret.
    pub for_development: bool,
    /// Further keys of the endpoint "fasten".
    pub endpoint: &'a str,
    /// Further sections of the configuration; `[data]`, `[webhooks]`, `[grpc]` and `[operations]` are always there.
    pub config: &'a str,
    /// Whether unsigned events need no evidence of the time: the machine of a test need not be synchronised.
    pub trust_clock: bool,
    /// Whether other processes may look into its memory.
    pub core_dumps: bool,
    /// Command that runs the daemon, such as `strace -D`. The daemon must run under its process id.
    pub wrapped: &'a [&'a str],
    pub env: &'a [(&'a str, &'a str)],
}

impl<'a> Launch<'a> {
    pub fn new(directory: &'a Path) -> Self {
        Self {
            directory,
            data: None,
            webhooks: "",
            grpc: "127.0.0.1:0",
            grpc_keys: "",
            for_development: false,
            endpoint: "",
            config: "",
            trust_clock: true,
            core_dumps: false,
            wrapped: &[],
            env: &[],
        }
    }

    /// Starts the daemon. It listens when this returns, but may not be ready yet.
    pub fn start(&self) -> Daemon {
        let data = self.data.map_or_else(|| self.directory.join("data"), Path::to_path_buf);
        let config = self.directory.join("config.toml");
        let secrets: &[_] = if self.for_development { &[DEVELOPMENT_SECRET] } else { &[SECRET, DEVELOPMENT_SECRET] };
        let text = format!(
            "[data]\ncreate = true\ndirectory = \"{}\"\n[webhooks]\nlisten = \"127.0.0.1:0\"\n{}\n\
             [[webhooks.endpoints]]\nname = \"fasten\"\nsecrets = {:?}\n{}\n\
             [grpc]\nlisten = \"{}\"\n{}\n[operations]\nlisten = \"127.0.0.1:0\"\n{}",
            data.display(),
            self.webhooks,
            secrets,
            self.endpoint,
            self.grpc,
            self.grpc_keys,
            self.config
        );
        std::fs::write(&config, text).unwrap();
        let words: Vec<&str> = self.wrapped.iter().copied().chain([env!("CARGO_BIN_EXE_cleat")]).collect();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args(["serve", "--config"])
            .arg(&config)
            .args(self.trust_clock.then_some("--trust-clock"))
            .args(self.core_dumps.then_some("--core-dumps"))
            .envs(self.env.iter().copied());
        Daemon::spawn(&mut command, &self.directory.join("stderr"), PATIENCE)
    }
}
