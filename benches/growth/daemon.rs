//! The release binary as a process: starts it, times it until it serves, queries it, ends it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::home::Home;
use super::memory::Memory;

/// Long enough for a rebuild of ten million events, which takes minutes.
const PATIENCE: Duration = Duration::from_secs(3600);

pub struct Daemon {
    child: Child,
    spawned: Instant,
    pub webhooks: SocketAddr,
    pub grpc: SocketAddr,
    operations: SocketAddr,
}

/// Durations of a start in seconds, counted from the spawn of the process.
pub struct Started {
    /// Time until a webhook was answered, with any status.
    pub door: f64,
    /// Time until the daemon was ready: the views have caught up.
    pub serving: f64,
}

impl Daemon {
    /// Starts the daemon. It listens when this returns, but may not answer yet.
    pub fn start(home: &Home) -> Self {
        let spawned = Instant::now();
        let mut command = Command::new(home.binary());
        for name in ["CLEAT_CONFIG", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY", "RUST_LOG"] {
            command.env_remove(name);
        }
        let mut child = command
            .args(["serve", "--config"])
            .arg(home.config())
            .stdin(Stdio::null())
            .stderr(File::create(home.told()).unwrap())
            .spawn()
            .unwrap();
        let listening = until(Duration::from_millis(1), || {
            let told = fs::read_to_string(home.told()).unwrap();
            assert!(child.try_wait().unwrap().is_none(), "it ended: {told}");
            let mut lines = told.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            lines.find(|line| line["message"] == "listening")
        });
        let address = |name: &str| listening[name].as_str().unwrap().parse().unwrap();
        let (webhooks, grpc, operations) = (address("webhooks"), address("grpc"), address("operations"));
        Self { child, spawned, webhooks, grpc, operations }
    }

    pub fn started(&self) -> Started {
        thread::scope(|scope| {
            // This connection waits until the door opens.
            let door = scope.spawn(|| {
                exchange(self.webhooks, "POST", "/webhooks/fasten");
                self.spawned.elapsed().as_secs_f64()
            });
            until(Duration::from_millis(10), || (exchange(self.operations, "GET", "/readyz").0 == 200).then_some(()));
            let serving = self.spawned.elapsed().as_secs_f64();
            Started { door: door.join().unwrap(), serving }
        })
    }

    pub fn metrics(&self) -> String {
        exchange(self.operations, "GET", "/metrics").1
    }

    pub fn memory(&self) -> Memory {
        Memory::of(self.child.id())
    }

    /// CPU seconds by thread name, without the thread's number. Threads that have ended are not included.
    pub fn cpu_by_thread(&self) -> BTreeMap<String, f64> {
        const TICKS_A_SECOND: f64 = 100.0;
        let mut seconds = BTreeMap::new();
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap() {
            let stat = fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
            let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap();
            let ticks =
                rest.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>();
            let name = name.trim_end_matches(|letter: char| letter.is_ascii_digit()).trim_end_matches('-');
            *seconds.entry(name.to_owned()).or_default() += ticks / TICKS_A_SECOND;
        }
        seconds.retain(|_, seconds| *seconds > 0.0);
        seconds
    }

    /// Stops the daemon with SIGTERM, as systemd does, and returns the seconds this takes.
    pub fn terminate(mut self) -> f64 {
        let begun = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
        begun.elapsed().as_secs_f64()
    }

    /// Kills the daemon, as a crash of the process would end it.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

fn until<T>(pause: Duration, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "it takes too long");
        thread::sleep(pause);
    }
}

/// Sends a request without a body. Returns status and body of the answer.
fn exchange(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the daemon runs");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
