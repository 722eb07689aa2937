//! Measures files on disk in allocated bytes, and waits until they no longer change.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use testkit::benchmark::{Bound, Table};

const STILL_FOR: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(120);

pub fn bytes(path: &Path) -> u64 {
    let mut sum = 0;
    visit(path, &mut |file| sum += file.blocks() * 512);
    sum
}

/// Entries of a directory with their bytes, sorted by name.
pub fn entries(directory: &Path) -> Vec<(String, u64)> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut entries: Vec<_> =
        paths.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), bytes(&path))).collect();
    entries.sort();
    entries
}

/// Waits until nothing is written to `directory` any more, and adds a row with the time that took.
pub fn settle(table: &mut Table, directory: &Path) {
    let begun = Instant::now();
    let mut last = state(directory);
    let mut since = Instant::now();
    while since.elapsed() < STILL_FOR && begun.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(100));
        let now = state(directory);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    let name = if since.elapsed() < STILL_FOR { "idle, and STILL writing after" } else { "idle, written to for" };
    table.row(name, (since - begun).as_secs_f64(), "s", Bound::None);
}

/// Allocated bytes and newest modification time. Bytes alone miss overwrites, which keep the size.
fn state(directory: &Path) -> (u64, (i64, i64)) {
    let mut sum = 0;
    let mut newest = (0, 0);
    visit(directory, &mut |file| {
        sum += file.blocks() * 512;
        newest = newest.max((file.mtime(), file.mtime_nsec()));
    });
    (sum, newest)
}

/// Calls `file` for each file under `path`. Skips entries that a running process removes meanwhile.
fn visit(path: &Path, file: &mut impl FnMut(&Metadata)) {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.for_each(|entry| visit(&entry.path(), file));
        }
        Ok(metadata) => file(&metadata),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
    }
}
