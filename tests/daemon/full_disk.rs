//! A disk that is nearly full, and one that is full to the last byte. Webhooks are refused, and taken again
//! automatically. Reads, start and stop go on.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use serde_json::json;
use testkit::bodies;

use crate::support::{Answer, Api, Cli, Daemon, Launch, Sender, skip, until};

const DISK: &str = "size=12m,mode=0700";
/// Small limits; the sizes are the smallest that the configuration permits.
const CONFIG: &str = "[log]\njournal_bytes = \"1MiB\"\ndisk_reserve = \"5MiB\"\ndedup_run_events = 50\n\
                      [views]\ncheckpoint_events = 40\n";
const BALLAST: usize = 2 * 1024 * 1024;
/// The disk is full if `DISK_FULL` is the only answer for this time. Until then sealing may free space.
const REFUSED_FOR: Duration = Duration::from_secs(3);
/// Upper limit for filling the disk, which takes a tenth of it.
const FULL_WITHIN: Duration = Duration::from_secs(60);

/// A small disk in memory, with the data and other files that fill it.
struct SmallDisk {
    directory: PathBuf,
}

impl SmallDisk {
    fn mount(directory: PathBuf) -> Self {
        std::fs::create_dir(&directory).unwrap();
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(&directory).status().unwrap();
        assert!(status.success(), "{status}");
        Self { directory }
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn start(&self, directory: &Path) -> Daemon {
        Launch { data: Some(&self.data()), config: CONFIG, ..Launch::new(directory) }.start()
    }

    fn put(&self, name: &str, bytes: usize) {
        std::fs::write(self.directory.join(name), vec![1; bytes]).unwrap();
    }

    /// Fills the disk to the last byte.
    fn fill(&self, name: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.directory.join(name)).unwrap();
        for piece in [64 * 1024, 4096, 1] {
            while file.write_all(&vec![1; piece]).is_ok() {}
        }
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.directory.join(name)).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = unmount(&self.directory, UnmountFlags::DETACH);
        assert!(unmounted.is_ok() || std::thread::panicking(), "{unmounted:?}");
    }
}

/// Events that were sent, by their answers.
#[derive(Default)]
struct Sent {
    acknowledged: Vec<(String, Vec<u8>)>,
    refused: usize,
}

impl Sent {
    fn next(&self) -> (String, Vec<u8>) {
        let id = format!("e{}", self.acknowledged.len() + self.refused);
        // Hexadecimal digits compress to a half.
        let filler = (0..1250_u64).map(|n| format!("{:016x}", scrambled(&id, n))).collect::<Vec<_>>().concat();
        let data = json!({ "org_connection_id": id, "connection_status": "authorized", "platform_type": "epic",
            "filler": filler });
        let event = bodies::event("patient.connection_success", &id, &data);
        (id, event.to_string().into_bytes())
    }

    fn deliver(&mut self, sender: &mut Sender) -> Answer {
        let (id, body) = self.next();
        let answer = sender.deliver(&id, &body).unwrap();
        if answer.status == 200 {
            self.acknowledged.push((id, body));
            assert_eq!(answer.taken(), (self.acknowledged.len() as u64, false));
        } else {
            self.refused += 1;
        }
        answer
    }

    fn until_full(&mut self, sender: &mut Sender) {
        let deadline = Instant::now() + FULL_WITHIN;
        let mut full_since = Instant::now();
        while full_since.elapsed() < REFUSED_FOR {
            let answer = self.deliver(sender);
            let is_full = (answer.status, answer.body["reason"].as_str()) == (503, Some("DISK_FULL"));
            assert!(is_full || answer.status == 200 || answer.is_slow(), "{answer:?}");
            if !is_full {
                full_since = Instant::now();
                assert!(full_since < deadline, "the disk is never full: {answer:?}");
            }
            if answer.status != 200 {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        self.is_refused(sender);
    }

    fn is_refused(&mut self, sender: &mut Sender) {
        let answer = self.deliver(sender);
        assert_eq!((answer.status, answer.body["reason"].as_str()), (503, Some("DISK_FULL")), "{}", answer.body);
        assert!(answer.retry_after.is_some());
    }

    fn is_taken_again(&mut self, sender: &mut Sender) {
        until("webhooks are taken again", || {
            std::thread::sleep(Duration::from_millis(20));
            self.deliver(sender).status == 200
        });
    }

    /// Checks that the log has the acknowledged events, in order, and nothing else.
    fn is_the_log(&self, api: &Api) {
        assert!(self.acknowledged.iter().map(|(id, _)| format!("id:{id}")).eq(api.keys()));
    }

    fn are_duplicates(&self, sender: &mut Sender) {
        let deliveries: Vec<_> = self.acknowledged.iter().map(|(id, body)| (id.as_str(), body.as_slice())).collect();
        for (position, answer) in (1..).zip(sender.deliver_all(&deliveries).unwrap()) {
            assert_eq!(answer.taken(), (position, true));
        }
    }
}

fn scrambled(id: &str, n: u64) -> u64 {
    let seed = id.bytes().fold(n, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let mixed = (seed ^ (seed >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

fn says_why(daemon: &Daemon) {
    until("it says why", || {
        let (status, why) = daemon.operations("/readyz");
        status == 503 && why.contains("the disk has less free space than log.disk_reserve")
    });
    assert_eq!(daemon.operations("/livez").0, 200);
}

#[test]
fn full_disk_refuses_only_webhooks_until_there_is_space() {
    if !rustix::process::geteuid().is_root() {
        return skip("a small disk needs root");
    }
    let directory = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(directory.path().join("disk"));
    disk.put("ballast", BALLAST);
    let daemon = disk.start(directory.path()).ready();
    let (mut sent, mut sender) = (Sent::default(), Sender::connect(daemon.webhooks).unwrap());
    sent.until_full(&mut sender);
    assert!(sent.acknowledged.len() >= 50, "{}", sent.acknowledged.len());
    says_why(&daemon);
    let reads = |daemon: &Daemon| {
        let api = Api::connect(daemon.grpc);
        assert_eq!(api.connections().len(), sent.acknowledged.len());
        sent.is_the_log(&api);
    };
    reads(&daemon);

    disk.remove("ballast");
    sent.is_taken_again(&mut sender);
    sent.until_full(&mut sender);
    disk.fill("rest");
    sent.is_refused(&mut sender);
    sent.is_the_log(&Api::connect(daemon.grpc));
    assert_eq!(Api::connect(daemon.grpc).connections().len(), sent.acknowledged.len());
    drop(sender);
    assert!(daemon.terminate().success());

    let data = disk.data();
    let inspected = Cli::default().call(&["log", "inspect", data.to_str().unwrap()]);
    assert_eq!(inspected.code, 0, "{}{}", inspected.stdout, inspected.stderr);
    full_from_the_start(directory.path(), &disk, &mut sent);
}

/// Checks that the log opens while no byte is free, and that the daemon recovers on its own once there is space.
fn full_from_the_start(directory: &Path, disk: &SmallDisk, sent: &mut Sent) {
    disk.fill("rest");
    let daemon = disk.start(directory);
    until("the log is open", || daemon.log().contains(r#""message":"the log is open""#));
    let mut sender = Sender::connect(daemon.webhooks).unwrap();
    until("it refuses for want of space", || sent.deliver(&mut sender).body["reason"].as_str() == Some("DISK_FULL"));
    says_why(&daemon);
    sent.is_the_log(&Api::connect(daemon.grpc));
    drop(sender);
    assert!(daemon.terminate().success());

    let daemon = disk.start(directory);
    until("the log is open", || daemon.log().contains(r#""message":"the log is open""#));
    let mut sender = Sender::connect(daemon.webhooks).unwrap();
    disk.remove("rest");
    sent.is_taken_again(&mut sender);
    let daemon = daemon.ready();
    sent.is_the_log(&Api::connect(daemon.grpc));
    assert_eq!(Api::connect(daemon.grpc).connections().len(), sent.acknowledged.len());
    sent.are_duplicates(&mut sender);
}
