//! Light load: every commit is one event. What that leaves on disk, and how long a start takes then.

use super::daemon::{Daemon, Started};
use super::filler::{self, Filler};
use super::home::Home;
use super::serve::DOOR_ASKED;
use super::table::{Bound, Table};

pub fn measure(table: &mut Table, events: u64) {
    table.part(&format!("Light load: {events} commits of one event"));
    let home = Home::new();
    let filler = Filler::run(&home, events, 1);
    table.row("append rate, first 5 %", filler.report.first, "/s", Bound::None);
    table.row("append rate, last 5 %", filler.report.last, "/s", Bound::None);
    filler::on_disk(table, &home, filler.report.head);
    drop(filler);
    start(table, &home, "door open, after kill -9 of what filled it");
    start(table, &home, "door open, after kill -9 of the daemon");
}

/// Ends with kill -9, once it serves.
fn start(table: &mut Table, home: &Home, name: &str) {
    let Started { door, .. } = Daemon::start(home).started();
    table.row(name, door, "s", DOOR_ASKED);
}
