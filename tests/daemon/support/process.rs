//! The daemon as a process of its own, with free ports. It knows nothing of the requests.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use cleat::config::DEVELOPMENT_SECRET;
use rustix::process::{Pid, Signal, kill_process};

use super::until;

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

    pub fn start(&self) -> Daemon {
        let data = self.data.map_or_else(|| self.directory.join("data"), Path::to_path_buf);
        let config = self.directory.join("config.toml");
        let secrets: &[_] =
            if self.for_development { &[DEVELOPMENT_SECRET] } else { &[super::SECRET, DEVELOPMENT_SECRET] };
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
        let log = self.directory.join("stderr");
        let words: Vec<&str> = self.wrapped.iter().copied().chain([env!("CARGO_BIN_EXE_cleat")]).collect();
        let child = Command::new(words[0])
            .args(&words[1..])
            .args(["serve", "--config"])
            .arg(&config)
            .args(self.trust_clock.then_some("--trust-clock"))
            .args(self.core_dumps.then_some("--core-dumps"))
            .envs(self.env.iter().copied())
            .stdin(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Daemon::listening(child, log)
    }
}

pub struct Addresses {
    pub webhooks: SocketAddr,
    pub grpc: SocketAddr,
    pub operations: SocketAddr,
}

pub struct Daemon {
    child: Child,
    log: PathBuf,
    pub webhooks: SocketAddr,
    pub grpc: SocketAddr,
    pub operations: SocketAddr,
}

impl Daemon {
    /// Starts a daemon over `<directory>/data`. It listens when this returns, but may not be ready yet.
    pub fn start(directory: &Path) -> Self {
        Launch::new(directory).start()
    }

    fn listening(mut child: Child, log: PathBuf) -> Self {
        let mut addresses = None;
        until("the daemon listens", || {
            let has_ended = child.try_wait().unwrap().is_some();
            let told = std::fs::read_to_string(&log).unwrap();
            addresses = Self::addresses_in(&told);
            // A daemon that cannot open its log may have ended after it listened.
            assert!(addresses.is_some() || !has_ended, "it ended: {told}");
            addresses.is_some()
        });
        let Addresses { webhooks, grpc, operations } = addresses.unwrap();
        Self { child, log, webhooks, grpc, operations }
    }

    /// Returns the addresses in a daemon's log. `None` if it does not have them yet.
    pub fn addresses_in(log: &str) -> Option<Addresses> {
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let listening = lines.find(|line| line["message"] == "listening")?;
        let address = |name: &str| listening[name].as_str().unwrap().parse().unwrap();
        Some(Addresses { webhooks: address("webhooks"), grpc: address("grpc"), operations: address("operations") })
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
        let mut stream = TcpStream::connect(self.operations)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok((head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
    }

    /// Waits until the daemon takes webhooks and its views have caught up.
    pub fn ready(mut self) -> Self {
        until("the daemon is ready", || {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended: {}", self.log());
            self.ask("/readyz").is_ok_and(|(status, _)| status == 200)
        });
        self
    }

    /// Kills the daemon like a crash of the process: no handler runs.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
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
        let mut status = None;
        until("the daemon ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
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
