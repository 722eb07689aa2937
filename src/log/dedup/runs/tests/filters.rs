//! Filters: they know every prefix that they were made of, few others, and never change.

use super::*;
use crate::log::dedup::runs::filter::Filter;

fn prefixes(random: &mut StdRng, count: usize) -> Vec<u64> {
    (0..count).map(|_| random.random()).collect()
}

#[test]
fn a_filter_of_any_size_knows_its_prefixes_and_few_others() {
    let mut random = StdRng::seed_from_u64(7);
    let mut wrong = 0;
    // The sizes after 300 are those at which the segments have just become longer, so xorf needs more tries.
    for count in (1..300).chain([305, 1014, 3380, 11_240, 37_500, 124_700, 415_500]) {
        let prefixes = prefixes(&mut random, count);
        let built = Filter::build(&prefixes).unwrap();
        let filter = Filter::decode(&built.encode()).unwrap();
        assert_eq!(filter, built);
        assert!(prefixes.iter().all(|prefix| filter.may_contain(*prefix)), "{count}");
        wrong += (0..1000).map(|_| random.random::<u64>()).filter(|prefix| filter.may_contain(*prefix)).count();
    }
    // One in 65,536 of the 306,000 is expected.
    assert!((1..20).contains(&wrong), "{wrong}");
}

#[test]
fn a_filter_answers_as_the_one_it_comes_from() {
    let mut random = StdRng::seed_from_u64(8);
    let prefixes = prefixes(&mut random, 20);
    let ours = Filter::build(&prefixes).unwrap();
    let theirs = xorf::BinaryFuse16::try_from(&prefixes).unwrap();
    for _ in 0..500_000 {
        let prefix = random.random();
        assert_eq!(ours.may_contain(prefix), xorf::Filter::contains(&theirs, &prefix));
    }
}

/// Bytes of a filter that an earlier version stored.
const STORED: &str = concat!(
    "910a2dec89025cc10000000800000001000000000000000000000000000000000000000000000000000000000000000055f1757c",
    "0000000000005471012a0000d79ca98f"
);

#[test]
fn a_stored_filter_answers_for_ever_as_when_it_was_made() {
    let bytes: Vec<u8> =
        (0..STORED.len() / 2).map(|n| u8::from_str_radix(&STORED[2 * n..2 * n + 2], 16).unwrap()).collect();
    let filter = Filter::decode(&bytes).unwrap();
    let known: Vec<u64> = (0..100_000).filter(|prefix| filter.may_contain(*prefix)).collect();
    // The last four are known by chance.
    assert_eq!(known, [1, 22, 333, 4444, 6908, 40_551, 59_293, 98_968]);
}

#[test]
fn a_filter_with_impossible_numbers_is_refused() {
    let good = Filter::build(&[1, 22, 333, 4444]).unwrap().encode();
    // It has 24 prints. The first three pairs give 24 prints, too.
    for (length, segments) in [(6, 2), (3, 6), (12, 0), (0, 0), (8, 2), (u32::MAX, u32::MAX), (1 << 31, u32::MAX - 1)] {
        let mut bytes = good.clone();
        bytes[8..12].copy_from_slice(&u32::to_be_bytes(length));
        bytes[12..16].copy_from_slice(&u32::to_be_bytes(segments));
        let at = bytes.len() - 4;
        let crc = crc32c::crc32c(&bytes[..at]).to_be_bytes();
        bytes[at..].copy_from_slice(&crc);
        assert!(Filter::decode(&bytes).is_err(), "{length} × {segments}");
    }
    for length in 0..good.len() {
        assert!(Filter::decode(&good[..length]).is_err());
    }
}
