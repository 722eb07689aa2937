//! Measures the memory of a daemon over an empty log.

use std::thread;
use std::time::Duration;

use testkit::benchmark::{Bound, Daemon, Table};

use super::home;

const RESIDENT_ASKED: Bound = Bound::AtMost(40.0);

pub fn measure(table: &mut Table) {
    table.part("Idle, over an empty log");
    let home = home();
    let daemon = Daemon::start(&home);
    daemon.started();
    thread::sleep(Duration::from_secs(3));
    table.row("resident", daemon.memory().resident, "MB", RESIDENT_ASKED);
}
