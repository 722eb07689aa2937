//! Run of more than one partition: its size in memory and on disk, and its look-ups.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::*;

const KEYS: u64 = 1_100_000;

#[test]
fn a_key_takes_little_memory_and_little_of_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(9);
    let entries = entries(&mut random, 0, KEYS);
    let some: Vec<_> = entries.iter().step_by(1009).copied().collect();
    let run = write_run(directory.path(), 0, KEYS, &entries);
    let of_a_key = |bytes: u64| bytes * 1000 / KEYS;
    let memory = of_a_key(run.memory_bytes() as u64);
    let disk = of_a_key(run.file_bytes());
    assert!(memory <= 2_500, "{memory} thousandths of a byte of memory a key");
    assert!(disk <= 32_000, "{disk} thousandths of a byte of disk a key");
    let mut partitions = [0; 4];
    let tail = run.file_bytes() - 26;
    File::open(run.path()).unwrap().read_exact_at(&mut partitions, tail + 8).unwrap();
    assert_eq!(u32::from_be_bytes(partitions), 2);
    assert!(some.iter().all(|entry| run.find(entry.digest).unwrap() == Some(*entry)));
    let others = (0..100_000).map(|_| entry(&mut random, 1).digest);
    let wrong = others.filter(|digest| run.may_contain(*digest)).count();
    assert!(wrong < 20, "{wrong} of 100,000");
}
