//! The release binary as a process: starts it, times it until it serves, queries it, ends it. Judges no figure.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::home::Home;
use super::memory::Memory;
use crate::daemon::{self, exchange};
use crate::patience::Patience;

/// Long enough for a rebuild of ten million events, which takes minutes.
const PATIENCE: Patience = Patience { limit: Duration::from_secs(3600), pause: Duration::from_millis(1) };
/// Each look at the readiness is a request.
const READY_PAUSE: Duration = Duration::from_millis(10);

pub struct Daemon {
    process: daemon::Daemon,
    spawned: Instant,
    pub webhooks: SocketAddr,
    pub grpc: SocketAddr,
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
        command.args(["serve", "--config"]).arg(home.config());
        let process = daemon::Daemon::spawn(&mut command, &home.log(), PATIENCE);
        let (webhooks, grpc) = (process.webhooks, process.grpc);
        Self { process, spawned, webhooks, grpc }
    }

    pub fn started(&self) -> Started {
        thread::scope(|scope| {
            // This connection waits until the door opens.
            let door = scope.spawn(|| {
                exchange(self.webhooks, "POST", "/webhooks/fasten", PATIENCE.limit).unwrap();
                self.spawned.elapsed().as_secs_f64()
            });
            let patience = Patience { pause: READY_PAUSE, ..PATIENCE };
            patience.until("the daemon is ready", || (self.process.operations("/readyz").0 == 200).then_some(()));
            let serving = self.spawned.elapsed().as_secs_f64();
            Started { door: door.join().unwrap(), serving }
        })
    }

    pub fn metrics(&self) -> String {
        self.process.operations("/metrics").1
    }

    pub fn memory(&self) -> Memory {
        Memory::of(self.process.pid())
    }

    /// CPU seconds by thread name, without the thread's number. Threads that have ended are not included.
    pub fn cpu_by_thread(&self) -> BTreeMap<String, f64> {
        const TICKS_A_SECOND: f64 = 100.0;
        let mut seconds = BTreeMap::new();
        for thread in fs::read_dir(format!("/proc/{}/task", self.process.pid())).unwrap() {
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
        self.process.signal(Signal::TERM);
        assert!(self.process.wait().success());
        begun.elapsed().as_secs_f64()
    }

    /// Kills the daemon, as a crash of the process would end it.
    pub fn kill(self) {
        self.process.kill();
    }
}
