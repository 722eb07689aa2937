//! The daemon as a process of its own, with its log in a file. Knows neither its configuration nor the requests.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::patience::Patience;

/// Addresses that a daemon listens on.
pub struct Addresses {
    pub webhooks: SocketAddr,
    pub grpc: SocketAddr,
    pub operations: SocketAddr,
}

impl Addresses {
    /// Returns the addresses in a daemon's log. `None` if it does not have them yet.
    pub fn in_log(log: &str) -> Option<Self> {
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let listening = lines.find(|line| line["message"] == "listening")?;
        let address = |name: &str| listening[name].as_str().unwrap().parse().unwrap();
        Some(Self { webhooks: address("webhooks"), grpc: address("grpc"), operations: address("operations") })
    }
}

/// A running daemon. It is killed on drop.
pub struct Daemon {
    child: Child,
    log: PathBuf,
    patience: Patience,
    pub webhooks: SocketAddr,
    pub grpc: SocketAddr,
    pub operations: SocketAddr,
}

impl Daemon {
    /// Starts a command that runs `cleat serve` under its own process id. The daemon listens when this returns, but may
    /// not be ready yet. `log` is the file of its stderr.
    pub fn spawn(command: &mut Command, log: &Path, patience: Patience) -> Self {
        let mut child = command.stdin(Stdio::null()).stderr(File::create(log).unwrap()).spawn().unwrap();
        let Addresses { webhooks, grpc, operations } = patience.until("the daemon listens", || {
            let has_ended = child.try_wait().unwrap().is_some();
            let text = std::fs::read_to_string(log).unwrap();
            let addresses = Addresses::in_log(&text);
            // A daemon that cannot open its log may have ended after it listened.
            assert!(addresses.is_some() || !has_ended, "it ended: {text}");
            addresses
        });
        Self { child, log: log.to_owned(), patience, webhooks, grpc, operations }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether all threads of the process are stopped by a signal.
    pub fn is_stopped(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        threads.flatten().all(|thread| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        })
    }

    /// CPU time of all threads of the process.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields = stat.rsplit(')').next().unwrap().split_whitespace();
        // User and system, in hundredths of a second.
        Duration::from_millis(fields.skip(11).take(2).map(|ticks| 10 * ticks.parse::<u64>().unwrap()).sum())
    }

    /// Returns the complete log output.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Asks the operations port. Returns status and body of the answer.
    pub fn operations(&self, path: &str) -> (u16, String) {
        self.ask(path).unwrap()
    }

    fn ask(&self, path: &str) -> io::Result<(u16, String)> {
        exchange(self.operations, "GET", path, self.patience.limit)
    }

    /// Waits until the daemon takes webhooks and its views have caught up.
    pub fn ready(mut self) -> Self {
        self.patience.until("the daemon is ready", || {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended: {}", self.log());
            self.ask("/readyz").is_ok_and(|(status, _)| status == 200).then_some(())
        });
        self
    }

    /// Kills the daemon like a crash of the process: no handler runs.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops the daemon as systemd does.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Exit status. `None` if the daemon is running.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until the daemon ends on its own.
    pub fn ended(&mut self) -> ExitStatus {
        self.patience.until("the daemon ends", || self.child.try_wait().unwrap())
    }

    /// Waits until the daemon ends on its own, for any time, and returns without a delay.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Daemon {
    /// Kills the daemon, so that a failed test leaves no process behind.
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

/// Sends a request without a body. Returns status and body of the answer.
pub fn exchange(address: SocketAddr, method: &str, path: &str, limit: Duration) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(limit))?;
    let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
}
