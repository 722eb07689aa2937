//! Checks of a well-formed configuration: ranges, names, paths, and access by strangers. Every problem names its key,
//! and all are reported at once.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;

use super::endpoint::Endpoint;
use super::secret::{NAME_BYTES_MAX, Secret, looks_secret, path_looks_secret, shown};
use super::sections::{BODY_LIMIT_MAX, Config, Log, REQUEST_BYTES, Webhooks};
use super::value::{Env, Listen};

const SECRETS_MAX: usize = 16;
const INFLIGHT_MAX: ByteSize = ByteSize::gib(64);
/// A journal must have room for a commit, of up to 512 KiB.
const JOURNAL_MIN: ByteSize = ByteSize::mib(1);
const JOURNAL_MAX: ByteSize = ByteSize::gib(1);
const EVENTS_MAX: u64 = 100_000_000;
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// Permission bit that lets other users connect to a socket.
const OTHERS_WRITE: u32 = 0o002;

pub(super) fn problems(config: &Config, env: Env<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    check_ranges(config, &mut problems);
    check_addresses(config, &mut problems);
    check_paths(config, &mut problems);
    check_endpoints(&config.webhooks, &mut problems);
    check_exposure(config, env, &mut problems);
    problems
}

fn check_addresses(config: &Config, problems: &mut Vec<String>) {
    let mut taken = vec![("webhooks.listen", config.webhooks.listen), ("operations.listen", config.operations.listen)];
    if let Listen::Tcp(address) = config.grpc.listen {
        taken.push(("grpc.listen", address));
    }
    for (index, (key, address)) in taken.iter().enumerate() {
        // Port 0 asks the system for a free one.
        let same = taken[..index].iter().find(|(_, other)| other == address && address.port() != 0);
        problems.extend(same.map(|(other, _)| format!("{key}: {address} is taken by {other}")));
    }
}

/// Checks that no path looks like a secret: logs and errors show paths.
fn check_paths(config: &Config, problems: &mut Vec<String>) {
    let mut paths = vec![("data.directory", config.data.directory())];
    paths.extend(config.data.anchor.as_deref().map(|path| ("data.anchor", path)));
    if let Listen::Unix(path) = &config.grpc.listen {
        paths.push(("grpc.listen", path));
    }
    let misplaced = paths.into_iter().filter(|(_, path)| path_looks_secret(path));
    problems.extend(misplaced.map(|(key, _)| format!("{key}: looks like a secret; logs would show it")));
}

fn check_endpoints(webhooks: &Webhooks, problems: &mut Vec<String>) {
    if webhooks.endpoints.is_empty() {
        problems.push("webhooks.endpoints: there is none, so no webhook could be received".to_owned());
    }
    let mut names = HashSet::new();
    for endpoint in &webhooks.endpoints {
        let name = shown(&endpoint.name);
        if !names.insert(&endpoint.name) {
            problems.push(format!("webhooks.endpoints: the name \"{name}\" is used twice"));
        }
        problems.extend(
            endpoint_problems(endpoint).into_iter().map(|problem| format!("webhooks.endpoints: \"{name}\": {problem}")),
        );
    }
}

fn endpoint_problems(endpoint: &Endpoint) -> Vec<String> {
    let mut problems = Vec::new();
    let in_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !is_name(&endpoint.name, in_name) {
        problems.push(format!("name: must be 1 to {NAME_BYTES_MAX} of a-z, 0-9 and -"));
    }
    if !is_name(&endpoint.tenant, |byte| byte.is_ascii_graphic()) {
        problems.push(format!("tenant: must be 1 to {NAME_BYTES_MAX} visible ASCII characters"));
    }
    if looks_secret(&endpoint.tenant) {
        problems.push("tenant: looks like a secret; logs and events would show it".to_owned());
    }
    let count = endpoint.secrets.len();
    if count == 0 || count > SECRETS_MAX {
        problems.push(format!("must have 1 to {SECRETS_MAX} usable secrets, has {count}"));
    }
    let mut labels = HashSet::new();
    for label in endpoint.secrets.iter().map(Secret::label) {
        let name = shown(label);
        if !is_name(label, |byte| byte.is_ascii_graphic()) {
            problems.push(format!("secret \"{name}\": a label must be 1 to {NAME_BYTES_MAX} visible ASCII characters"));
        }
        if looks_secret(label) {
            problems.push(format!("secret \"{name}\": the label looks like a secret; logs and events would show it"));
        }
        if !labels.insert(label) {
            problems.push(format!("secret \"{name}\": the label is used twice"));
        }
    }
    problems
}

fn is_name(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

/// Checks the ranges of numbers, sizes and durations. Outside of them the daemon would be useless, or panic.
fn check_ranges(config: &Config, problems: &mut Vec<String>) {
    check_numbers(config, problems);
    check_sizes(&config.webhooks, problems);
    check_journal_sizes(&config.log, problems);
    check_durations(config, problems);
}

fn check_numbers(config: &Config, problems: &mut Vec<String>) {
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

fn check_sizes(webhooks: &Webhooks, problems: &mut Vec<String>) {
    let body = webhooks.body_limit;
    let inflight = webhooks.inflight_bytes;
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

fn check_journal_sizes(log: &Log, problems: &mut Vec<String>) {
    if !(JOURNAL_MIN..=JOURNAL_MAX).contains(&log.journal_bytes) {
        problems.push(format!("log.journal_bytes: must be {JOURNAL_MIN} to {JOURNAL_MAX}, is {}", log.journal_bytes));
    }
    let least = log.disk_reserve_min();
    if log.disk_reserve < least {
        problems
            .push(format!("log.disk_reserve: must be five times log.journal_bytes, {least}; is {}", log.disk_reserve));
    }
}

fn check_durations(config: &Config, problems: &mut Vec<String>) {
    let webhooks = &config.webhooks;
    let shutdown = &config.shutdown;
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

/// Checks for access by strangers: by the published development secret, or to the API without authentication.
fn check_exposure(config: &Config, env: Env<'_>, problems: &mut Vec<String>) {
    check_development_secret(config, env, problems);
    if let (Some(address), None) = (exposed_api(config), config.grpc.unauthenticated) {
        problems.push(format!(
            "grpc.listen: {address} is not a loopback address, and the API does not authenticate callers: \
             set grpc.unauthenticated = \"read-only\" to let anyone who reaches it read"
        ));
    }
}

/// Refuses the development secret if a listener is not on loopback, or under systemd. Anyone can sign with it, so only
/// this machine may use it or read the results.
fn check_development_secret(config: &Config, env: Env<'_>, problems: &mut Vec<String>) {
    let mut reasons: Vec<String> = listeners(config)
        .filter(|(_, address)| !address.ip().is_loopback())
        .map(|(key, _)| format!("because {key} is not a loopback address"))
        .collect();
    reasons.extend(systemd(env).map(|sign| format!("under systemd: {sign}")));
    for endpoint in &config.webhooks.endpoints {
        for secret in endpoint.secrets.iter().filter(|secret| secret.is_development()) {
            let name = shown(&endpoint.name);
            let label = shown(secret.label());
            let subject = format!("webhooks.endpoints: \"{name}\": secret \"{label}\"");
            let problem = |reason| format!("{subject} is the published development secret, refused {reason}");
            problems.extend(reasons.iter().map(problem));
        }
    }
}

/// Returns problems that do not prevent a run.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    for (key, address) in listeners(config).filter(|(_, address)| !address.ip().is_loopback()) {
        let consequence = match key {
            "webhooks.listen" => "the door speaks plain HTTP: put a TLS proxy before it",
            "operations.listen" => "anyone who reaches it can read metrics and the names of endpoints",
            _ => "the API does not authenticate callers: anyone who reaches it can read all state and download links",
        };
        warnings.push(format!("{key}: {address} is not a loopback address, and {consequence}"));
    }
    let mode = config.grpc.socket_mode;
    if matches!(config.grpc.listen, Listen::Unix(_)) && mode & OTHERS_WRITE != 0 {
        warnings.push(format!("grpc.socket_mode: {mode:04o} lets every local user connect to the API"));
    }
    warnings
}

/// The API's address. `None` if only this machine can reach it.
fn exposed_api(config: &Config) -> Option<SocketAddr> {
    match config.grpc.listen {
        Listen::Tcp(address) if !address.ip().is_loopback() => Some(address),
        Listen::Tcp(_) | Listen::Unix(_) => None,
    }
}

fn listeners(config: &Config) -> impl Iterator<Item = (&'static str, SocketAddr)> {
    let grpc = match config.grpc.listen {
        Listen::Tcp(address) => Some(("grpc.listen", address)),
        Listen::Unix(_) => None,
    };
    let others = [("webhooks.listen", config.webhooks.listen), ("operations.listen", config.operations.listen)];
    others.into_iter().chain(grpc)
}

/// The sign that this process is a systemd unit's own. `None` if there is no sign. `INVOCATION_ID` and `JOURNAL_STREAM`
/// are none: every shell in a terminal that the user's systemd started inherits both. The first three variables below
/// are set for units that ask for them, `SYSTEMD_EXEC_PID` for every unit (since systemd 248). In a process that
/// inherits it, its number is that of another process.
fn systemd(env: Env<'_>) -> Option<String> {
    for name in ["NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"] {
        if env(name).is_some() {
            return Some(format!("${name} is set"));
        }
    }
    let pid = env("SYSTEMD_EXEC_PID")?;
    let is_own = pid.to_str() == Some(&std::process::id().to_string());
    is_own.then(|| "$SYSTEMD_EXEC_PID is this process".to_owned())
}
