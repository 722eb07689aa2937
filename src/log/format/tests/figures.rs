//! Size and cost of an event. The dictionary has seen neither the seed nor the organisation.
#![allow(clippy::print_stderr, reason = "figures are there to be read")]

use std::time::Instant;

use super::*;

const EVENTS: usize = 20_000;

/// Returns the mean bytes of an event in frames of at most `records_max` records and `bytes_max` bytes.
fn bytes_per_event(records: &[Record], records_max: usize, bytes_max: usize) -> f64 {
    let mut builder = FrameBuilder::new(1, genesis(LOG_ID), records_max, bytes_max);
    let mut bytes = 0;
    let mut frames = 0;
    for (at, record) in (0..).zip(records) {
        if !builder.fits(record.size()) {
            bytes += builder.finish().unwrap().len();
            frames += 1;
        }
        builder.push(Timestamp::from_micros(1_780_000_000_000_000 + at * 3_000_417), None, record);
    }
    bytes += builder.finish().unwrap().len();
    let mean = |total: usize, count: usize| {
        f64::from(u32::try_from(total).unwrap()) / f64::from(u32::try_from(count).unwrap())
    };
    eprintln!("{:.1} B an event, {:.1} events a frame", mean(bytes, records.len()), mean(records.len(), frames + 1));
    mean(bytes, records.len())
}

fn records_of(seed: u64) -> Vec<Record> {
    deliveries(seed, EVENTS + 5000)[5000..].iter().map(|delivery| Record::new(delivery).unwrap()).collect()
}

#[test]
fn an_event_takes_few_bytes() {
    let records = records_of(9);
    assert!(bytes_per_event(&records, 256, 64 * 1024) < 149.0);
    assert!(bytes_per_event(&records, 32, 5734) < 155.0);
    assert!(bytes_per_event(&records, 1, 5734) < 320.0);
}

fn micros(what: &str, mut run: impl FnMut()) {
    let begun = Instant::now();
    run();
    eprintln!("{what}: {:.2} µs", begun.elapsed().as_secs_f64() * 1e6 / f64::from(u32::try_from(EVENTS).unwrap()));
}

#[test]
#[ignore = "a measurement, for a release build"]
fn what_a_record_costs() {
    let deliveries = deliveries(9, EVENTS);
    for _ in 0..3 {
        let mut records = Vec::new();
        micros("Record::new", || {
            records = deliveries.iter().map(|delivery| Record::new(delivery).unwrap()).collect();
        });
        let mut frames = Vec::new();
        let mut builder = builder();
        micros("push and finish, 256 a frame", || {
            for record in &records {
                if !builder.fits(record.size()) {
                    frames.push(builder.finish().unwrap());
                }
                builder.push(Timestamp::from_micros(BEGIN), None, record);
            }
            frames.push(builder.finish().unwrap());
        });
        let mut small = FrameBuilder::new(1, genesis(LOG_ID), 32, 5734);
        micros("push and finish, 5.6 KiB", || {
            for record in &records {
                if !small.fits(record.size()) {
                    small.finish().unwrap();
                }
                small.push(Timestamp::from_micros(BEGIN), None, record);
            }
        });
        let decoded: Vec<_> = frames.iter().map(|frame| Frame::decode(frame).unwrap()).collect();
        let mut stored = Vec::new();
        micros("records", || stored = decoded.iter().flat_map(|frame| super::records(frame).unwrap()).collect());
        let mut bytes = 0;
        micros("StoredRecord::event", || {
            bytes = stored.iter().map(|record| record.event().unwrap().delivery.body.len()).sum();
        });
        assert!(bytes > EVENTS);
    }
}
