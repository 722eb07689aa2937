//! Checks of a well-formed configuration. Every problem names its key, and all are reported at once.

use std::collections::HashSet;

use super::endpoint::Endpoint;
use super::secret::{NAME_BYTES_MAX, looks_secret, path_looks_secret, shown};
use super::{Config, Env, Listen, Webhooks, exposure, ranges};

const SECRETS_MAX: usize = 16;

pub(super) fn problems(config: &Config, env: Env<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    ranges::problems(config, &mut problems);
    addresses(config, &mut problems);
    paths(config, &mut problems);
    endpoints(&config.webhooks, &mut problems);
    exposure::problems(config, env, &mut problems);
    problems
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

/// Checks that no path looks like a secret: logs and errors show paths.
fn paths(config: &Config, problems: &mut Vec<String>) {
    let mut paths = vec![("data.directory", config.data.directory())];
    paths.extend(config.data.anchor.as_deref().map(|path| ("data.anchor", path)));
    if let Listen::Unix(path) = &config.grpc.listen {
        paths.push(("grpc.listen", path));
    }
    let misplaced = paths.into_iter().filter(|(_, path)| path_looks_secret(path));
    problems.extend(misplaced.map(|(key, _)| format!("{key}: looks like a secret; logs would show it")));
}

fn endpoints(webhooks: &Webhooks, problems: &mut Vec<String>) {
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
    for label in endpoint.secrets.iter().map(super::Secret::label) {
        let told = shown(label);
        if !is_name(label, |byte| byte.is_ascii_graphic()) {
            problems.push(format!("secret \"{told}\": a label must be 1 to {NAME_BYTES_MAX} visible ASCII characters"));
        }
        if looks_secret(label) {
            problems.push(format!("secret \"{told}\": the label looks like a secret; logs and events would show it"));
        }
        if !labels.insert(label) {
            problems.push(format!("secret \"{told}\": the label is used twice"));
        }
    }
    problems
}

fn is_name(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}
