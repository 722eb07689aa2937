//! A disk that fails in one operation, and a disk that becomes read-only. While the daemon runs, only a failed commit
//! ends it. With a healthy disk all acknowledged events are there.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use testkit::bodies::{self, filler};
use tonic::Code;

use crate::faults::{Faults, Rule};
use crate::support::{Answer, Api, Cli, Daemon, Launch, Sender, skip, until};

const CONFIG: &str = "[log]\ndedup_run_events = 20\njournal_bytes = \"1MiB\"\ndisk_reserve = \"5MiB\"\n\
                      [views]\ncheckpoint_events = 20\n[shutdown]\nafter_storage_failure = \"1s\"\n";
/// Bytes of filler. A dozen of these bodies fill a journal.
const LARGE: usize = 200_000;
const SMALL: usize = 600;

/// Effect of a disk error on the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The daemon takes nothing any more, and exits with 1.
    Ends,
    /// The daemon goes on. Webhooks may be refused for a while.
    GoesOn,
}

struct Case {
    operation: &'static str,
    path: &'static str,
    /// Effect while the daemon runs. `None` if the operation does not happen then.
    running: Option<Then>,
    /// Effect at each start until the disk works again. `None` if no start needs the operation; then the daemon goes
    /// on.
    starting: Option<Then>,
}

const fn case(operation: &'static str, path: &'static str, running: Option<Then>, starting: Option<Then>) -> Case {
    Case { operation, path, running, starting }
}

use Then::{Ends, GoesOn};

const CASES: &[Case] = &[
    // A commit.
    case("write", "*/journal-*/db", Some(Ends), Some(GoesOn)),
    case("sync", "cleat-writer:*/db", Some(Ends), None),
    case("write", "*/witness", Some(Ends), Some(Ends)),
    case("sync", "cleat-witness:*/witness", Some(Ends), None),
    // The sealer.
    case("mkdir", "cleat-sealer:*/journal-*", Some(GoesOn), Some(GoesOn)),
    case("sync", "cleat-sealer:*/journal-*/db", Some(GoesOn), Some(GoesOn)),
    case("write", "cleat-sealer:*/log/*.new", Some(GoesOn), Some(GoesOn)),
    case("sync", "cleat-sealer:*/log/*.new", Some(GoesOn), Some(GoesOn)),
    case("read", "cleat-sealer:*/log/*.new", Some(GoesOn), Some(GoesOn)),
    case("link", "cleat-sealer:*.seg", Some(GoesOn), Some(GoesOn)),
    case("sync", "cleat-sealer:*/log", Some(GoesOn), Some(GoesOn)),
    case("rename", "cleat-sealer:*.gone", Some(GoesOn), Some(GoesOn)),
    case("unlink", "cleat-sealer:*.gone/*", Some(GoesOn), Some(GoesOn)),
    // Derived files. A start is not always due to write a checkpoint.
    case("sync", "cleat-dedup:*/dedup/*.new", Some(GoesOn), Some(GoesOn)),
    case("rename", "cleat-dedup:*.run", Some(GoesOn), Some(GoesOn)),
    case("write", "*/views/*.new", Some(GoesOn), None),
    case("sync", "*/views/*.new", Some(GoesOn), None),
    case("write", "*/changes/*.open", Some(GoesOn), Some(GoesOn)),
    case("sync", "*/changes/*.open", Some(GoesOn), None),
    // Operations of a start only.
    case("read", "*/log/*.seg", None, Some(GoesOn)),
    case("read", "*/journal-*/db", None, Some(Ends)),
    case("read", "*/witness", None, Some(Ends)),
    case("read", "*/CLEAT", None, Some(Ends)),
    case("read", "*/EPOCHS", None, Some(Ends)),
    case("read", "*/SECRET", None, Some(Ends)),
    case("read", "*/dedup/*.run", None, Some(GoesOn)),
    case("read", "*.checkpoint", None, Some(GoesOn)),
    case("sync", "*/witness", None, Some(Ends)),
    case("rename", "*.gone", None, Some(Ends)),
];

/// Ids of the acknowledged events, in order.
#[derive(Default)]
struct Sent {
    ids: Vec<String>,
    tries: usize,
}

/// Returns a large or a small body, by its id. The filler is random digits, which compression halves.
fn body(id: &str) -> Vec<u8> {
    let filler = filler(id, if id.starts_with("large") { LARGE } else { SMALL });
    let data = serde_json::json!({ "org_connection_id": id, "connection_status": "authorized", "filler": filler });
    bodies::undated("patient.connection_success", id, &data).to_string().into_bytes()
}

impl Sent {
    fn deliver(&mut self, sender: &mut Sender, size: &str) -> Answer {
        let id = format!("{size}-{}", self.tries);
        self.tries += 1;
        let answer = sender.deliver(&id, &body(&id)).unwrap();
        if answer.status == 200 {
            // Refused events are not counted, but may be in the log.
            self.ids.push(id);
        }
        answer
    }

    /// Delivers an event that must be taken once the disk is no longer slow.
    fn take(&mut self, sender: &mut Sender, size: &str) {
        let id = format!("{size}-{}", self.tries);
        self.tries += 1;
        let delivered = sender.deliver_patiently(&id, &body(&id)).unwrap();
        assert!(delivered.as_new().is_some());
        self.ids.push(id);
    }
}

fn start(directory: &Path, env: &[(&str, &str)]) -> Daemon {
    Launch { config: CONFIG, env, ..Launch::new(directory) }.start()
}

/// Sends webhooks until the fault has its effect. If the daemon goes on, repairs the disk and sends until webhooks are
/// taken again.
fn run_into(case: &Case, then: Then, daemon: &mut Daemon, faults: &Faults, sent: &mut Sent) {
    let mut sender = Sender::connect(daemon.webhooks).unwrap();
    let what = format!("{} {}", case.operation, case.path);
    let size = if case.path.starts_with("cleat-sealer:") { "large" } else { "small" };
    let deadline = Instant::now() + Duration::from_secs(20);
    let reason = |answer: &Answer| answer.body["reason"].as_str().unwrap_or_default().to_owned();
    loop {
        let answer = sent.deliver(&mut sender, size);
        match (answer.status, then) {
            (200, _) => {}
            (503, _) if answer.is_slow() => std::thread::sleep(Duration::from_millis(20)),
            (503, Ends) => {
                assert_eq!(reason(&answer), "STORAGE_READ_ONLY", "{what}");
                assert_eq!(daemon.ended().code(), Some(1), "{what}: {}", daemon.log());
                return;
            }
            _ => panic!("{what}: {answer:?}"),
        }
        if then == GoesOn && !faults.hits().is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{what} never comes: {}", daemon.log());
    }
    // The daemon recovers on its own once the disk works again.
    faults.disarm();
    until("webhooks are taken again", || sent.deliver(&mut sender, size).status == 200);
    assert!(daemon.status().is_none(), "{what}: {}", daemon.log());
}

fn journals(directory: &Path) -> usize {
    let names = std::fs::read_dir(directory.join("data/log")).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().starts_with("journal-")).count()
}

/// Starts the daemon with the fault from the beginning. It must open the log, or end with a reason.
fn start_into(case: &Case, faults: &Faults, directory: &Path, env: &[(&str, &str)]) -> Result<(), String> {
    // Hits of the previous process do not count.
    faults.disarm();
    faults.arm();
    let mut daemon = start(directory, env);
    let shows = |log: &str| ["\"serving\"", "the views are stalled"].iter().any(|text| log.contains(text));
    let what = format!("{} {}", case.operation, case.path);
    until(&what, || daemon.status().is_some() || shows(&daemon.log()));
    // Some operations come a little later.
    let met_by = Instant::now() + case.starting.map_or(Duration::ZERO, |_| Duration::from_secs(10));
    while faults.hits().is_empty() && Instant::now() < met_by {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(300));
    let status = daemon.status();
    let log = daemon.log();
    let is_met = !faults.hits().is_empty();
    let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    let is_right = match case.starting.unwrap_or(GoesOn) {
        GoesOn => status.is_none() && log.contains("the log is open"),
        Ends => status.is_some_and(|status| status.code() == Some(1)) && last["level"] == "ERROR",
    };
    // sled's panics are caught, and are errors like any other.
    let is_panic = |line: &&str| line.contains(r#""message":"panicked""#) && !line.contains("/sled-");
    let is_calm = log.lines().count() < 100 && log.lines().find(is_panic).is_none();
    let is_due = case.starting.is_none() || is_met;
    if is_right && is_calm && is_due { Ok(()) } else { Err(format!("{what}: {status:?}, met: {is_met}: {log}")) }
}

/// Checks that all acknowledged events are there, in order. Refused events may be between them.
fn has_all(daemon: &Daemon, sent: &Sent, checked: &mut usize) {
    let keys = Api::connect(daemon.grpc).keys();
    let position = |id: &String| keys.iter().position(|key| *key == format!("id:{id}")).map(|index| index as u64 + 1);
    let positions: Vec<u64> = sent.ids.iter().map(|id| position(id).unwrap()).collect();
    assert!(positions.is_sorted());
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
    let mut sender = Sender::connect(daemon.webhooks).unwrap();
    for (id, position) in sent.ids.iter().zip(positions).skip(*checked) {
        assert_eq!(sender.deliver_patiently(id, &body(id)).unwrap().as_duplicate(), Some(position));
    }
    *checked = sent.ids.len();
}

#[test]
fn disk_error_ends_it_only_in_a_commit_and_takes_nothing_back() {
    let directory = tempfile::tempdir().unwrap();
    let Some(faults) = Faults::new(directory.path()) else {
        return skip("errors of the disk need a C compiler");
    };
    let mut sent = Sent::default();
    let mut checked = 0;
    let mut wrong = Vec::new();
    for case in CASES {
        let rule = Rule { operation: case.operation, path: case.path, nth: 1, action: "EIO" };
        let env = faults.env(&rule);
        let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
        faults.disarm();
        let mut daemon = start(directory.path(), &env).ready();
        has_all(&daemon, &sent, &mut checked);
        sent.take(&mut Sender::connect(daemon.webhooks).unwrap(), "small");
        if let Some(then) = case.running {
            faults.arm();
            run_into(case, then, &mut daemon, &faults, &mut sent);
        } else {
            // The next start finds, and removes, a journal that was opened beforehand.
            let mut sender = Sender::connect(daemon.webhooks).unwrap();
            until("the next journal is opened", || {
                sent.take(&mut sender, "large");
                journals(directory.path()) > 1
            });
        }
        drop(daemon);
        wrong.extend(start_into(case, &faults, directory.path(), &env).err());
    }
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), CASES.len());
    has_all(&start(directory.path(), &[]).ready(), &sent, &mut checked);
}

#[test]
fn unreadable_event_is_known_again_once_it_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let Some(faults) = Faults::new(directory.path()) else {
        return skip("errors of the disk need a C compiler");
    };
    // Names of the segment's file: in the process that made it, and in the next one.
    let [running, starting] = ["*/log/*.new?(deleted)", "*/log/*.seg"]
        .map(|path| faults.env(&Rule { operation: "read", path, nth: 1, action: "EIO" }));
    let env = running.each_ref().map(|(name, value)| (*name, value.as_str()));
    let daemon = start(directory.path(), &env).ready();
    let (mut sent, mut sender) = (Sent::default(), Sender::connect(daemon.webhooks).unwrap());
    (0..14).for_each(|_| sent.take(&mut sender, "large"));
    until("the first journal is sealed", || {
        let mut names = std::fs::read_dir(directory.path().join("data/log")).unwrap();
        !names.any(|entry| entry.unwrap().path().ends_with("journal-00000000000000000001"))
    });
    let again = |sender: &mut Sender| sender.deliver_patiently("large-0", &body("large-0")).unwrap();

    faults.arm();
    let api = Api::connect(daemon.grpc);
    let error = api.try_event(1).unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Internal, "the storage cannot be read"));
    assert_eq!(again(&mut sender).as_duplicate(), Some(1), "its key is in memory");
    sent.take(&mut sender, "large");
    faults.disarm();
    assert_eq!(api.event(1).event_key, "id:large-0");
    assert_eq!(again(&mut sender).as_duplicate(), Some(1));
    drop((api, sender));
    daemon.kill();

    faults.arm();
    let env = starting.each_ref().map(|(name, value)| (*name, value.as_str()));
    let daemon = start(directory.path(), &env);
    let is_open = |log: &str| log.contains(r#""message":"the log is open""#);
    until("the log is open", || is_open(&daemon.log()));
    assert!(!faults.hits().is_empty(), "{}", daemon.log());
    assert!(daemon.log().contains("keys of the log cannot be read"), "{}", daemon.log());
    // Enough events for a dedup run, which must not cover the events that could not be read.
    let mut sender = Sender::connect(daemon.webhooks).unwrap();
    (0..25).for_each(|_| sent.take(&mut sender, "small"));
    drop(sender);
    faults.disarm();
    // An orderly stop saves everything that is still to be saved.
    assert!(daemon.terminate().success());
    has_all(&start(directory.path(), &[]).ready(), &sent, &mut 0);
}

/// An ext4 file system in a file. It becomes read-only as it does when its disk fails.
struct Ext4<'a> {
    directory: &'a Path,
}

impl Ext4<'_> {
    fn run(command: &mut Command) {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn make(&self) {
        let file = self.directory.join("image");
        std::fs::File::create(&file).unwrap().set_len(64 * 1024 * 1024).unwrap();
        Self::run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&file));
        std::fs::create_dir(self.mounted()).unwrap();
    }

    fn mounted(&self) -> std::path::PathBuf {
        self.directory.join("ext4")
    }

    fn mount(&self, options: &str) {
        let (file, mounted) = (self.directory.join("image"), self.mounted());
        Self::run(Command::new("mount").args(["-t", "ext4", "-o", options]).args([file, mounted]));
    }

    /// Aborts the file system, as the kernel does on its own after an error.
    fn abort(&self) {
        Self::run(Command::new("mount").args(["-o", "remount,abort"]).arg(self.mounted()));
    }

    fn unmount(&self) {
        unmount(self.mounted(), UnmountFlags::empty()).unwrap();
    }

    fn start(&self) -> Daemon {
        let config = CONFIG.replace("\"1s\"", "\"3s\"");
        Launch { data: Some(&self.mounted().join("data")), config: &config, ..Launch::new(self.directory) }.start()
    }
}

impl Drop for Ext4<'_> {
    fn drop(&mut self) {
        // Still mounted if the test has failed.
        let unmounted = unmount(self.mounted(), UnmountFlags::DETACH);
        assert!(unmounted.is_err() || std::thread::panicking());
    }
}

#[test]
fn file_system_turning_read_only_ends_the_daemon_without_loss() {
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/loop-control").exists() {
        return skip("a file system of its own needs root and loop devices");
    }
    let directory = tempfile::tempdir().unwrap();
    let disk = Ext4 { directory: directory.path() };
    disk.make();
    disk.mount("loop,errors=remount-ro");
    let mut daemon = disk.start().ready();
    let (mut sent, mut sender) = (Sent::default(), Sender::connect(daemon.webhooks).unwrap());
    (0..14).for_each(|_| sent.take(&mut sender, "large"));

    disk.abort();
    let mut answer = sent.deliver(&mut sender, "large");
    let deadline = Instant::now() + Duration::from_secs(20);
    while answer.status == 200 || answer.is_slow() {
        assert!(Instant::now() < deadline, "it is never refused");
        answer = sent.deliver(&mut sender, "large");
    }
    assert_eq!((answer.status, answer.body["reason"].as_str()), (503, Some("STORAGE_READ_ONLY")), "{}", answer.body);
    let before = daemon.cpu_time();
    std::thread::sleep(Duration::from_millis(700));
    assert!(daemon.cpu_time() < before + Duration::from_millis(300), "it spins: {}", daemon.log());
    assert_eq!(Api::connect(daemon.grpc).event(1).event_key, "id:large-0");
    assert_eq!(daemon.ended().code(), Some(1), "{}", daemon.log());
    disk.unmount();

    is_refused_read_only(&disk);
    disk.mount("loop");
    let daemon = disk.start().ready();
    let keys = Api::connect(daemon.grpc).keys();
    assert!(sent.ids.iter().all(|id| keys.contains(&format!("id:{id}"))));
    assert_eq!(Sender::connect(daemon.webhooks).unwrap().deliver("new", &body("new")).unwrap().status, 200);
    assert!(daemon.terminate().success());
    disk.unmount();
}

/// Checks that a start logs why it fails, and that commands that only read work.
fn is_refused_read_only(disk: &Ext4<'_>) {
    // The first mount replays ext4's journal. After that, nothing may write.
    disk.mount("loop");
    disk.unmount();
    disk.mount("loop,ro");
    let data = disk.mounted().join("data");
    let inspected = Cli::default().call(&["log", "inspect", data.to_str().unwrap()]);
    assert_eq!(inspected.code, 0, "{}{}", inspected.stdout, inspected.stderr);
    let mut daemon = disk.start();
    assert_eq!(daemon.ended().code(), Some(1), "{}", daemon.log());
    let log = daemon.log();
    assert!(log.lines().last().unwrap().contains("Read-only file system"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    disk.unmount();
}
