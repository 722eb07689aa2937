//! Random histories compared with a model that is a vector: appends, duplicates, reads, reopens, on real sled.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Operation {
    /// Appends (key, body) pairs. The keys are few, so they often repeat.
    Append(Vec<(u16, Body)>),
    /// Appends the same key again, with a body of other content.
    Contradict(u16, u8),
    Get(u64),
    Find(u16),
    ReadAll,
    Reopen,
    /// Continues with a copy of the files as a kill leaves them.
    Crash,
    ReadOnly,
    Seal,
}

/// Body of a delivery. Its compressed size decides the layout.
#[derive(Debug, Clone, Copy)]
enum Body {
    Compressible(usize),
    Random { seed: u64, len: usize },
}

impl Body {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Compressible(len) => b"{\"type\":\"webhook.test\"} ".iter().copied().cycle().take(len).collect(),
            Self::Random { seed, len } => {
                let step = |state: &mut u64| {
                    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    Some((*state >> 56) as u8)
                };
                std::iter::successors(Some(0), |_| Some(0))
                    .scan(seed | 1, |state, _: u8| step(state))
                    .take(len)
                    .collect()
            }
        }
    }
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        8 => (0..2000usize).prop_map(Body::Compressible),
        4 => (any::<u64>(), 0..9000usize).prop_map(|(seed, len)| Body::Random { seed, len }),
        1 => (any::<u64>(), 100_000..390_000usize).prop_map(|(seed, len)| Body::Random { seed, len }),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => prop::collection::vec((0..400u16, body()), 1..120).prop_map(Operation::Append),
        1 => (0..400u16, 0..3u8).prop_map(|(key, content)| Operation::Contradict(key, content)),
        2 => any::<u64>().prop_map(Operation::Get),
        2 => (0..400u16).prop_map(Operation::Find),
        1 => Just(Operation::ReadAll),
        2 => Just(Operation::Reopen),
        2 => Just(Operation::Crash),
        1 => Just(Operation::ReadOnly),
        1 => Just(Operation::Seal),
    ]
}

#[derive(Default)]
struct Model {
    events: Vec<(Point, Delivery)>,
    positions: HashMap<u16, u64>,
    /// Positions of conflicts, by the first position and the body.
    conflicts: HashMap<(u64, Vec<u8>), u64>,
}

fn check_append(log: &Log, model: &mut Model, given: &[(u16, Body)]) {
    let mut first = HashMap::new();
    let mut content = |key: &u16, body: &Body| match model.positions.get(key) {
        Some(position) => model.events[usize::try_from(position - 1).unwrap()].1.body.to_vec(),
        None => first.entry(*key).or_insert(*body).bytes(),
    };
    // A delivery that is sent again has the same content.
    let deliveries: Vec<_> = given.iter().map(|(key, body)| delivery(&key.to_string(), &content(key, body))).collect();
    let results = append_all(log, deliveries.clone());
    let results: Vec<Appended> = results.into_iter().map(Result::unwrap).collect();
    let mut new: Vec<_> =
        given.iter().zip(deliveries).zip(&results).filter(|(_, appended)| !appended.is_duplicate()).collect();
    // A delivery that a filter sends to a run in vain comes later than those behind it.
    new.sort_by_key(|(_, appended)| appended.position);
    for (((key, _), delivery), appended) in new {
        assert_eq!((appended.position, appended.reached.position), (model.events.len() as u64 + 1, appended.position));
        assert_eq!(model.positions.insert(*key, appended.position), None, "key {key}");
        model.events.push((appended.reached, delivery));
    }
    for ((key, _), appended) in given.iter().zip(results) {
        assert_eq!(Some(&appended.position), model.positions.get(key));
        // A reader that waits for this position sees the first event.
        assert!((appended.position..=log.reader.head().position).contains(&appended.reached.position));
    }
}

fn check_contradiction(log: &Log, model: &mut Model, key: u16, content: u8) {
    let Some(first) = model.positions.get(&key).copied() else { return };
    let body = format!("{{\"data\":{content}}}");
    let appended = append(log, &key.to_string(), body.as_bytes()).unwrap();
    assert_eq!((appended.position, appended.outcome), (first, AppendOutcome::Conflict));
    let next = model.events.len() as u64 + 1;
    if *model.conflicts.entry((first, body.clone().into_bytes())).or_insert(next) == next {
        let kept = log.reader.get(next).unwrap().unwrap();
        let Event { position, recorded_at, chain, delivery, conflict_of, .. } = kept;
        assert!(conflict_of == Some(first) && *delivery.body == *body.as_bytes());
        let kept = Point { position, chain, recorded_at };
        assert_eq!(appended.reached, kept);
        model.events.push((kept, delivery));
    }
}

fn check_event(event: &Event, (place, delivery): &(Point, Delivery)) {
    let Event { position, recorded_at, chain, .. } = *event;
    assert_eq!(Point { position, chain, recorded_at }, *place);
    assert!(event.delivery == *delivery, "the event at {} is not what was appended", event.position);
}

fn check_all(log: &Log, model: &Model) {
    let events = read_all(&log.reader);
    assert_eq!(events.len(), model.events.len());
    events.iter().zip(&model.events).for_each(|(event, expected)| check_event(event, expected));
    assert!(events.is_sorted_by_key(|event| event.recorded_at));
    let head = log.reader.head();
    assert_eq!(head, model.events.last().map_or(Point { position: 0, ..head }, |(last, _)| *last));
}

fn run(operations: Vec<Operation>) {
    let mut directory = tempfile::tempdir().unwrap();
    let options = || LogOptions { dedup_run_events: 50, journal_bytes: 256 * 1024, ..options() };
    let mut log = open(directory.path(), options()).unwrap();
    let mut model = Model::default();
    for operation in operations {
        match operation {
            Operation::Append(given) => check_append(&log, &mut model, &given),
            Operation::Contradict(key, content) => check_contradiction(&log, &mut model, key, content),
            Operation::Get(at) => {
                let position = at % (model.events.len() as u64 + 3);
                let expected =
                    position.checked_sub(1).and_then(|index| model.events.get(usize::try_from(index).unwrap()));
                let event = log.reader.get(position).unwrap();
                assert_eq!(event.is_some(), expected.is_some(), "at {position}");
                event.iter().zip(expected).for_each(|(event, expected)| check_event(event, expected));
            }
            Operation::Find(key) => {
                let found = log.reader.find("default", &EventKey::of(Some(&key.to_string()), "")).unwrap();
                assert_eq!(found.map(|event| event.position), model.positions.get(&key).copied());
            }
            Operation::ReadAll => check_all(&log, &model),
            Operation::Reopen => {
                close(log);
                log = open(directory.path(), options()).unwrap();
                wait_until_known(&log);
                assert_eq!(log.reader.identity(), IDENTITY);
            }
            Operation::Crash => {
                let copy = copy_of(directory.path());
                close(log);
                directory = copy;
                log = open(directory.path(), options()).unwrap();
                wait_until_known(&log);
            }
            Operation::ReadOnly => {
                let copy = copy_of(directory.path());
                let ReadOnlyLog { reader, inspection } = open_read_only(copy.path()).unwrap();
                assert_eq!(read_all(&reader).len(), model.events.len());
                assert!(inspection.problems.is_empty(), "{:?}", inspection.problems);
            }
            Operation::Seal => wait_until_sealed(&log),
        }
    }
    check_all(&log, &model);
    close(log);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_history_of_appends_reads_and_reopens_is_that_of_a_vector(
        operations in prop::collection::vec(operation(), 1..25)
    ) {
        run(operations);
    }
}

#[test]
fn largest_record_is_kept_and_a_larger_one_harmlessly_refused() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), options()).unwrap();
    let body = Body::Random { seed: 5, len: 478 * 1024 }.bytes();
    assert_eq!(append(&log, "large", &body).unwrap().position, 1);
    assert!(matches!(append(&log, "larger", &vec![0; 481 * 1024]), Err(AppendError::TooLarge { .. })));
    assert_eq!(append(&log, "after", b"{}").unwrap().position, 2);
    assert!(log.reader.get(1).unwrap().unwrap().delivery.body[..] == body[..]);
    close(log);
}

#[test]
fn an_id_as_long_as_its_body_is_kept_and_its_key_is_small() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), options()).unwrap();
    let long = "i".repeat(245 * 1024);
    let body = vec![b' '; 250 * 1024];
    let of_long_id = Delivery { key: Some(EventKey::of(Some(&long), "")), ..delivery("x", &body) };
    assert!(of_long_id.key.as_ref().unwrap().as_str().len() < 80);
    assert_eq!(append_all(&log, vec![of_long_id.clone()]).remove(0).unwrap().position, 1);
    assert!(append_all(&log, vec![of_long_id]).remove(0).unwrap().is_duplicate());
    close(log);
}

#[test]
fn the_same_key_of_two_tenants_is_two_events() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), options()).unwrap();
    let other = Delivery { tenant: "other".into(), ..delivery("a", b"{}") };
    let without = Delivery { key: None, ..delivery("a", b"{}") };
    let given = vec![delivery("a", b"{}"), other, without.clone(), without, delivery("a", b"{ }")];
    let positions: Vec<_> = append_all(&log, given).into_iter().map(|result| result.unwrap().position).collect();
    assert_eq!(positions, [1, 2, 3, 4, 1], "an event without a key is never a duplicate");
    close(log);
}
