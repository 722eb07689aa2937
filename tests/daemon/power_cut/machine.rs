//! A machine whose power can be cut: a disk with ext4, mounted, and daemons over directories on it. It knows nothing of
//! the events sent to them.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};

use super::disk::{Disk, Keep};
use super::fuse::{DiskFile, SharedDisk};
use super::mount::{Mounted, make_ext4};
use crate::support::{Daemon, Launch};

/// Longest wait for the first page that is written back: some twenty times the usual time.
const WRITE_BACK_MAX: Duration = Duration::from_secs(1);
/// Time without another page after which write-back is over.
const WRITE_BACK_REST: Duration = Duration::from_millis(15);
const DISK_BYTES: usize = 256 * 1024 * 1024;
/// Small limits, so that cuts come while journals, runs and checkpoints follow one another.
const CONFIG: &str = "[log]\ndedup_run_events = 100\njournal_bytes = \"1MiB\"\ndisk_reserve = \"8MiB\"\n\
                      [views]\ncheckpoint_events = 50\n";

pub struct Machine {
    directory: PathBuf,
    pub disk: SharedDisk,
    /// The mounted file system. `None` only while the power is off. It is dropped before the file that it is mounted
    /// from.
    mounted: Option<Mounted>,
    file: DiskFile,
}

impl Machine {
    /// Returns a machine with an empty file system. `directory`, on another disk, takes everything but the daemon's
    /// data.
    pub fn new(directory: &Path) -> Self {
        let disk = SharedDisk::new(Disk::blank(DISK_BYTES));
        let file = DiskFile::mount(disk.clone(), &directory.join("fuse")).unwrap();
        make_ext4(&file.path);
        disk.lock().sync();
        let mut machine = Self { directory: directory.to_owned(), disk, mounted: None, file };
        machine.mount();
        machine
    }

    fn mountpoint(&self) -> PathBuf {
        self.directory.join("ext4")
    }

    fn mount(&mut self) {
        self.mounted = Some(Mounted::mount(&self.file.path, &self.mountpoint()));
    }

    /// Path of a data directory on the disk.
    pub fn data(&self, name: &str) -> PathBuf {
        self.mountpoint().join(format!("data-{name}"))
    }

    pub fn start(&self, data: &Path, env: &[(&str, &str)]) -> Daemon {
        Launch { data: Some(data), env, config: CONFIG, ..Launch::new(&self.directory) }.start()
    }

    /// Makes all writes durable.
    pub fn sync(&self) {
        let directory = std::fs::File::open(self.mountpoint()).unwrap();
        rustix::fs::syncfs(&directory).unwrap();
    }

    /// Waits until the disk has unsynced pages and gets no more. The time is limited, because there may be none.
    pub fn wait_for_write_back(&self) {
        let deadline = Instant::now() + WRITE_BACK_MAX;
        let mut before = 0;
        while Instant::now() < deadline {
            let unsynced = self.disk.lock().unsynced();
            if unsynced > 0 && unsynced == before {
                return;
            }
            before = unsynced;
            thread::sleep(WRITE_BACK_REST);
        }
    }

    /// Cuts the power now, unless it is cut already.
    pub fn cut(&self, keep: Keep) {
        let mut disk = self.disk.lock();
        if disk.was_cut().is_none() {
            disk.cut_after(0, keep);
        }
    }

    /// Restores the power after a cut, once no process uses the disk. Returns the number of pages that were not synced
    /// at the cut.
    pub fn power_on_again(&mut self) -> usize {
        self.mounted = None;
        let mut disk = self.disk.lock();
        let unsynced = disk.was_cut().unwrap();
        disk.power_on();
        drop(disk);
        self.mount();
        unsynced
    }
}

/// Makes the system write the contents of files to their disk, without a sync, as it does on its own.
pub fn write_back(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            write_back(&path);
        } else {
            fadvise(std::fs::File::open(path).unwrap(), 0, None, Advice::DontNeed).unwrap();
        }
    }
}

/// Number of files below a directory with this extension.
pub fn count(directory: &Path, ending: &str) -> usize {
    let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let ends_so = |path: &Path| usize::from(path.extension().is_some_and(|extension| extension == ending));
    let count = |path: PathBuf| if path.is_dir() { count(&path, ending) } else { ends_so(&path) };
    paths.map(count).sum()
}
