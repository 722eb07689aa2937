//! Witness file: which slot counts, and which slot is left after damage.

use std::fs;

use tempfile::tempdir;

use super::{flips, mode, witness};
use crate::log::files::sector;
use crate::log::files::witness::{
    NextSlot, WitnessFile, WitnessRead, WitnessSlot, WitnessState, WitnessStore as _, decode, first_file, read,
};

/// Returns a file with position 20 as write 5 in slot 1, and position 10 as write 4 in slot 0.
fn file() -> Vec<u8> {
    let mut file = first_file(None);
    for (at, number, position) in [(0, 4, 10), (4096, 5, 20)] {
        file[at..at + 512].copy_from_slice(&WitnessSlot { number, witness: witness(position) }.encode());
    }
    file
}

fn found(position: u64, state: WitnessState, slot: usize, number: u64) -> WitnessRead {
    WitnessRead { newest: Some(witness(position)), state, next: NextSlot { slot, number } }
}

fn nothing(state: WitnessState) -> WitnessRead {
    WitnessRead { newest: None, state, next: NextSlot { slot: 0, number: 1 } }
}

#[test]
fn newest_whole_slot_counts_and_the_other_is_next() {
    assert_eq!(decode(&file()), found(20, WitnessState::Whole, 0, 6));
    let first = first_file(Some(witness(0)));
    assert_eq!(decode(&first), found(0, WitnessState::Whole, 1, 2));
}

#[test]
fn slot_with_any_bit_flipped_leaves_the_other() {
    let bytes = file();
    for (at, flipped) in flips(&bytes) {
        let expected = match at {
            0..512 => found(20, WitnessState::OneSlotDamaged, 0, 6),
            4096..4608 => found(10, WitnessState::OneSlotDamaged, 1, 5),
            _ => found(20, WitnessState::Whole, 0, 6),
        };
        assert_eq!(decode(&flipped), expected, "a bit at {at}");
    }
}

#[test]
fn witness_that_is_cut_is_never_called_whole() {
    let bytes = file();
    for length in 0..bytes.len() {
        let expected = match length {
            0..512 => nothing(WitnessState::Lost),
            512..4608 => found(10, WitnessState::OneSlotDamaged, 1, 5),
            _ => found(20, WitnessState::OneSlotDamaged, 0, 6),
        };
        assert_eq!(decode(&bytes[..length]), expected, "cut at {length}");
        assert_ne!(decode(&first_file(None)[..length]).state, WitnessState::Unwritten, "zeros, cut at {length}");
    }
}

#[test]
fn witness_with_both_slots_damaged_is_lost() {
    let mut bytes = file();
    bytes[30] ^= 1;
    bytes[4096 + 30] ^= 1;
    assert_eq!(decode(&bytes), nothing(WitnessState::Lost));
}

#[test]
fn witness_of_a_newer_format_is_refused_by_name() {
    let mut bytes = file();
    bytes[..512].copy_from_slice(&sector::seal(*b"cleatwit", 2, b"another layout"));
    assert_eq!(decode(&bytes), nothing(WitnessState::Newer { format: 2 }));
    bytes[8] = 3;
    assert_eq!(decode(&bytes), found(20, WitnessState::OneSlotDamaged, 0, 6));
}

#[test]
fn file_is_read_without_a_change_and_made_only_when_opened() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("witness");
    assert_eq!(read(&path).unwrap(), nothing(WitnessState::Missing));
    assert!(!path.exists());
    let (_, opened) = WitnessFile::open(&path).unwrap();
    assert_eq!(opened, nothing(WitnessState::Unwritten));
    assert_eq!((fs::metadata(&path).unwrap().len(), mode(&path)), (8192, 0o600));
}

#[test]
fn file_that_was_cut_has_both_slots_again_once_opened() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("witness");
    fs::write(&path, &file()[..600]).unwrap();
    let (opened, found) = WitnessFile::open(&path).unwrap();
    assert_eq!(found.state, WitnessState::OneSlotDamaged);
    opened.write(1, &WitnessSlot { number: found.next.number, witness: witness(30) }.encode()).unwrap();
    opened.sync().unwrap();
    let found = read(&path).unwrap();
    assert_eq!((found.newest, found.state), (Some(witness(30)), WitnessState::Whole));
}

#[test]
fn file_of_a_newer_format_is_opened_without_a_change() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("witness");
    let newer = [&sector::seal(*b"cleatwit", 2, b"")[..], &[7; 9000]].concat();
    fs::write(&path, &newer).unwrap();
    let (_, found) = WitnessFile::open(&path).unwrap();
    assert_eq!(found, nothing(WitnessState::Newer { format: 2 }));
    assert_eq!(fs::read(&path).unwrap(), newer);
}
