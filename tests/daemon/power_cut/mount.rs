//! ext4 on a file: made, mounted through a loop device, and unmounted again even if the test fails.
//!
//! It knows nothing of the daemon.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};

/// Returns why this machine cannot cut the power. `None` if it can.
pub fn missing() -> Option<&'static str> {
    let there = |program: &str| Command::new(program).arg("-V").output().is_ok();
    if !rustix::process::geteuid().is_root() {
        return Some("power cuts need root");
    }
    if !Path::new("/dev/fuse").exists() || !Path::new("/dev/loop-control").exists() {
        return Some("power cuts need /dev/fuse and loop devices");
    }
    (!there("mkfs.ext4") || !there("mount")).then_some("power cuts need mkfs.ext4 and mount")
}

/// Makes the file system with default options. The disk gets nothing but writes.
pub fn make_ext4(file: &Path) {
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", "nodiscard"]).arg(file));
}

pub struct Mounted {
    pub directory: PathBuf,
    file: PathBuf,
}

impl Mounted {
    /// Mounts the file system, and replays its journal if there is one to replay.
    pub fn mount(file: &Path, directory: &Path) -> Self {
        std::fs::create_dir_all(directory).unwrap();
        // `mount` takes a free loop device, and the kernel frees the device at the unmount.
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).args([file, directory]));
        Self { directory: directory.to_owned(), file: file.to_owned() }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if unmount(&self.directory, UnmountFlags::empty()).is_err() {
            detach(&self.directory);
        }
        // While it has a loop device, the kernel may write to the file, and would mix two states of the disk.
        let deadline = Instant::now() + Duration::from_secs(60);
        while has_loop_device(&self.file) {
            // A failed test has its failure already, and a second panic would end all other tests.
            if Instant::now() > deadline {
                assert!(std::thread::panicking(), "never: the loop device is free");
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Detaches a mount. It is no longer visible, and the kernel ends it with its last user.
pub fn detach(directory: &Path) {
    let detached = unmount(directory, UnmountFlags::DETACH);
    assert!(detached.is_ok() || std::thread::panicking(), "{} stays mounted: {detached:?}", directory.display());
}

fn has_loop_device(file: &Path) -> bool {
    let devices = std::fs::read_dir("/sys/block").unwrap();
    devices.flatten().any(|device| {
        let backing = std::fs::read_to_string(device.path().join("loop/backing_file"));
        backing.is_ok_and(|path| Path::new(path.trim_end()) == file)
    })
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
