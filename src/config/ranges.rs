//! Allowed ranges of numbers, sizes and durations. Outside of them the daemon would be useless, or panic.

use std::time::Duration;

use bytesize::ByteSize;

use super::{BODY_LIMIT_MAX, Config, Log, REQUEST_BYTES, Webhooks};

const INFLIGHT_MAX: ByteSize = ByteSize::gib(64);
/// A journal must have room for a commit, of up to 512 KiB.
const JOURNAL_MIN: ByteSize = ByteSize::mib(1);
const JOURNAL_MAX: ByteSize = ByteSize::gib(1);
const EVENTS_MAX: u64 = 100_000_000;
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

pub(super) fn problems(config: &Config, problems: &mut Vec<String>) {
    numbers(config, problems);
    sizes(&config.webhooks, problems);
    journal_sizes(&config.log, problems);
    durations(config, problems);
}

fn numbers(config: &Config, problems: &mut Vec<String>) {
    let most = [
        ("webhooks.max_connections", config.webhooks.max_connections as usize, 100_000),
        ("grpc.max_watches", config.grpc.max_watches, 100_000),
        ("grpc.max_watches_per_caller", config.grpc.max_watches_per_caller, 100_000),
        ("grpc.watch_ring", config.grpc.watch_ring, 10_000_000),
        ("log.batch_events", config.log.batch_events, 65_536),
    ];
    let events = [
        ("log.dedup_run_events", config.log.dedup_run_events),
        ("views.checkpoint_events", config.views.checkpoint_events),
    ];
    let outside = events.iter().filter(|(_, value)| !(1..=EVENTS_MAX).contains(value));
    problems.extend(outside.map(|(key, value)| format!("{key}: must be 1 to {EVENTS_MAX}, is {value}")));
    let outside = most.iter().filter(|(_, value, max)| !(1..=*max).contains(value));
    problems.extend(outside.map(|(key, value, max)| format!("{key}: must be 1 to {max}, is {value}")));
}

fn sizes(webhooks: &Webhooks, problems: &mut Vec<String>) {
    let (body, inflight) = (webhooks.body_limit, webhooks.inflight_bytes);
    if body == ByteSize::b(0) || body > BODY_LIMIT_MAX {
        problems.push(format!("webhooks.body_limit: must be 1 B to {BODY_LIMIT_MAX}, is {body}"));
    }
    let request = body.min(BODY_LIMIT_MAX) + REQUEST_BYTES;
    // One half is for small bodies, the other for large ones.
    let least = request + request;
    if inflight < least {
        let sum = format!("twice webhooks.body_limit and {REQUEST_BYTES}");
        problems
            .push(format!("webhooks.inflight_bytes: must hold a request in each half, {sum}: {least}; is {inflight}"));
    }
    if inflight > INFLIGHT_MAX {
        problems.push(format!("webhooks.inflight_bytes: must be at most {INFLIGHT_MAX}, is {inflight}"));
    }
}

fn journal_sizes(log: &Log, problems: &mut Vec<String>) {
    if !(JOURNAL_MIN..=JOURNAL_MAX).contains(&log.journal_bytes) {
        problems.push(format!("log.journal_bytes: must be {JOURNAL_MIN} to {JOURNAL_MAX}, is {}", log.journal_bytes));
    }
    let least = log.disk_reserve_min();
    if log.disk_reserve < least {
        problems
            .push(format!("log.disk_reserve: must be five times log.journal_bytes, {least}; is {}", log.disk_reserve));
    }
}

fn durations(config: &Config, problems: &mut Vec<String>) {
    let (webhooks, shutdown) = (&config.webhooks, &config.shutdown);
    let positive = [
        ("webhooks.timestamp_tolerance", webhooks.timestamp_tolerance),
        ("webhooks.header_timeout", webhooks.header_timeout),
        ("webhooks.request_timeout", webhooks.request_timeout),
        ("grpc.watch_max_age", config.grpc.watch_max_age),
    ];
    let any = [("shutdown.grace", shutdown.grace), ("shutdown.after_storage_failure", shutdown.after_storage_failure)];
    let zero = positive.iter().filter(|(_, duration)| duration.is_zero());
    problems.extend(zero.map(|(key, _)| format!("{key}: must not be 0")));
    let long = positive.iter().chain(&any).filter(|(_, duration)| *duration > DURATION_MAX);
    problems.extend(long.map(|(key, _)| format!("{key}: must be at most 24h")));
}
