//! Journals with one fault at a time: no wrong frame is read, and no frame is silently missing.

use super::*;

/// Files of a killed journal, which are damaged again and again.
struct Victim {
    directory: TempDir,
    frames: Vec<JournalFrame>,
    db: PathBuf,
    good: Vec<u8>,
}

impl Victim {
    fn of(frames: Vec<JournalFrame>) -> Self {
        let directory = killed(&frames);
        let db = JournalFiles::of(directory.path(), SEQUENCE).db();
        let good = fs::read(&db).unwrap();
        Self { directory, frames, db, good }
    }

    /// Reads the journal with `db` as its `db` file. Checks that it finds the first frames that were written and
    /// nothing else, and that it changes nothing.
    fn read_with(&self, db: &[u8]) -> FoundFrames {
        fs::write(&self.db, db).unwrap();
        let before = contents(self.files().path());
        let found = recovered(self.directory.path());
        assert_eq!(contents(self.files().path()), before, "the original was changed");
        assert_eq!(found.frames, self.frames[..found.frames.len()]);
        assert_eq!(found.reached, last(&found.frames));
        found
    }

    fn files(&self) -> JournalFiles {
        JournalFiles::of(self.directory.path(), SEQUENCE)
    }

    fn is_whole(&self, found: &FoundFrames) -> bool {
        found.frames.len() == self.frames.len()
    }
}

#[test]
fn a_flipped_bit_costs_nothing_in_silence() {
    let victim = Victim::of(small_frames(300));
    let intact = victim.read_with(&victim.good);
    assert!(victim.is_whole(&intact));
    let mut random = StdRng::seed_from_u64(5);
    let mut whole = 0;
    for _ in 0..300 {
        let mut bytes = victim.good.clone();
        let at = random.random_range(0..bytes.len());
        bytes[at] ^= 1 << random.random_range(0..8);
        let found = victim.read_with(&bytes);
        whole += usize::from(victim.is_whole(&found));
    }
    assert!(whole > 290, "{whole} of 300 whole");
}

#[test]
fn a_shortened_file_is_found_short() {
    let victim = Victim::of(small_frames(100));
    let mut short = 0;
    for n in 0..60 {
        let found = victim.read_with(&victim.good[..victim.good.len() * n / 60]);
        short += usize::from(!victim.is_whole(&found));
    }
    assert!(short > 10, "{short}");
    let doubled = [&victim.good[..], &victim.good[..]].concat();
    assert!(victim.is_whole(&victim.read_with(&doubled)));
}

#[test]
fn a_journal_that_sled_cannot_open_is_read() {
    let victim = Victim::of(small_frames(100));
    let mut bytes = victim.good.clone();
    // The header of sled's first segment.
    bytes[..20].fill(0xff);
    let found = victim.read_with(&bytes);
    assert!(victim.is_whole(&found), "{found:?}");
}

#[test]
fn search_finds_values_anywhere_but_none_inside_another() {
    let frames = frames([(1, 400), (1, 5000), (1, 20_000)]);
    let values = |frame| value::encode(frame).unwrap().into_iter().map(|(_, value)| value);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let window = 1024 * 1024;
    for at in [0, 1, window - 5000, window - 18, window - 1, window, window + 1, 3 * window - 3] {
        let mut bytes = vec![1; at];
        frames.iter().flat_map(values).for_each(|value| bytes.extend(value));
        fs::write(&path, &bytes).unwrap();
        let search = search::Search::of(&path).unwrap();
        for frame in &frames[1..] {
            for (key, value) in value::encode(frame).unwrap() {
                let first = header(frame).first;
                let chunk = u16::from_be_bytes([key[8], key[9]]);
                assert_eq!(search.values(first, chunk).unwrap(), [value], "at {at}");
            }
        }
    }
}

#[test]
fn what_lies_inside_a_value_is_no_value() {
    let inner = value::encode(&frames([(1, 40)])[0]).unwrap().remove(0).1;
    let outer = frames([(1, 40), (1, 900)]).remove(1);
    let decoded = Frame::decode(&outer.frame).unwrap();
    let private = [&[9; 50][..], &inner, &[9; 50]].concat();
    let frame = Frame { private: &private, ..decoded }.encode().unwrap().into();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let values = value::encode(&JournalFrame { frame, ..outer }).unwrap();
    fs::write(&path, &values[0].1).unwrap();
    let search = search::Search::of(&path).unwrap();
    assert_eq!((search.values(1, 0).unwrap().len(), search.values(2, 0).unwrap().len()), (0, 1));
}

#[test]
fn two_different_frames_that_both_fit_are_both_left_out() {
    let frames = frames([(1, 400), (1, 300)]);
    let decoded = Frame::decode(&frames[1].frame).unwrap();
    let other = Frame { private: b"other", ..decoded }.encode().unwrap().into();
    let other = JournalFrame { frame: other, ..frames[1].clone() };
    let directory = tempfile::tempdir().unwrap();
    let files = JournalFiles::of(directory.path(), SEQUENCE);
    fs::create_dir(files.path()).unwrap();
    let encoded = |frame| value::encode(frame).unwrap().remove(0).1;
    let [first, second, other] = [&frames[0], &frames[1], &other].map(encoded);
    fs::write(files.db(), [&first[..], &second, &second, &first].concat()).unwrap();
    assert_eq!(recovered(directory.path()).frames, frames);
    fs::write(files.db(), [&first[..], &second, &other].concat()).unwrap();
    assert_eq!(recovered(directory.path()).frames, frames[..1]);
}
