//! Views that cannot be built: webhooks are taken as usual, every interface says why there is no state, and once the
//! cause is gone the state comes back without a restart.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use testkit::bodies;

use crate::support::{Api, Cli, Daemon, Launch, Sender, skip, until};

/// Configuration with which an earlier build, which ended at a failed fold, ended after a second.
const CONFIG: &str = "[shutdown]\nafter_storage_failure = \"1s\"\n";

/// Returns a body with texts that do not compress well.
fn connects(id: &str) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(id[1..].parse().unwrap());
    let mut text = || (0..60).map(|_| format!("{:032x}", random.random::<u128>())).collect::<Vec<_>>().concat();
    let (external_id, scope) = (text(), text());
    let data = json!({
        "org_connection_id": id, "connection_status": "authorized", "external_id": external_id, "scope": scope,
    });
    bodies::undated("patient.connection_success", id, &data).to_string().into_bytes()
}

fn metric(daemon: &Daemon, name: &str) -> u64 {
    let (_, text) = daemon.operations("/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
    line.parse().unwrap()
}

/// Sends webhooks one after the other for this long; each must be acknowledged. Returns the next position.
fn acknowledges(daemon: &Daemon, from: u64, period: Duration) -> u64 {
    let started = Instant::now();
    let mut sender = Sender::connect(daemon.webhooks).unwrap();
    let mut next = from;
    while started.elapsed() < period {
        let id = format!("c{next}");
        assert_eq!(sender.deliver(&id, &connects(&id)).unwrap().taken(), (next, false));
        next += 1;
    }
    next
}

#[test]
fn views_that_cannot_be_made_leave_the_door_open_and_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let views = directory.path().join("data/views");
    Launch::new(directory.path()).start().ready().kill();
    std::fs::remove_dir_all(&views).unwrap();
    std::fs::write(&views, "in the way").unwrap();
    let daemon = Launch { config: CONFIG, ..Launch::new(directory.path()) }.start();
    let next = acknowledges(&daemon, 1, Duration::from_secs(5));
    assert!(next > 100, "{next}");

    let (status, why) = daemon.operations("/readyz");
    assert!(status == 503 && why.contains("the views cannot go past position 1, and it is tried again"), "{why}");
    assert_eq!((daemon.operations("/livez").0, metric(&daemon, "cleat_views_stalled_position")), (200, 1));
    let cli = Cli::of(&daemon);
    let list = cli.call(&["connections", "list"]);
    assert!(list.code == 4 && list.stderr.contains("VIEWS_STALLED"), "{} {}", list.code, list.stderr);
    let status: Value = serde_json::from_str(&cli.succeeds(&["status", "-o", "json"])).unwrap();
    assert_eq!(status["state"], "SERVING_STATE_STALLED", "{status}");
    assert!(cli.succeeds(&["events", "get", "1"]).contains("patient.connection_success"), "events are read");

    std::fs::remove_file(&views).unwrap();
    let daemon = daemon.ready();
    assert_eq!(metric(&daemon, "cleat_views_stalled_position"), 0);
    let api = Api::connect(daemon.grpc);
    until("the last connection is known", || api.connection(&format!("c{}", next - 1)).is_ok());
}

/// A file system of its own for the views, so that it can be full while the log's is not.
struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    /// Mounts the file system. `None` if this machine does not permit it.
    fn mount(path: &'a Path, size: &str) -> Option<Self> {
        mounts(path, &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).then_some(Self(path))
    }

    fn resize(&self, size: &str) {
        assert!(mounts(self.0, &["-o", &format!("remount,size={size}")]));
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

fn mounts(path: &Path, options: &[&str]) -> bool {
    Command::new("mount").args(options).arg(path).status().is_ok_and(|status| status.success())
}

#[test]
fn full_views_disk_keeps_the_checkpoint_and_the_door_open() {
    let directory = tempfile::tempdir().unwrap();
    let views = directory.path().join("data/views");
    std::fs::create_dir_all(&views).unwrap();
    let Some(disk) = Tmpfs::mount(&views, "4m") else { return skip("file systems cannot be mounted") };
    let config = format!("{CONFIG}[views]\ncheckpoint_events = 100\n");
    let daemon = Launch { config: &config, ..Launch::new(directory.path()) }.start().ready();
    let mut sender = Sender::connect(daemon.webhooks).unwrap();
    let mut last = 0;
    until("the views' disk is full", || {
        for _ in 0..100 {
            last += 1;
            let id = format!("c{last}");
            assert_eq!(sender.deliver(&id, &connects(&id)).unwrap().taken(), (last, false));
        }
        metric(&daemon, "cleat_views_stalled_position") > 0
    });
    let checkpoints = checkpoints(&views);
    assert!(!checkpoints.is_empty(), "what was written before is kept");
    let stalled = metric(&daemon, "cleat_views_stalled_position");
    assert!(stalled > 100, "it stalled at {stalled}");

    disk.resize("600m");
    let daemon = daemon.ready();
    let api = Api::connect(daemon.grpc);
    assert_eq!(usize::try_from(last).unwrap(), api.connections().len());
    let resumed = daemon.log().lines().filter(|line| line.contains("resuming the views from a checkpoint")).count();
    assert!(resumed > 0, "nothing is folded from the start: {}", daemon.log());
    drop((api, sender));
    assert_eq!(daemon.terminate().code(), Some(0));
    drop(disk);
}

fn checkpoints(views: &Path) -> Vec<String> {
    let generation = std::fs::read_dir(views.join("1")).unwrap();
    let names = generation.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".checkpoint")).collect()
}
