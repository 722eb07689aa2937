//! Power cuts: what was acknowledged is there when the power is back, what is there stays, and it goes on from there.
//!
//! The data lies on ext4, on a loop device, on a disk that forgets what was not synced: all of it, or a random half in
//! pieces of 512 B or 4 KiB. A kill alone can never show a missing sync, since the kernel keeps what it was given.

mod disk;
mod fuse;
mod load;
mod mount;
mod recovered;
mod rounds;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::preload;
use crate::support::skip;
use disk::Keep;
use load::Load;
use rounds::{Cut, Rounds, Seen};

const DISKS: u64 = 6;
const CUTS_PER_DISK: u64 = 6;
const CUTS: usize = 36;
/// Events of one sender, each a commit of its own.
const LIGHT: usize = 1000;

/// The cuts of one disk, one after another. The first meets a young directory, the fourth a daemon that opens its data.
fn cuts(disk: u64) -> impl Iterator<Item = Cut> {
    (0..CUTS_PER_DISK).map(move |n| {
        let name = disk * CUTS_PER_DISK + n;
        let mut random = StdRng::seed_from_u64(name);
        let (senders, events) = match n {
            0 => ([1, 48][usize::from(disk % 2 == 1)], random.random_range(1..=8)),
            1 => (1, random.random_range(20..60)),
            4 => (1, LIGHT + random.random_range(0..60)),
            2 => (48, random.random_range(150..500)),
            _ => (128, random.random_range(500..1500)),
        };
        let load = (n != 3).then_some(Load { senders, events });
        let writes = random.random_range(0..12);
        let keep = match random.random_range(0..3) {
            0 => Keep::Nothing,
            1 => Keep::Half { piece: 512, seed: name },
            _ => Keep::Half { piece: 4096, seed: name },
        };
        Cut { name, load, writes, keep }
    })
}

fn cut_all(env: &[(&str, &str)]) -> Seen {
    let mut all = Seen::default();
    for disk in 0..DISKS {
        let directory = tempfile::tempdir().unwrap();
        let seen = Rounds { directory: directory.path(), env }.run(cuts(disk));
        all.cuts += seen.cuts;
        all.in_flight += seen.in_flight;
        all.loads.extend(seen.loads);
        all.runs += seen.runs;
        all.checkpoints += seen.checkpoints;
        all.segments += seen.segments;
        all.lost.extend(seen.lost);
    }
    all
}

#[test]
fn an_acknowledged_event_survives_power_cuts() {
    if let Some(why) = mount::missing() {
        return skip(why);
    }
    let seen = cut_all(&[]);
    assert!(seen.lost.is_empty(), "{:#?}", seen.lost);
    assert_eq!(seen.cuts, CUTS);
    assert!(seen.in_flight >= CUTS * 3 / 4, "{} cuts found writes on their way", seen.in_flight);
    let switched = (seen.runs, seen.checkpoints);
    assert!(switched.0 >= 60 && switched.1 >= 8, "{switched:?} runs and checkpoints");
    assert!(seen.segments >= CUTS / 2, "{} segments", seen.segments);
    let mut light = 0;
    for loaded in seen.loads {
        assert!(loaded.acknowledged >= loaded.load.events, "{loaded:?}");
        if loaded.load.senders == 1 {
            assert_eq!(loaded.events, loaded.commits, "{loaded:?}");
            light += u64::from(loaded.load.events >= LIGHT);
        } else if loaded.load.events > 100 {
            assert!(loaded.events >= 4 * loaded.commits, "{loaded:?}");
        }
    }
    assert_eq!(light, DISKS);
}

#[test]
fn the_power_cut_suite_notices_a_missing_fdatasync() {
    if let Some(why) = mount::missing() {
        return skip(why);
    }
    let directory = tempfile::tempdir().unwrap();
    let Some(library) = preload::compile(directory.path(), preload::NO_SYNC) else {
        return skip("leaving out the sync needs a C compiler");
    };
    let seen = cut_all(&[("LD_PRELOAD", &library)]);
    assert_eq!(seen.cuts, CUTS);
    // How many depends on what the machine had already written by itself: 17 to 25 of 36 were seen.
    assert!(seen.lost.len() >= CUTS / 4, "only these noticed: {:#?}", seen.lost);
}
