//! Checks for access by strangers: by the published development secret, or to the API without authentication.

use std::net::SocketAddr;

use super::secret::shown;
use super::{Config, Env, Listen};

pub(super) fn problems(config: &Config, env: Env<'_>, problems: &mut Vec<String>) {
    development_secret(config, env, problems);
    if let (Some(address), None) = (exposed_api(config), config.grpc.unauthenticated) {
        problems.push(format!(
            "grpc.listen: {address} is not a loopback address, and the API does not authenticate callers: \
             set grpc.unauthenticated = \"read-only\" to let anyone who reaches it read"
        ));
    }
}

/// Permission bit that lets other users connect to a socket.
const OTHERS_WRITE: u32 = 0o002;

/// Refuses the development secret if a listener is not on loopback, or under systemd. Anyone can sign with it, so only
/// this machine may use it or read the results.
fn development_secret(config: &Config, env: Env<'_>, problems: &mut Vec<String>) {
    let mut reasons: Vec<String> = listeners(config)
        .filter(|(_, address)| !address.ip().is_loopback())
        .map(|(key, _)| format!("because {key} is not a loopback address"))
        .collect();
    reasons.extend(systemd(env).map(|sign| format!("under systemd: {sign}")));
    for endpoint in &config.webhooks.endpoints {
        for secret in endpoint.secrets.iter().filter(|secret| secret.is_development()) {
            let (name, label) = (shown(&endpoint.name), shown(secret.label()));
            problems.extend(reasons.iter().map(|why| {
                format!("webhooks.endpoints: \"{name}\": secret \"{label}\" is the published development secret, refused {why}")
            }));
        }
    }
}

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
    let (socket, mode) = (matches!(config.grpc.listen, Listen::Unix(_)), config.grpc.socket_mode);
    if socket && mode & OTHERS_WRITE != 0 {
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
    let asked =
        ["NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"].into_iter().find(|name| env(name).is_some());
    let own = || env("SYSTEMD_EXEC_PID").is_some_and(|pid| pid.to_str() == Some(&std::process::id().to_string()));
    asked
        .map(|name| format!("${name} is set"))
        .or_else(|| own().then(|| "$SYSTEMD_EXEC_PID is this process".to_owned()))
}
