//! Many journals in one process, which must leave nothing behind.

use super::*;

const JOURNALS: u64 = 2000;
const WARM: u64 = 50;
const GROWTH_KIB_MAX: u64 = 16 * 1024;

/// Resources that the process holds.
#[derive(Debug)]
struct Held {
    resident_kib: u64,
    threads: u64,
    descriptors: usize,
}

impl Held {
    fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        let descriptors = fs::read_dir("/proc/self/fd").unwrap().count();
        Self { resident_kib: number("VmRSS:"), threads: number("Threads:"), descriptors }
    }
}

fn use_and_remove(directory: &Path, sequence: u64, frames: &[JournalFrame]) {
    let journal = Journal::create(directory, sequence).unwrap();
    for frame in frames {
        journal.put(frame).unwrap();
    }
    journal.sync().unwrap();
    drop(journal);
    remove(directory, sequence, &mut AtOnce).unwrap();
}

/// Runs in a process of its own: the resources of other tests would be counted.
#[test]
fn two_thousand_journals_leave_nothing_behind() {
    const ALONE: &str = "CLEAT_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = std::thread::current().name().unwrap().to_owned();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let output = child.args(["--exact", &name, "--nocapture"]).env(ALONE, "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let frames = frames((0..60).map(|_| (1, 5000)));
    let mut warm = None;
    for sequence in 1..=JOURNALS {
        use_and_remove(directory.path(), sequence, &frames);
        if sequence == WARM {
            warm = Some(Held::now());
        }
    }
    let warm = warm.unwrap();
    let end = Held::now();
    assert!(end.resident_kib <= warm.resident_kib + GROWTH_KIB_MAX, "{warm:?}, then {end:?}");
    assert!(end.threads <= warm.threads && end.descriptors <= warm.descriptors, "{warm:?}, then {end:?}");
}
