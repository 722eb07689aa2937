//! What a well-formed configuration must also be. Every problem names its key; all are told at once.

use std::collections::HashSet;

use bytesize::ByteSize;

use super::endpoint::Endpoint;
use super::{BODY_LIMIT_MAX, Config, Env, Listen, Webhooks};

const SECRETS_MAX: usize = 16;
const NAME_BYTES_MAX: usize = 64;

pub(super) fn problems(config: &Config, env: Env<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    numbers(config, &mut problems);
    sizes(&config.webhooks, &mut problems);
    addresses(config, &mut problems);
    endpoints(&config.webhooks, &mut problems);
    development_secret(&config.webhooks, env, &mut problems);
    problems
}

fn numbers(config: &Config, problems: &mut Vec<String>) {
    let positive = [
        ("webhooks.timestamp_tolerance", config.webhooks.timestamp_tolerance.is_zero()),
        ("webhooks.header_timeout", config.webhooks.header_timeout.is_zero()),
        ("webhooks.request_timeout", config.webhooks.request_timeout.is_zero()),
        ("webhooks.max_connections", config.webhooks.max_connections == 0),
        ("grpc.max_watches", config.grpc.max_watches == 0),
        ("grpc.watch_ring", config.grpc.watch_ring == 0),
        ("log.batch_events", config.log.batch_events == 0),
    ];
    problems.extend(positive.iter().filter(|(_, zero)| *zero).map(|(key, _)| format!("{key}: must not be 0")));
}

fn sizes(webhooks: &Webhooks, problems: &mut Vec<String>) {
    let (body, inflight) = (webhooks.body_limit, webhooks.inflight_bytes);
    if body == ByteSize::b(0) || body > BODY_LIMIT_MAX {
        problems.push(format!("webhooks.body_limit: must be 1 B to {BODY_LIMIT_MAX}, is {body}"));
    }
    if inflight < body {
        problems.push(format!("webhooks.inflight_bytes: must hold one body of webhooks.body_limit, {body}"));
    }
}

fn addresses(config: &Config, problems: &mut Vec<String>) {
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

fn endpoints(webhooks: &Webhooks, problems: &mut Vec<String>) {
    if webhooks.endpoints.is_empty() {
        problems.push("webhooks.endpoints: there is none, so no webhook could be received".to_owned());
    }
    let mut names = HashSet::new();
    for endpoint in &webhooks.endpoints {
        if !names.insert(&endpoint.name) {
            problems.push(format!("webhooks.endpoints: the name \"{}\" is used twice", endpoint.name));
        }
        problems.extend(
            endpoint_problems(endpoint)
                .into_iter()
                .map(|problem| format!("webhooks.endpoints: \"{}\": {problem}", endpoint.name)),
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
    let count = endpoint.secrets.len();
    if count == 0 || count > SECRETS_MAX {
        problems.push(format!("must have 1 to {SECRETS_MAX} usable secrets, has {count}"));
    }
    let mut labels = HashSet::new();
    for label in endpoint.secrets.iter().map(super::Secret::label) {
        if !is_name(label, |byte| byte.is_ascii_graphic()) {
            problems
                .push(format!("secret \"{label}\": a label must be 1 to {NAME_BYTES_MAX} visible ASCII characters"));
        }
        if !labels.insert(label) {
            problems.push(format!("secret \"{label}\": the label is used twice"));
        }
    }
    problems
}

fn is_name(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

/// Anyone can sign with it.
fn development_secret(webhooks: &Webhooks, env: Env<'_>, problems: &mut Vec<String>) {
    let under_systemd = ["INVOCATION_ID", "NOTIFY_SOCKET"].iter().any(|name| env(name).is_some());
    let exposed = !webhooks.listen.ip().is_loopback();
    let secrets =
        webhooks.endpoints.iter().flat_map(|endpoint| endpoint.secrets.iter().map(move |secret| (endpoint, secret)));
    for (endpoint, secret) in secrets.filter(|(_, secret)| secret.is_development()) {
        let refused = |why: &str| {
            let (name, label) = (&endpoint.name, secret.label());
            format!(
                "webhooks.endpoints: \"{name}\": secret \"{label}\" is the published development secret, refused {why}"
            )
        };
        if exposed {
            problems.push(refused("because webhooks.listen is not a loopback address"));
        }
        if under_systemd {
            problems.push(refused("under systemd"));
        }
    }
}
