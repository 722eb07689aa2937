//! The applier against a model: maps of the appended records. Runs come and go under it as the keeper makes them, and
//! look-ups are of any age.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::log::dedup::key::{Claim, Digest, Fingerprint, KnownKey};
use crate::log::dedup::{KeyEntry, KeyTable, RecentKeys, Span};
use crate::log::files::secret::LogSecret;
use crate::log::write::applier::{KeyVerdict, apply};

#[derive(Debug, Clone)]
enum Step {
    /// A caller searches the runs for a key with a content, and queues.
    LookUp { key: u8, content: u8 },
    /// A waiting caller is applied.
    Apply { waiting: usize, may_stamp: bool },
    /// The growing table is closed, and a run gets its keys.
    Save,
    /// Memory drops the keys that runs have, if no caller holds older runs.
    Release,
    /// Runs lose the keys of some positions, and memory gets them again.
    Lose { after: u64, count: u64 },
    /// All fingerprints in memory are lost, like those of a journal of format 1.
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..5_u8, 0..3_u8).prop_map(|(key, content)| Step::LookUp { key, content }),
        8 => (any::<usize>(), prop::bool::weighted(0.9)).prop_map(|(waiting, may_stamp)| Step::Apply { waiting, may_stamp }),
        2 => Just(Step::Save),
        2 => Just(Step::Release),
        2 => (0..5_u64, 1..5_u64).prop_map(|(after, count)| Step::Lose { after, count }),
        1 => Just(Step::Forget),
    ]
}

/// A waiting caller, with the keys that it saw in the runs.
struct Caller {
    key: u8,
    content: u8,
    known: KnownKey,
    /// Number of the set of runs that it saw.
    runs: usize,
}

struct World {
    secret: LogSecret,
    recent: RecentKeys,
    /// Keys in the runs, one set for each change of the runs.
    runs: Vec<HashMap<[u8; 16], KeyEntry>>,
    covered: u64,
    /// Ranges that the newest runs have lost.
    lost: Vec<Span>,
    next: u64,
    waiting: Vec<Caller>,
    /// First position of each key, with its content.
    firsts: HashMap<u8, (u64, u8)>,
    conflicts: HashMap<(u8, u8), u64>,
}

impl World {
    fn new() -> Self {
        Self {
            secret: LogSecret { generation: 1, key: Zeroizing::new([5; 32]) },
            recent: RecentKeys::after(0),
            runs: vec![HashMap::new()],
            covered: 0,
            lost: Vec::new(),
            next: 1,
            waiting: Vec::new(),
            firsts: HashMap::new(),
            conflicts: HashMap::new(),
        }
    }

    fn claim(&self, key: u8, content: u8) -> Claim {
        let fingerprint = Fingerprint::of(&self.secret, &[content; 32]);
        Claim { digest: Digest::of_event(&self.secret, "t", &EventKey::from_text(key.to_string())), fingerprint }
    }

    fn head(&self) -> Point {
        Point { position: self.next - 1, chain: [0; 32], recorded_at: Timestamp::default() }
    }

    fn look_up(&self, claim: Claim) -> KnownKey {
        self.decide(self.runs.len(), claim, self.runs[self.runs.len() - 1].get(&claim.digest.to_bytes()).copied())
    }

    /// Returns the entries for a claim with this first entry, as set number `runs` has them.
    fn decide(&self, runs: usize, claim: Claim, first: Option<KeyEntry>) -> KnownKey {
        let runs = &self.runs[runs - 1];
        let conflict = first.map(|first| Digest::of_conflict(&self.secret, first.position, claim.fingerprint));
        let has_conflict = conflict.is_some_and(|digest| runs.contains_key(&digest.to_bytes()));
        let through = runs.values().map(|entry| entry.position).max().unwrap_or(0);
        KnownKey { first, has_conflict, through }
    }

    fn expected(&self, key: u8, content: u8, may_stamp: bool) -> Result<KeyVerdict, ()> {
        let stamped = |verdict| if may_stamp { Ok(verdict) } else { Err(()) };
        match self.firsts.get(&key) {
            None => stamped(KeyVerdict::New),
            Some((first, first_content)) if *first_content == content => Ok(KeyVerdict::Duplicate { first: *first }),
            Some((first, _)) if self.conflicts.contains_key(&(key, content)) => {
                Ok(KeyVerdict::KnownConflict { first: *first })
            }
            Some((first, _)) => {
                let digest = Digest::of_conflict(&self.secret, *first, self.claim(key, content).fingerprint);
                stamped(KeyVerdict::Conflict { first: *first, digest })
            }
        }
    }

    fn apply(&mut self, Caller { key, content, mut known, runs }: Caller, may_stamp: bool) {
        let claim = self.claim(key, content);
        let expected = self.expected(key, content, may_stamp);
        let stamp = if may_stamp { Ok(()) } else { Err(()) };
        let mut verdict = apply(&mut self.recent, &self.secret, claim, known, self.next, stamp);
        if let Ok(KeyVerdict::Undecided { first }) = verdict {
            // The caller reads the first event.
            let (position, first_content) = self.firsts[&key];
            assert_eq!(first.position, position);
            let fingerprint = self.claim(key, first_content).fingerprint;
            known = self.decide(runs, claim, Some(KeyEntry { fingerprint, ..first }));
            verdict = apply(&mut self.recent, &self.secret, claim, known, self.next, stamp);
        }
        assert_eq!(verdict, expected, "key {key}, content {content}");
        match verdict {
            Ok(KeyVerdict::New) => drop(self.firsts.insert(key, (self.next, content))),
            Ok(KeyVerdict::Conflict { .. }) => drop(self.conflicts.insert((key, content), self.next)),
            _ => return,
        }
        self.next += 1;
    }

    fn save(&mut self) {
        self.recent.close(self.head());
        let mut runs = self.runs[self.runs.len() - 1].clone();
        for table in self.recent.complete() {
            runs.extend(table.entries().into_iter().map(|entry| (entry.digest.to_bytes(), entry)));
        }
        self.covered = self.next - 1;
        self.lost.clear();
        self.runs.push(runs);
    }

    fn release(&mut self) {
        if self.waiting.iter().all(|caller| caller.runs == self.runs.len()) {
            let Self { covered, lost, .. } = self;
            let has_lost = |span: Span| lost.iter().any(|lost| lost.overlaps(span));
            drop(self.recent.take_covered(|span: Span| span.through <= *covered && !has_lost(span)));
        }
    }

    fn lose(&mut self, span: Span) {
        if span.through > self.covered {
            return;
        }
        let mut runs = self.runs[self.runs.len() - 1].clone();
        let is_lost = |entry: &KeyEntry| span.after < entry.position && entry.position <= span.through;
        let entries: Vec<_> = runs.values().copied().filter(is_lost).collect();
        runs.retain(|_, entry| !is_lost(entry));
        self.runs.push(runs);
        self.lost.push(span);
        let head = Point { position: span.through, ..self.head() };
        self.recent.add(KeyTable::of(span.after, head, true, &entries));
    }

    fn forget(&mut self) {
        self.recent.close(self.head());
        let mut entries: Vec<_> = self.recent.complete().flat_map(|table| table.entries()).collect();
        for entry in &mut entries {
            entry.fingerprint = Fingerprint::UNKNOWN;
        }
        self.recent = RecentKeys::after(self.next - 1);
        if self.next > 1 {
            self.recent.add(KeyTable::of(0, self.head(), true, &entries));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn each_record_is_new_duplicate_or_conflict_as_in_the_model(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::LookUp { key, content } => {
                    let known = world.look_up(world.claim(key, content));
                    world.waiting.push(Caller { key, content, known, runs: world.runs.len() });
                }
                Step::Apply { waiting, may_stamp } if !world.waiting.is_empty() => {
                    let caller = world.waiting.remove(waiting % world.waiting.len());
                    world.apply(caller, may_stamp);
                }
                Step::Apply { .. } => {}
                Step::Save => world.save(),
                Step::Release => world.release(),
                Step::Lose { after, count } => world.lose(Span { after, through: after + count }),
                Step::Forget => world.forget(),
            }
        }
    }
}

/// The key was taken again while its run was lost.
#[test]
fn the_lowest_position_of_a_key_is_its_first() {
    let mut world = World::new();
    world.recent = RecentKeys::after(100);
    let claim = world.claim(1, 1);
    let other = world.claim(1, 2);
    assert!(world.recent.claim(other, 101).is_none());
    world.next = 102;
    world.recent.close(world.head());
    let entry = |position, fingerprint| KeyEntry { digest: claim.digest, position, fingerprint };
    let entries = [entry(7, other.fingerprint), entry(5, claim.fingerprint)];
    let head = Point { position: 100, ..world.head() };
    world.recent.add(KeyTable::of(0, head, true, &entries));
    world.recent.add(KeyTable::of(0, head, true, &[entry(6, other.fingerprint)]));
    let mut apply_with = |known| apply(&mut world.recent, &world.secret, claim, known, 103, Ok::<_, ()>(()));
    assert_eq!(apply_with(KnownKey::default()), Ok(KeyVerdict::Duplicate { first: 5 }));
    let in_run = KnownKey { first: Some(entry(3, other.fingerprint)), ..KnownKey::default() };
    assert!(matches!(apply_with(in_run), Ok(KeyVerdict::Conflict { first: 3, .. })));
    // The runs have a conflict with an entry that is not the first.
    let later = KnownKey { first: Some(entry(9, claim.fingerprint)), has_conflict: true, through: 100 };
    let third = world.claim(1, 3);
    let verdict = apply(&mut world.recent, &world.secret, third, later, 104, Ok::<_, ()>(()));
    assert_eq!(verdict, Ok(KeyVerdict::Undecided { first: entry(5, claim.fingerprint) }));
}

#[test]
fn a_record_without_a_key_is_always_new() {
    let mut world = World::new();
    for next in 1..4 {
        let verdict = apply(&mut world.recent, &world.secret, Claim::NONE, KnownKey::default(), next, Ok::<_, ()>(()));
        assert_eq!(verdict, Ok(KeyVerdict::New));
    }
    let refused = apply(&mut world.recent, &world.secret, Claim::NONE, KnownKey::default(), 4, Err(()));
    assert_eq!(refused, Err(()));
}
