//! Tests of a start with the keys that journals hold.

use super::*;
use crate::event::fingerprint;
use crate::log::dedup::key::{Digest, Fingerprint};
use crate::log::files::layout::DataFiles;
use crate::log::files::secret::LogSecret;
use crate::log::journal::{JournalFrame, JournalKey};
use crate::log::open::{Examined, gather, keys};
use crate::segment::Frame;

const OTHER: &[u8] = br#"{"data":1}"#;

/// Creates a log of two process lifetimes: an event, and one that conflicts with it. The last journal is not sealed.
fn filled() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (body, position) in [(&b"{}"[..], 1), (OTHER, 2)] {
        let log = open(directory.path(), options()).unwrap();
        assert_eq!(append(&log, "a", body).unwrap().reached.position, position);
        close(log);
    }
    directory
}

/// Returns the keys that a start finds after `change` to the last frame, and the secret that it takes.
fn keys_with(change: impl Fn(&mut JournalFrame)) -> (keys::LoadedKeys, LogSecret) {
    let directory = filled();
    let files = DataFiles::at(directory.path()).unwrap();
    let mut examined: Examined = gather(&files).unwrap();
    let (_, found) = examined.unsealed.journals.last_mut().unwrap();
    change(found.frames.last_mut().unwrap());
    let loaded = keys::load(&examined, &files.dedup()).unwrap();
    let fresh = NewLog { secret: Zeroizing::new([9; 32]), ..options().fresh };
    let secret = keys::settle_secret(&mut examined, &loaded.set, &fresh);
    let keys = keys::collect(&examined, &secret, loaded, &files.dedup(), 1).unwrap();
    (keys, secret)
}

fn has_conflict(keys: &keys::LoadedKeys, secret: &LogSecret) -> bool {
    let digest = Digest::of_conflict(secret, 1, Fingerprint::of(secret, &fingerprint(OTHER)));
    keys.index.find(digest).unwrap().is_some_and(|entry| entry.position == 2)
}

/// Format 1 used fingerprints of another length for its digests of conflicts, and stored none.
#[test]
fn old_format_conflict_is_known_again_and_keeps_the_secret() {
    let (keys, secret) = keys_with(|frame| frame.keys = vec![JournalKey { digest: [1; 16], fingerprint: [0; 8] }]);
    assert_eq!(*secret.key, [5; 32]);
    assert!(has_conflict(&keys, &secret));
}

#[test]
fn keys_that_cannot_be_read_are_not_called_known() {
    let (keys, secret) = keys_with(|frame| frame.generation += 1);
    assert!(has_conflict(&keys, &secret));
    assert_eq!(keys.index.recent_mut().complete().count(), 2);

    let (keys, secret) = keys_with(|frame| {
        frame.generation += 1;
        let decoded = Frame::decode(&frame.frame).unwrap();
        let private: Vec<u8> = decoded.private.iter().map(|byte| byte ^ 1).collect();
        frame.frame = Frame { private: &private, ..decoded }.encode().unwrap().into();
    });
    assert!(!has_conflict(&keys, &secret));
    assert_eq!(keys.index.recent_mut().complete().count(), 1, "no run is made of the other");
}
