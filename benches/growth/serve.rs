//! Measures the daemon over a filled log: views from the log alone, memory, disk, starts after kills and after a stop,
//! reads.

use testkit::benchmark::{Bound, Daemon, Home, Started, Table};

use super::disk;
use super::fill::Report;
use super::filler;
use super::reads;

pub const DOOR_ASKED: Bound = Bound::AtMost(1.0);
const SERVING_ASKED: Bound = Bound::AtMost(8.0);
const RESIDENT_ASKED: Bound = Bound::AtMost(2000.0);
const CHANGES_ASKED: Bound = Bound::AtMost(120.0);
const KILLS: usize = 3;

pub fn measure(table: &mut Table, home: &Home, report: &Report) {
    table.part("State from the log alone, after kill -9 of what filled it");
    let daemon = Daemon::start(home);
    let Started { door, serving } = daemon.started();
    table.row("door open", door, "s", DOOR_ASKED);
    table.row("SERVING", serving, "s", Bound::None);
    table.row("rebuilt, from the process's start", report.head as f64 / serving, "/s", Bound::AtLeast(100_000.0));
    memory(table, &daemon);
    filler::on_disk_sealed(table, home, report.head);
    data_directory(table, home, report.head);
    let daemon = kills(table, home, daemon);
    reads::measure(table, daemon.grpc, &report.known);
    orderly(table, home, daemon);
}

fn memory(table: &mut Table, daemon: &Daemon) {
    let memory = daemon.memory();
    table.row("resident", memory.resident, "MB", RESIDENT_ASKED);
    table.row("peak", memory.peak, "MB", Bound::None);
}

fn data_directory(table: &mut Table, home: &Home, events: u64) {
    table.part("The whole data directory");
    let each = |bytes: u64| bytes as f64 / events as f64;
    disk::settle(table, &home.data());
    table.row("all", each(disk::bytes(&home.data())), "B/event", Bound::AtMost(500.0));
    for (name, bytes) in disk::entries(&home.data()) {
        table.row(&format!("  {name}"), each(bytes), "B/event", Bound::None);
    }
    for (generation, _) in disk::entries(&home.data().join("views")) {
        for (name, bytes) in disk::entries(&home.data().join("views").join(generation)) {
            let asked = if name == "changes" { CHANGES_ASKED } else { Bound::None };
            table.row(&format!("    views: {name}"), each(bytes), "B/event", asked);
        }
    }
}

/// Measures starts after `KILLS` kills, each as soon as the last start serves.
fn kills(table: &mut Table, home: &Home, mut daemon: Daemon) -> Daemon {
    for _ in 0..KILLS {
        daemon.kill();
        table.part("Start after kill -9 of the daemon");
        daemon = Daemon::start(home);
        start(table, &daemon);
    }
    daemon
}

fn start(table: &mut Table, daemon: &Daemon) {
    let Started { door, serving } = daemon.started();
    table.row("door open", door, "s", DOOR_ASKED);
    table.row("SERVING", serving, "s", SERVING_ASKED);
    memory(table, daemon);
}

fn orderly(table: &mut Table, home: &Home, daemon: Daemon) {
    table.part("Start after an orderly stop");
    table.row("the stop, by SIGTERM", daemon.terminate(), "s", Bound::None);
    start(table, &Daemon::start(home));
}
