//! Tests of a selection by headers: it is the same as a choice among all events, and only the chosen ones are unpacked.

use super::*;
use crate::event::{Contents, Kind};
use crate::log::reader::EventHeader;

const EVENTS: u64 = 300;

/// Creates a log of several kinds, modes, endpoints and tenants, partly sealed, with a conflict and an unreadable body.
fn mixed(directory: &Path) -> Log {
    let log = open(directory, small_journals()).unwrap();
    let kinds = ["patient.connection_success", "patient.ehi_export_failed", "webhook.test", "something.new"];
    let deliveries = (0..EVENTS - 2).map(|n| {
        let kind = kinds[usize::try_from(n % 4).unwrap()];
        let mut delivery = delivery(&n.to_string(), format!(r#"{{"type":"{kind}","id":"{n}"}}"#).as_bytes());
        if n % 5 == 0 {
            delivery.tenant = "other".into();
        }
        if n % 7 == 0 {
            (delivery.mode, delivery.key) = (ModeVerdict::Unknown, None);
        }
        if n % 11 == 0 {
            (delivery.endpoint, delivery.provenance) = ("second".into(), Provenance::Import);
        }
        delivery
    });
    for part in deliveries.collect::<Vec<_>>().chunks(20) {
        assert!(append_all(&log, part.to_vec()).iter().all(Result::is_ok));
    }
    assert!(append(&log, "1", br#"{"type":"webhook.test"}"#).unwrap().outcome == AppendOutcome::Conflict);
    append(&log, "odd", b"no JSON").unwrap();
    wait_until_sealed(&log);
    log
}

/// Selects by a walk, as a reader of a filtered range does it.
fn selected(log: &Log, is_wanted: impl Fn(&EventHeader<'_>) -> bool) -> Vec<Event> {
    let mut tail = log.reader.tail(0);
    let mut last = 0;
    let mut events = Vec::new();
    while let Some(selection) = tail.select(&is_wanted).unwrap() {
        assert!(selection.events.iter().all(|event| (last + 1..=selection.through).contains(&event.position)));
        last = selection.through;
        assert_eq!(selection.chain, log.reader.get(last).unwrap().unwrap().chain);
        events.extend(selection.events);
    }
    assert_eq!(last, EVENTS);
    events
}

#[test]
fn selection_by_headers_equals_selection_among_all_events() {
    let directory = tempfile::tempdir().unwrap();
    let log = mixed(directory.path());
    let all = read_all(&log.reader);
    assert_eq!(all.len() as u64, EVENTS);
    let of = |is_wanted: fn(&Event) -> bool| all.iter().filter(|event| is_wanted(event)).cloned().collect::<Vec<_>>();
    let kind = |event: &Event| event.delivery.body.parsed().kind;
    assert!(selected(&log, |_| true) == all);
    assert!(selected(&log, |_| false).is_empty());
    assert!(selected(&log, |header| header.tenant == "other") == of(|event| event.delivery.tenant == "other"));
    let second = of(|event| event.delivery.endpoint == "second");
    assert!(selected(&log, |header| header.endpoint == "second") == second);
    assert!(selected(&log, |header| header.provenance == Provenance::Import).len() == second.len());
    let unknown = of(|event| event.delivery.mode == ModeVerdict::Unknown);
    assert!(selected(&log, |header| header.mode == ModeVerdict::Unknown) == unknown);
    assert!(selected(&log, |header| header.is_conflict) == of(|event| event.conflict_of.is_some()));
    let unreadable = selected(&log, |header| header.is_unreadable);
    assert_eq!(unreadable.iter().map(|event| event.position).collect::<Vec<_>>(), [EVENTS]);
    for wanted in [Kind::UNKNOWN, Kind::WEBHOOK_TEST, Kind::EHI_EXPORT_FAILED] {
        let expected: Vec<_> = all.iter().filter(|event| kind(event) == wanted).cloned().collect();
        assert!(expected.len() > 50 && selected(&log, |header| header.kind == wanted) == expected, "{wanted:?}");
    }
    let from = all[40].recorded_at;
    let to = all[170].recorded_at;
    let within = selected(&log, |header| (from..=to).contains(&header.recorded_at));
    assert!(within.iter().all(|event| (from..=to).contains(&event.recorded_at)) && within.len() >= 131);
    assert!(selected(&log, |header| header.contents == Contents::Whole) == all);
    close(log);
}

#[test]
fn a_range_ends_where_it_is_asked_to() {
    let directory = tempfile::tempdir().unwrap();
    let log = mixed(directory.path());
    for (from, to) in [(1, 1), (7, 30), (33, 34), (EVENTS, EVENTS), (EVENTS - 3, u64::MAX)] {
        for is_any_wanted in [true, false] {
            let mut next = from;
            let mut found = Vec::new();
            while let Some(selection) = log.reader.select(next, to, |_| is_any_wanted).unwrap() {
                found.extend(selection.events.iter().map(|event| event.position));
                next = selection.through + 1;
            }
            assert_eq!(next, to.min(EVENTS) + 1);
            let expected: Vec<_> = if is_any_wanted { (from..next).collect() } else { Vec::new() };
            assert_eq!(found, expected);
        }
    }
    for (from, to) in [(0, 10), (5, 4), (EVENTS + 1, u64::MAX)] {
        assert!(log.reader.select(from, to, |_| true).unwrap().is_none());
    }
    close(log);
}
