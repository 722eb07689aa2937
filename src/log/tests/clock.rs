//! Tests of a wrong clock: it stamps nothing, and a delivery that was refused for it may come again.

use std::time::Duration;

use super::*;
use crate::log::write::{ClockError, OrderedDeliveries};

const BOUND: Duration = Duration::from_secs(600);
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// First time of the clock, in seconds since the epoch.
const START: i64 = 1_700_000_000;

/// A machine with a clock that can be set, and a log on it.
struct Machine {
    directory: tempfile::TempDir,
    /// Current time, in seconds.
    now: Arc<AtomicI64>,
    /// Seconds by which the clock is set after its next reading.
    step_after_read: Arc<AtomicI64>,
    /// Uptime, in seconds.
    uptime: Arc<AtomicU64>,
    synchronised: Arc<AtomicBool>,
    trusted: bool,
    log: Option<Log>,
}

impl Machine {
    fn start() -> Self {
        let mut machine = Self {
            directory: tempfile::tempdir().unwrap(),
            now: Arc::new(AtomicI64::new(START)),
            step_after_read: Arc::default(),
            uptime: Arc::default(),
            synchronised: Arc::default(),
            trusted: false,
            log: None,
        };
        machine.restart();
        machine
    }

    fn restart(&mut self) {
        if let Some(log) = self.log.take() {
            close(log);
        }
        let now = self.now.clone();
        let step_after_read = self.step_after_read.clone();
        let uptime = self.uptime.clone();
        let synchronised = self.synchronised.clone();
        let time = TimeSource {
            now: Arc::new(move || {
                let seconds = now.fetch_add(step_after_read.swap(0, Ordering::SeqCst), Ordering::SeqCst);
                Timestamp::from_micros(seconds * 1_000_000)
            }),
            uptime: Arc::new(move || Duration::from_secs(uptime.load(Ordering::SeqCst))),
            synchronised: Arc::new(move || synchronised.load(Ordering::SeqCst)),
            trusted: self.trusted,
            bound: BOUND,
        };
        self.log = Some(open(self.directory.path(), LogOptions { time, ..options() }).unwrap());
    }

    /// Lets time pass, for the clock too.
    fn pass(&self, seconds: i64) {
        self.step(seconds);
        self.uptime.fetch_add(seconds.unsigned_abs(), Ordering::SeqCst);
    }

    /// Sets the clock, by some seconds.
    fn step(&self, seconds: i64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
    }

    fn append(&self, delivery: Delivery, evidence: TimeEvidence) -> Result<Appended, AppendError> {
        append_with(self.log.as_ref().unwrap(), vec![delivery], evidence).remove(0)
    }

    fn append_as(&self, provenance: Provenance, id: &str) -> Result<Appended, ClockError> {
        let evidence = match provenance {
            Provenance::Webhook => TimeEvidence::Signed,
            Provenance::Import | Provenance::Local => TimeEvidence::None,
        };
        clock_error(self.append(Delivery { provenance, ..delivery(id, b"{}") }, evidence))
    }

    fn append_development(&self, id: &str) -> Result<Appended, ClockError> {
        clock_error(self.append(delivery(id, b"{}"), TimeEvidence::Development))
    }

    fn append_webhook(&self, id: &str) -> Result<Appended, ClockError> {
        self.append_as(Provenance::Webhook, id)
    }

    fn append_import(&self, id: &str) -> Result<Appended, ClockError> {
        self.append_as(Provenance::Import, id)
    }

    fn append_local(&self, id: &str) -> Result<Appended, ClockError> {
        self.append_as(Provenance::Local, id)
    }
}

fn clock_error(result: Result<Appended, AppendError>) -> Result<Appended, ClockError> {
    result.map_err(|error| if let AppendError::Clock(error) = error { error } else { panic!("{error}") })
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(log) = self.log.take() {
            close(log);
        }
    }
}

#[test]
fn an_unconfirmed_clock_stamps_only_webhooks_in_an_empty_log() {
    let machine = Machine::start();
    assert_eq!(machine.append_import("a").unwrap_err(), ClockError::Unconfirmed);
    assert_eq!(machine.append_local("a").unwrap_err(), ClockError::Unconfirmed);
    assert_eq!(machine.append_webhook("b").unwrap().position, 1);
    // The webhook confirms the clock for the others, and the refused delivery has not claimed its key.
    let imported = machine.append_import("a").unwrap();
    assert_eq!((imported.position, imported.is_duplicate()), (2, false));
}

#[test]
fn a_clock_far_ahead_stamps_no_import_after_a_restart() {
    let mut machine = Machine::start();
    machine.append_webhook("a").unwrap();
    machine.restart();
    machine.step(50 * 365 * DAY);
    assert_eq!(machine.append_import("b").unwrap_err(), ClockError::Unconfirmed);
    // A duplicate is not stamped.
    assert_eq!(machine.append_import("a").map(|first| (first.position, first.is_duplicate())), Ok((1, true)));
    assert_eq!(read_all(&machine.log.as_ref().unwrap().reader).len(), 1);
}

#[test]
fn a_log_that_was_quiet_for_weeks_takes_webhooks_at_once() {
    let mut machine = Machine::start();
    machine.append_webhook("a").unwrap();
    machine.restart();
    machine.pass(50 * DAY);
    assert_eq!(machine.append_import("b").unwrap_err(), ClockError::Unconfirmed);
    machine.append_webhook("c").unwrap();
    machine.append_import("b").unwrap();
    // In one process, the time since the last event confirms the clock, however long the log was quiet.
    machine.pass(50 * DAY);
    machine.append_local("d").unwrap();
}

#[test]
fn a_clock_set_while_the_log_is_open_stamps_no_import() {
    for step in [-2 * HOUR, 2 * HOUR] {
        let machine = Machine::start();
        machine.append_webhook("a").unwrap();
        machine.pass(5 * HOUR);
        machine.step(step);
        assert_eq!(machine.append_import("b").unwrap_err(), ClockError::Unconfirmed, "{step}");
        machine.step(-step);
        machine.append_import("b").unwrap();
        machine.step(step / 24);
        machine.append_import("c").unwrap();
    }
}

#[test]
fn a_clock_that_is_set_back_to_the_last_event_stamps_no_import() {
    let machine = Machine::start();
    machine.append_webhook("a").unwrap();
    machine.pass(2 * HOUR);
    machine.step(-2 * HOUR);
    assert_eq!(machine.append_import("b").unwrap_err(), ClockError::Unconfirmed);
}

#[test]
fn small_steps_of_the_clock_do_not_add_up() {
    let machine = Machine::start();
    machine.append_webhook("a").unwrap();
    machine.step(9 * MINUTE);
    machine.append_import("b").unwrap();
    assert!(machine.append_import("b").unwrap().is_duplicate());
    machine.step(9 * MINUTE);
    assert_eq!(machine.append_import("c").unwrap_err(), ClockError::Unconfirmed);
    machine.append_webhook("d").unwrap();
    machine.append_import("c").unwrap();
}

#[test]
fn a_clock_that_begins_in_1970_stamps_no_import() {
    let machine = Machine::start();
    machine.now.store(MINUTE, Ordering::SeqCst);
    assert_eq!(machine.append_import("a").unwrap_err(), ClockError::Unconfirmed);
}

#[test]
fn a_development_webhook_is_stamped_and_confirms_no_clock() {
    let machine = Machine::start();
    assert_eq!(machine.append_development("a").unwrap().position, 1);
    assert_eq!(machine.append_import("b").unwrap_err(), ClockError::Unconfirmed);
    machine.step(50 * 365 * DAY);
    machine.append_development("c").unwrap();
    assert_eq!(machine.append_import("d").unwrap_err(), ClockError::Unconfirmed);
}

#[test]
fn development_webhook_is_not_stamped_against_other_evidence() {
    let machine = Machine::start();
    machine.append_webhook("a").unwrap();
    machine.step(2 * HOUR);
    assert_eq!(machine.append_development("b").unwrap_err(), ClockError::Unconfirmed);
    machine.step(-2 * HOUR);
    machine.append_development("b").unwrap();
}

#[test]
fn a_clock_set_after_verification_does_not_stamp_the_webhook() {
    let machine = Machine::start();
    let appender = &machine.log.as_ref().unwrap().appender;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for evidence in [TimeEvidence::Signed, TimeEvidence::Development] {
        let verified_at = appender.read_clock();
        machine.step(HOUR);
        let appended = runtime.block_on(appender.append_dated(delivery("a", b"{}"), verified_at.with(evidence)));
        assert_eq!(clock_error(appended).unwrap_err(), ClockError::Unconfirmed);
        machine.step(-HOUR);
    }
}

#[test]
fn clock_near_the_last_event_before_a_restart_stamps_no_import() {
    let mut machine = Machine::start();
    machine.append_webhook("a").unwrap();
    machine.restart();
    machine.pass(MINUTE);
    assert_eq!(machine.append_import("b").unwrap_err(), ClockError::Unconfirmed);
}

#[test]
fn a_duplicate_webhook_confirms_no_clock() {
    let mut machine = Machine::start();
    machine.append_webhook("a").unwrap();
    machine.restart();
    assert!(machine.append_webhook("a").unwrap().is_duplicate());
    assert_eq!(machine.append_import("b").unwrap_err(), ClockError::Unconfirmed);
}

#[test]
fn a_clock_set_while_a_webhook_waits_does_not_stamp_it() {
    let machine = Machine::start();
    machine.append_webhook("a").unwrap();
    machine.step_after_read.store(HOUR, Ordering::SeqCst);
    assert_eq!(machine.append_webhook("b").unwrap_err(), ClockError::Unconfirmed);
    machine.step(-HOUR);
    assert_eq!(machine.append_webhook("b").unwrap().position, 2);
}

#[test]
fn an_import_has_no_gap_although_a_webhook_confirms_the_clock() {
    let machine = Machine::start();
    let Log { appender, .. } = machine.log.as_ref().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let results = runtime.block_on(async {
        let sequence = OrderedDeliveries::default();
        let mut enqueued = Vec::new();
        for (id, provenance, body) in [
            ("a", Provenance::Import, "{}"),
            ("w", Provenance::Webhook, "{}"),
            ("b", Provenance::Import, "{}"),
            ("w", Provenance::Import, "{}"),
            ("w", Provenance::Import, "{\"differs\": 1}"),
        ] {
            let delivery = Delivery { provenance, ..delivery(id, body.as_bytes()) };
            enqueued.push(match provenance {
                Provenance::Webhook => appender.enqueue(delivery, TimeEvidence::Signed).await.unwrap(),
                _ => appender.enqueue_in(&sequence, delivery).await.unwrap(),
            });
        }
        let mut results = Vec::new();
        for enqueued in enqueued {
            results.push(enqueued.durable().await.map(|appended| (appended.position, appended.is_duplicate())));
        }
        results
    });
    assert!(matches!(results[0], Err(AppendError::Clock(ClockError::Unconfirmed))), "{results:?}");
    assert!(matches!(results[1], Ok((1, false))), "{results:?}");
    assert!(matches!(results[2], Err(AppendError::Clock(ClockError::Unconfirmed))), "{results:?}");
    assert!(matches!(results[3], Ok((1, true))), "{results:?}");
    assert!(matches!(results[4], Err(AppendError::Clock(ClockError::Unconfirmed))), "a conflict of it: {results:?}");
    assert_eq!(read_all(&machine.log.as_ref().unwrap().reader).len(), 1);
}

#[test]
fn a_clock_behind_the_log_stamps_nothing() {
    for is_restarted in [false, true] {
        let mut machine = Machine::start();
        machine.append_webhook("a").unwrap();
        if is_restarted {
            machine.restart();
        }
        machine.step(-11 * MINUTE);
        machine.synchronised.store(true, Ordering::SeqCst);
        let behind = ClockError::Behind { seconds: 11 * MINUTE };
        for provenance in [Provenance::Webhook, Provenance::Import, Provenance::Local] {
            assert_eq!(machine.append_as(provenance, "b").unwrap_err(), behind, "{provenance:?}, {is_restarted}");
        }
        assert!(machine.append_webhook("a").unwrap().is_duplicate());
        machine.step(2 * MINUTE);
        assert_eq!(machine.append_webhook("b").unwrap().position, 2);
    }
}

#[test]
fn clock_once_synchronised_needs_no_webhook_until_a_restart() {
    let mut machine = Machine::start();
    machine.synchronised.store(true, Ordering::SeqCst);
    machine.append_import("a").unwrap();
    machine.synchronised.store(false, Ordering::SeqCst);
    machine.pass(DAY);
    machine.append_import("b").unwrap();
    machine.restart();
    assert_eq!(machine.append_import("c").unwrap_err(), ClockError::Unconfirmed);
}

#[test]
fn a_trusted_clock_is_never_refused() {
    let mut machine = Machine::start();
    machine.trusted = true;
    machine.restart();
    machine.step(50 * 365 * DAY);
    let first = machine.append_import("a").unwrap();
    machine.step(-50 * 365 * DAY);
    // Time does not go back.
    assert_eq!(machine.append_webhook("b").unwrap().reached.recorded_at, first.reached.recorded_at);
}
