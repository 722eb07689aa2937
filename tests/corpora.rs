//! Replays the inputs that fuzzing found and that are kept in `fuzz/corpus`, with every run of the tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may end so")]

use testkit::promises;

fn replay(target: &str, promise: impl Fn(&[u8])) {
    let directory = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 50, "{} inputs are no corpus", files.len());
    for file in files {
        promise(&std::fs::read(file).unwrap());
    }
}

#[test]
fn every_body_that_fuzzing_found_is_read_as_promised() {
    replay("envelope", promises::envelope);
}

#[test]
fn every_history_that_fuzzing_found_is_folded_as_promised() {
    replay("fold", promises::fold);
}

#[test]
fn every_text_that_fuzzing_found_is_packed_as_promised() {
    replay("packing", promises::packing);
}

#[test]
fn every_record_that_fuzzing_found_is_opened_as_promised() {
    replay("record", promises::record);
}

#[test]
fn every_frame_that_fuzzing_found_is_read_as_promised() {
    replay("frame", promises::frame);
}

#[test]
fn every_segment_that_fuzzing_found_is_read_as_promised() {
    replay("segment", promises::segment);
}

#[test]
fn every_journal_that_fuzzing_found_is_searched_as_promised() {
    replay("journal", promises::journal);
}
