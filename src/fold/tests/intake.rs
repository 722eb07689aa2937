//! Tests that the fold takes exactly the log, whether its events are handed over, or read while the fold is behind.
//! Applies nothing.

use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};

use super::world::open_log;
use super::*;
use crate::event::ParsedEvent;
use crate::fold::intake::Intake;
use crate::log::{self, Log};

#[derive(Debug, Clone)]
enum Step {
    /// Now and then, this is more than the hand-over holds.
    Append(u64),
    Take,
    /// The fold begins again from an earlier position.
    Rejoin(u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..20_u64).prop_map(Step::Append),
        6 => Just(Step::Take),
        1 => (0..30_u64).prop_map(Step::Rejoin),
        1 => Just(Step::Reopen),
    ]
}

fn append(log: &Log, runtime: &Runtime, count: u64) {
    for _ in 0..count {
        let number = log.reader.head().position + 1;
        let body = attempt(&format!("status {number}"));
        let delivery = event(0, 0, "acme", ModeVerdict::Live, &serde_json::to_vec(&body).unwrap()).delivery;
        runtime.block_on(log.appender.append(delivery, log::TimeEvidence::Signed)).unwrap();
    }
}

fn close(log: Log) {
    let Log { appender, reader, writer, .. } = log;
    drop((appender, reader));
    writer.join().unwrap();
}

/// Returns all parts of an event that the fold reads.
fn shown(event: &ParsedEvent) -> impl PartialEq + std::fmt::Debug + use<> {
    let connection = event.body.report.as_ref().and_then(|report| report.connection_id.clone());
    let texts = (event.tenant.clone(), connection, event.body.envelope.clone());
    (event.position, event.recorded_at, event.chain, event.provenance, event.applies_to, event.body.kind, texts)
}

fn take(intake: &mut Intake, log: &Log, after: &mut Position) {
    if *after == log.reader.head().position {
        return;
    }
    let events = intake.wait().unwrap().unwrap();
    assert!(!events.is_empty());
    for event in events {
        *after += 1;
        let stored = ParsedEvent::from(log.reader.get(*after).unwrap().unwrap());
        assert_eq!(shown(&event), shown(&stored));
    }
    assert!(*after <= log.reader.head().position);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn handed_over_and_read_events_join_without_a_gap(steps in prop::collection::vec(step(), 1..30)) {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::default();
        let mut log = open_log(directory.path(), &clock);
        let intake = |log: &Log, after| Intake::new(&log.reader, Some(log.hand_over.clone()), after, runtime.handle());
        let mut taken = intake(&log, 0);
        let mut after = 0;
        for step in steps {
            match step {
                Step::Append(count) => append(&log, &runtime, count),
                Step::Take => take(&mut taken, &log, &mut after),
                Step::Rejoin(back) => {
                    after = after.saturating_sub(back);
                    taken = intake(&log, after);
                }
                Step::Reopen => {
                    drop(taken);
                    close(log);
                    log = open_log(directory.path(), &clock);
                    taken = intake(&log, after);
                }
            }
        }
        while after < log.reader.head().position {
            take(&mut taken, &log, &mut after);
        }
        drop(taken);
        close(log);
    }
}

#[test]
fn fold_reads_the_log_only_when_it_is_behind_and_then_rejoins() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let log = open_log(directory.path(), &Arc::default());
    let mut intake = Intake::new(&log.reader, Some(log.hand_over.clone()), 0, runtime.handle());
    let mut after = 0;
    for _ in 0..5 {
        append(&log, &runtime, 8);
        take(&mut intake, &log, &mut after);
        assert!(after == log.reader.head().position && !intake.is_reading());
    }
    // One more than the hand-over holds.
    append(&log, &runtime, 9);
    take(&mut intake, &log, &mut after);
    assert!(intake.is_reading());
    while after < log.reader.head().position {
        take(&mut intake, &log, &mut after);
    }
    append(&log, &runtime, 1);
    take(&mut intake, &log, &mut after);
    assert!(!intake.is_reading(), "it takes again what is handed over");
    drop(intake);
    close(log);
}
