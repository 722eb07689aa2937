//! Power cuts: when the power is back, all acknowledged events are there, all events stay, and the daemon goes on from
//! there.
//!
//! The data is on ext4, on a loop device, on a disk that loses unsynced writes: all of them, or a random half in pieces
//! of 512 B or 4 KiB. A kill alone can never show a missing sync, because the kernel keeps all writes.

mod disk;
mod fuse;
mod load;
mod machine;
mod mount;
mod named;
mod points;
mod recovered;
mod rounds;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::faults::Faults;
use crate::preload;
use crate::support::skip;
use disk::Keep;
use load::Load;
use named::Named;
use points::{Left, POINTS};
use rounds::{Cut, Rounds, Seen};

/// Variable for runs by hand: the number of disks with cuts at random. If it is set, each named cut comes three times.
const DISKS_BY_HAND: &str = "CLEAT_POWER_CUT_DISKS";
const DISKS: u64 = 6;
/// Number of disks for the daemon that leaves a sync out: enough to notice.
const DISKS_UNSYNCED: u64 = 4;
const CUTS_PER_DISK: u64 = 6;
/// Events of one sender, each a commit of its own.
const LIGHT: usize = 1000;

/// Returns the cuts of one disk, in order. The first hits a new directory, the fourth a daemon that opens its data.
fn cuts(disk: u64) -> impl Iterator<Item = Cut> {
    (0..CUTS_PER_DISK).map(move |n| {
        let name = disk * CUTS_PER_DISK + n;
        let mut random = StdRng::seed_from_u64(name);
        let (senders, events) = match n {
            0 => ([1, 48][usize::from(disk % 2 == 1)], random.random_range(1..=8)),
            1 => (1, random.random_range(20..60)),
            4 => (1, LIGHT + random.random_range(0..60)),
            2 => (48, random.random_range(150..500)),
            _ => (48, random.random_range(500..1000)),
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

fn disks() -> u64 {
    std::env::var(DISKS_BY_HAND).map_or(DISKS, |disks| disks.parse().unwrap())
}

fn cut_all(disks: u64, env: &[(&str, &str)]) -> Seen {
    let mut all = Seen::default();
    for disk in 0..disks {
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
    let disks = disks();
    let count = usize::try_from(disks).unwrap();
    let cuts = count * usize::try_from(CUTS_PER_DISK).unwrap();
    let seen = cut_all(disks, &[]);
    assert!(seen.lost.is_empty(), "{:#?}", seen.lost);
    assert_eq!(seen.cuts, cuts);
    assert!(seen.in_flight >= cuts * 3 / 4, "{} cuts found writes on their way", seen.in_flight);
    let switched = (seen.runs, seen.checkpoints);
    // Eight runs become one.
    assert!(switched.0 >= 5 * count && switched.1 >= count, "{switched:?} runs and checkpoints");
    assert!(seen.segments >= cuts / 2, "{} segments", seen.segments);
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
    assert_eq!(light, disks);
}

#[test]
fn acknowledged_event_survives_a_power_cut_at_each_named_point() {
    if let Some(why) = mount::missing() {
        return skip(why);
    }
    let directory = tempfile::tempdir().unwrap();
    let Some(faults) = Faults::new(directory.path()) else {
        return skip("named points need a C compiler");
    };
    let mut named = Named::new(directory.path(), &faults);
    let mut torn = 0;
    let mut of_derived_files = 0;
    let mut lost = Vec::new();
    let by_hand = std::env::var_os(DISKS_BY_HAND).is_some();
    for point in POINTS {
        let all = [Left::Nothing, Left::Torn, Left::All];
        let worst = [point.worst()];
        let two = if point.worst() == Left::All { &all[1..] } else { &all[..2] };
        let once = if point.is_of_derived_files() { two } else { &worst };
        for left in if by_hand { &all[..] } else { once } {
            of_derived_files += usize::from(point.is_of_derived_files());
            match named.cut(point, *left) {
                Ok(unsynced) => torn += usize::from(*left == Left::Torn && unsynced > 0),
                Err(why) => lost.push(format!("{}, {left:?}: {why}", point.name)),
            }
        }
    }
    assert!(lost.is_empty(), "{} of {}: {lost:#?}", lost.len(), POINTS.len());
    assert!(torn >= 18, "{torn} cuts found writes on their way");
    assert!(of_derived_files >= 30, "{of_derived_files} cuts at runs, changes, checkpoints and generations");
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
    let seen = cut_all(DISKS_UNSYNCED, &[("LD_PRELOAD", &library)]);
    // The number depends on the writes that the machine had already made on its own.
    assert!(seen.lost.len() >= seen.cuts / 4, "only these noticed of {} cuts: {:#?}", seen.cuts, seen.lost);
}
