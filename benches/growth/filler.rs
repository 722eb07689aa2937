//! Fills a log in a separate process. Measures that process and its files on disk.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use testkit::benchmark::{Bound, Home, Memory, Table};

use super::disk;
use super::fill::Report;

const LOG_BYTES_ASKED: f64 = 180.0;
const PRODUCERS: u64 = 256;

pub struct Filler {
    process: Killed,
    pub report: Report,
}

/// The filling process. The log stays open and idle until this is dropped, which kills the process.
struct Killed(Child);

impl Filler {
    pub fn run(home: &Home, events: u64, producers: u64) -> Self {
        // Not started by its path, because a build may replace it meanwhile.
        let mut child = Command::new("/proc/self/exe")
            .arg("--fill")
            .arg(home.data())
            .args([events.to_string(), producers.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let report = serde_json::from_str(&line).expect("the filling process reports");
        Self { process: Killed(child), report }
    }

    pub fn memory(&self) -> Memory {
        Memory::of(self.process.0.id())
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

pub fn measure(table: &mut Table, home: &Home, events: u64) -> Report {
    table.part(&format!("Filling: {events} events, {PRODUCERS} producers, the log's own API"));
    let filler = Filler::run(home, events, PRODUCERS);
    let Report { first, last, .. } = filler.report;
    table.row("append rate, first 5 %", first, "/s", Bound::None);
    table.row("append rate, last 5 %", last, "/s", Bound::None);
    table.row("last to first", last / first, "", Bound::AtLeast(0.9));
    let Memory { resident, peak } = filler.memory();
    table.row("resident", resident, "MB", Bound::None);
    table.row("peak", peak, "MB", Bound::None);
    on_disk(table, home, filler.report.head);
    filler.report
}

/// Adds the log's bytes on disk while the last journal is open.
pub fn on_disk(table: &mut Table, home: &Home, events: u64) {
    let log = home.data().join("log");
    disk::settle(table, &log);
    table.row("log directory, the last journal open", log_bytes(home, events), "B/event", Bound::None);
}

/// Adds the log's bytes on disk once a start has sealed the remaining journals.
pub fn on_disk_sealed(table: &mut Table, home: &Home, events: u64) {
    disk::settle(table, &home.data().join("log"));
    table.row("log directory, sealed", log_bytes(home, events), "B/event", Bound::AtMost(LOG_BYTES_ASKED));
}

fn log_bytes(home: &Home, events: u64) -> f64 {
    disk::bytes(&home.data().join("log")) as f64 / events as f64
}
