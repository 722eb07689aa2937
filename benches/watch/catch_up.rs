//! Measures one watcher that begins before the first of about a million changes.

use std::io::{BufWriter, Write as _};
use std::process::Command;
use std::time::Instant;

use cleat::proto::watch_start::Position;
use testkit::benchmark::{Bound, Daemon, Home, Table};
use testkit::workload::Workload;

use super::home;
use super::watchers::{self, Filter};

/// Makes about a million changes: most events change an export and its connection.
const EVENTS: usize = 600_000;

pub fn measure(table: &mut Table) {
    table.part(&format!("One watcher catches up with {EVENTS} events"));
    let home = home();
    import(&home);
    let daemon = Daemon::start(&home);
    daemon.started();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (changes, seconds) = runtime.block_on(async {
        let channel = watchers::connect(daemon.grpc).await;
        let mut stream = watchers::open(channel, Position::AfterPosition(0), Filter::All, 0).await;
        let begun = Instant::now();
        let mut changes = 0;
        loop {
            let message = stream.message().await.unwrap().unwrap();
            changes += message.changes;
            if message.caught_up {
                return (changes, begun.elapsed().as_secs_f64());
            }
        }
    });
    table.row("changes", changes as f64, "", Bound::None);
    table.row("changes, a second", changes as f64 / seconds, "/s", Bound::AtLeast(100_000.0));
}

/// Imports the workload with the command line, while no daemon has the log.
fn import(home: &Home) {
    let lines = home.data().with_extension("lines");
    let mut file = BufWriter::new(std::fs::File::create(&lines).unwrap());
    for delivery in Workload::new(1, |nth| 1_780_000_000 + nth).take(EVENTS) {
        file.write_all(&delivery.body).unwrap();
        file.write_all(b"\n").unwrap();
    }
    file.into_inner().unwrap().sync_all().unwrap();
    let ended = Command::new(home.binary())
        .arg("import")
        .arg(&lines)
        .args(["--offline", "--trust-clock"])
        .arg("--config")
        .arg(home.config())
        .output();
    let ended = ended.unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    std::fs::remove_file(lines).unwrap();
}
