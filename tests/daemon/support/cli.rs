//! Runs the binary as a shell does, and collects its output.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Daemon, until};

/// Result of a command.
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Directory of the commands, and the daemon that they ask: by default that of the built-in configuration.
#[derive(Default)]
pub struct Cli {
    directory: Option<PathBuf>,
    daemon: Option<(String, String)>,
    env: Vec<(String, String)>,
}

impl Cli {
    pub fn of(daemon: &Daemon) -> Self {
        Self { daemon: Some((daemon.webhooks.to_string(), daemon.grpc.to_string())), ..Self::default() }
    }

    pub fn in_directory(directory: &Path) -> Self {
        Self { directory: Some(directory.to_owned()), ..Self::default() }
    }

    pub fn with_env(mut self, env: &[(&str, &str)]) -> Self {
        self.env.extend(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cleat"));
        command.args(words);
        for name in ["CLEAT_CONFIG", "CLEAT_GRPC", "CLEAT_SECRET", "CLEAT_TENANT", "STATE_DIRECTORY", "RUST_LOG"] {
            command.env_remove(name);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        if let Some((webhooks, grpc)) = &self.daemon {
            command.env("CLEAT_GRPC", grpc);
            if words.first() == Some(&"send") {
                command.args(["--address", webhooks]);
            }
        }
        command
    }

    /// Runs a command and waits for its end.
    pub fn call(&self, words: &[&str]) -> Ended {
        let mut running = self.runs(words);
        let code = running.ended();
        Ended { code, stdout: running.stdout(), stderr: running.stderr() }
    }

    /// Runs a command that must succeed. Returns its stdout; any output on stderr is a failure.
    #[track_caller]
    pub fn succeeds(&self, words: &[&str]) -> String {
        let ended = self.call(words);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{words:?}");
        ended.stdout
    }

    /// Starts a command and does not wait for its end.
    pub fn runs(&self, words: &[&str]) -> Running {
        Running::start(self.command(words))
    }
}

/// A running command.
pub struct Running {
    child: Child,
    /// Holds the output.
    directory: TempDir,
    lines_read: usize,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name| File::create(directory.path().join(name)).unwrap();
        let child = command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
        Self { child, directory, lines_read: 0 }
    }

    /// Returns the next line on stdout.
    pub fn line(&mut self) -> String {
        let mut line = None;
        until("it prints a further line", || {
            let printed = self.stdout();
            let mut whole = printed.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            line = whole.nth(self.lines_read).map(str::to_owned);
            line.is_some()
        });
        self.lines_read += 1;
        line.unwrap()
    }

    pub fn words(&mut self) -> Vec<String> {
        self.line().split_whitespace().map(str::to_owned).collect()
    }

    /// Returns everything printed to stdout until now.
    pub fn stdout(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("stdout")).unwrap()
    }

    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("stderr")).unwrap()
    }

    /// Interrupts the command, as Ctrl-C does.
    pub fn interrupt(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until the command ends on its own. Returns its exit code.
    pub fn ended(&mut self) -> i32 {
        until("it ends", || self.has_ended());
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}
