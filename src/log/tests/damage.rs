//! Damage of every kind at the seam and in sled's own file: named by position, never a silently shortened log.

use super::*;
use crate::blocklog::VALUE_BYTES_MAX;
use crate::log::witness::Witness;

const EVENTS: u64 = 30;

/// A closed log of one-event blocks.
fn store() -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::default());
    let log = open_on(store.clone(), options()).unwrap();
    for n in 1..=EVENTS {
        append(&log, &n.to_string(), b"{\"some\":\"body\"}").unwrap();
    }
    close(log);
    store.split();
    store
}

/// The range that opening names.
fn damage(store: Arc<MemoryStore>) -> (u64, u64, String) {
    match open_on(store, options()) {
        Err(OpenError::Damaged { range, reason }) => (*range.start(), *range.end(), reason),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a damaged log opened"),
    }
}

#[test]
fn any_changed_byte_of_a_block_is_named_by_position() {
    let len = store().entries.lock().unwrap()[&Key::block(17)].len();
    for at in 0..len {
        let store = store();
        store.entries.lock().unwrap().get_mut(&Key::block(17)).unwrap()[at] ^= 0x40;
        let (from, to, reason) = damage(store);
        assert_eq!((from, to), (17, EVENTS), "byte {at}: {reason}");
    }
}

#[test]
fn a_missing_block_is_named_by_position() {
    for gone in 1..=EVENTS {
        let store = store();
        store.entries.lock().unwrap().remove(&Key::block(gone));
        assert_eq!(damage(store).0, gone);
    }
}

#[test]
fn a_log_that_ends_before_its_witness_stays_shut() {
    let store = store();
    store.entries.lock().unwrap().retain(|key, _| key.first <= 20);
    let (from, to, reason) = damage(store);
    assert_eq!((from, to), (21, EVENTS));
    assert!(reason.contains("witness"), "{reason}");
}

#[test]
fn a_block_of_another_history_is_found_by_the_chain() {
    let (ours, other) = (store(), Arc::new(MemoryStore::default()));
    let log = open_on(other.clone(), options()).unwrap();
    for n in 1..=EVENTS {
        append(&log, &format!("other-{n}"), b"{}").unwrap();
    }
    close(log);
    other.split();
    let foreign = other.entries.lock().unwrap()[&Key::block(12)].clone();
    ours.entries.lock().unwrap().insert(Key::block(12), foreign);
    assert_eq!(damage(ours).0, 12);
}

#[test]
fn a_witness_that_is_gone_garbled_or_of_another_history_stops_the_open() {
    let garble = |mark: &mut Option<Vec<u8>>| mark.as_mut().unwrap()[40] ^= 1;
    let shorten = |mark: &mut Option<Vec<u8>>| mark.as_mut().unwrap().truncate(63);
    let replace = |mark: &mut Option<Vec<u8>>| {
        let witness = Witness::decode(mark.as_ref().unwrap()).unwrap();
        *mark = Some(Witness { chain_prefix: [9; 16], ..witness }.encode().to_vec());
    };
    let foreign = |mark: &mut Option<Vec<u8>>| {
        let witness = Witness::decode(mark.as_ref().unwrap()).unwrap();
        *mark = Some(Witness { identity: Identity { log_id: 1, epoch: 1 }, ..witness }.encode().to_vec());
    };
    let remove = |mark: &mut Option<Vec<u8>>| *mark = None;
    for harm in [remove, garble, shorten, replace, foreign] {
        let store = store();
        harm(&mut store.mark.lock().unwrap());
        assert!(damage(store).2.contains("witness"));
    }
}

#[test]
fn a_log_whose_identity_is_gone_or_garbled_is_not_taken_for_a_new_one() {
    let identity = Key { first: 0, chunk: 0 };
    let gone = store();
    gone.entries.lock().unwrap().remove(&identity);
    assert_eq!(damage(gone).1, EVENTS);
    let emptied = store();
    emptied.entries.lock().unwrap().clear();
    assert_eq!(damage(emptied).1, EVENTS, "the witness remembers");
    let garbled = store();
    garbled.entries.lock().unwrap().get_mut(&identity).unwrap()[10] ^= 1;
    assert_eq!(damage(garbled).1, EVENTS);
    let both = store();
    both.entries.lock().unwrap().clear();
    both.mark.lock().unwrap().as_mut().unwrap()[40] ^= 1;
    assert!(damage(both).2.contains("identity is gone"), "a witness that cannot be read is not none");
}

#[test]
fn damage_that_comes_while_it_is_open_is_an_error_of_what_it_touches_only() {
    let store = store();
    let log = open_on(store.clone(), options()).unwrap();
    store.entries.lock().unwrap().get_mut(&Key::block(9)).unwrap()[150] ^= 1;
    assert!(log.reader.get(9).unwrap_err().to_string().contains("position 9"));
    assert_eq!(log.reader.get(8).unwrap().unwrap().position, 8);
    let mut tail = log.reader.tail(7);
    assert_eq!(tail.read().unwrap()[0].position, 8);
    assert!(tail.read().is_err() && tail.read().is_err(), "a tail does not step over damage");
    assert!(matches!(append(&log, "9", b"{}"), Err(AppendError::Unconfirmed(_))), "it may be a duplicate: unknown");
    assert_eq!(append(&log, "new", b"{}").unwrap().position, EVENTS + 1);
    close(log);
}

#[test]
fn a_flipped_byte_in_sleds_file_never_shortens_the_log_silently() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), options()).unwrap();
    append_all(&log, (0..200).map(|n| delivery(&n.to_string(), format!("{{\"n\":{}}}", n * 7).as_bytes())).collect());
    close(log);
    let file = directory.path().join("log/db");
    let whole = std::fs::read(&file).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let (mut refused, mut intact) = (0, 0);
    for n in 0..24 {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(directory.path(), copy.path());
        let mut bytes = whole.clone();
        bytes[used * n / 24] ^= 1 << (n % 8);
        std::fs::write(copy.path().join("log/db"), bytes).unwrap();
        match open(copy.path(), options()) {
            Err(_) => refused += 1,
            Ok(log) => {
                assert_eq!(read_all(&log.reader).len(), 200, "flip {n}");
                intact += 1;
                close(log);
            }
        }
    }
    assert!(refused > 0, "no flip was noticed ({intact} harmless)");
}

#[test]
fn what_a_kill_leaves_of_sleds_snapshot_is_removed_and_blobs_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    close(open(directory.path(), options()).unwrap());
    let left_over = directory.path().join("log/snap.0000000000000042.generating");
    std::fs::write(&left_over, b"half").unwrap();
    close(open(directory.path(), options()).unwrap());
    assert!(!left_over.exists());
    std::fs::write(directory.path().join("log/blobs/1"), b"blob").unwrap();
    let refused = open(directory.path(), options()).err().unwrap().to_string();
    assert!(refused.contains("blobs"), "{refused}");
}

#[test]
fn no_stored_value_is_larger_than_the_limit() {
    let store = Arc::new(MemoryStore::default());
    let log = open_on(store.clone(), options()).unwrap();
    let body = |n: usize| (0..n).map(|at| (at * at * 31 + n).to_be_bytes()[7]).collect::<Vec<_>>();
    append_all(&log, (0..300).map(|n| delivery(&n.to_string(), &body(n * 97 % 20_000))).collect());
    close(log);
    let entries = store.entries.lock().unwrap();
    assert!(entries.len() > 1 && entries.values().all(|value| value.len() <= VALUE_BYTES_MAX));
}

pub(super) fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
