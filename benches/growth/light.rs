//! Measures light load, where every commit is one event: the bytes on disk and the duration of a start.

use std::fs;
use std::path::Path;

use testkit::benchmark::{Bound, Daemon, Home, Started, Table};

use super::filler::{self, Filler};
use super::home;
use super::serve::DOOR_ASKED;

const TWO_JOURNALS_ASKED: Bound = Bound::AtMost(1.5);

pub fn measure(table: &mut Table, events: u64) {
    table.part(&format!("Light load: {events} commits of one event"));
    let home = home();
    let filler = Filler::run(&home, events, 1);
    table.row("append rate, first 5 %", filler.report.first, "/s", Bound::None);
    table.row("append rate, last 5 %", filler.report.last, "/s", Bound::None);
    filler::on_disk(table, &home, filler.report.head);
    let events = filler.report.head;
    drop(filler);
    start(table, &home, "door open, after kill -9 of what filled it", DOOR_ASKED);
    start(table, &home, "door open, after kill -9 of the daemon", DOOR_ASKED);
    filler::on_disk_sealed(table, &home, events);
}

/// Events of one journal. A journal takes 32,768 values, and each of these events is one value.
const JOURNAL_EVENTS: u64 = 31_000;
const JOURNAL: &str = "journal-00000000000000000001";

/// Measures a start over two unsealed journals, as a kill leaves them before the first one is sealed. The first journal
/// is put back, and its segment removed.
pub fn measure_two_journals(table: &mut Table) {
    table.part(&format!("Two unsealed journals, each of {JOURNAL_EVENTS} commits of one event"));
    let home = home();
    let (log, kept) = (home.data().join("log"), home.data().join("kept"));
    drop(Filler::run(&home, JOURNAL_EVENTS, 1));
    copy(&log.join(JOURNAL), &kept);
    drop(Filler::run(&home, JOURNAL_EVENTS, 1));
    for entry in fs::read_dir(&log).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            fs::remove_file(path).unwrap();
        }
    }
    fs::rename(&kept, log.join(JOURNAL)).unwrap();
    start(table, &home, "door open", TWO_JOURNALS_ASKED);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(path, target).unwrap();
        }
    }
}

/// Measures a start. Ends the daemon with kill -9 once it serves.
fn start(table: &mut Table, home: &Home, name: &str, asked: Bound) {
    let Started { door, .. } = Daemon::start(home).started();
    table.row(name, door, "s", asked);
}
