//! The sections of the file, with their defaults. What the keys mean is said in `config.toml`, for operators;
//! here stand only units and what the code must know.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

use super::Env;
use super::endpoint::{Endpoint, Written};
use super::permissions::Findings;
use super::value::{Listen, duration, mode, size};

/// Larger bodies would not fit the log's largest event.
pub const BODY_LIMIT_MAX: ByteSize = ByteSize::kib(384);
/// What a request counts for beyond its body: its headers, its task, its record.
pub const REQUEST_BYTES: ByteSize = ByteSize::kib(4);
/// A clock that is less wrong than this does no harm.
const CLOCK_BOUND_MIN: Duration = Duration::from_secs(600);

#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    directory: Option<PathBuf>,
    /// Whether to make a log where there is none.
    pub create: bool,
    /// A witness on another volume.
    pub anchor: Option<PathBuf>,
}

impl Data {
    /// Where the log and everything derived from it lie.
    pub fn directory(&self) -> &Path {
        self.directory.as_deref().unwrap_or(Path::new("data"))
    }

    /// systemd names its state directories in one variable, separated by colons; the first is ours.
    pub(super) fn complete(&mut self, env: Env<'_>) {
        if self.directory.is_none() {
            let named = env("STATE_DIRECTORY").unwrap_or_default();
            self.directory = std::env::split_paths(&named).find(|path| !path.as_os_str().is_empty());
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Webhooks {
    pub listen: SocketAddr,
    #[serde(deserialize_with = "size")]
    pub body_limit: ByteSize,
    /// How far a webhook's timestamp may lie from our clock, either way.
    #[serde(deserialize_with = "duration")]
    pub timestamp_tolerance: Duration,
    #[serde(deserialize_with = "duration")]
    pub header_timeout: Duration,
    /// From the end of the headers to the answer.
    #[serde(deserialize_with = "duration")]
    pub request_timeout: Duration,
    pub max_connections: u32,
    /// What all requests may hold together that are not in the log yet; half of it is for small bodies.
    #[serde(deserialize_with = "size")]
    pub inflight_bytes: ByteSize,
    #[serde(rename = "endpoints")]
    written: Vec<Written>,
    /// With all their secrets, wherever these are kept.
    #[serde(skip)]
    pub endpoints: Vec<Endpoint>,
}

impl Webhooks {
    /// How far the clock may be from what the log knows of the time: no webhook that the door takes is out of it.
    pub fn clock_bound(&self) -> Duration {
        CLOCK_BOUND_MIN.max(2 * self.timestamp_tolerance)
    }

    /// Turns what was written into endpoints with secrets.
    pub(super) fn gather_endpoints(&mut self, env: Env<'_>, findings: &mut Findings) {
        for written in std::mem::take(&mut self.written) {
            self.endpoints.push(written.gather(env, findings));
        }
    }
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Grpc {
    pub listen: Listen,
    /// `None` if every caller may do everything, which holds on loopback and a socket only.
    pub unauthenticated: Option<Unauthenticated>,
    /// The permission bits of a Unix socket.
    #[serde(deserialize_with = "mode")]
    pub socket_mode: u32,
    pub max_watches: usize,
    pub max_watches_per_caller: usize,
    /// Counted in positions.
    pub watch_ring: usize,
    #[serde(deserialize_with = "duration")]
    pub watch_max_age: Duration,
}

/// What callers may do that nobody has authenticated.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Unauthenticated {
    ReadOnly,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Operations {
    pub listen: SocketAddr,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Of one commit, at most.
    pub batch_events: usize,
    /// Of one dedup run.
    pub dedup_run_events: u64,
    /// What is stored in one journal, at most.
    #[serde(deserialize_with = "size")]
    pub journal_bytes: ByteSize,
    /// What is left free of the disk.
    #[serde(deserialize_with = "size")]
    pub disk_reserve: ByteSize,
}

impl Log {
    /// Two journals, whose files are twice what is stored in them, and one segment.
    pub fn disk_reserve_min(&self) -> ByteSize {
        ByteSize::b(self.journal_bytes.as_u64().saturating_mul(5))
    }
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Views {
    /// Between two checkpoints.
    pub checkpoint_events: u64,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Shutdown {
    #[serde(deserialize_with = "duration")]
    pub grace: Duration,
    /// How long reads go on after a failed commit.
    #[serde(deserialize_with = "duration")]
    pub after_storage_failure: Duration,
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

impl Default for Webhooks {
    fn default() -> Self {
        Self {
            listen: loopback(7480),
            body_limit: ByteSize::kib(256),
            timestamp_tolerance: Duration::from_secs(300),
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            max_connections: 1024,
            inflight_bytes: ByteSize::mib(64),
            written: Vec::new(),
            endpoints: Vec::new(),
        }
    }
}

impl Default for Grpc {
    fn default() -> Self {
        Self {
            listen: Listen::Tcp(loopback(7481)),
            unauthenticated: None,
            socket_mode: 0o600,
            max_watches: 1000,
            max_watches_per_caller: 300,
            watch_ring: 16_384,
            watch_max_age: Duration::from_secs(60 * 60),
        }
    }
}

impl Default for Operations {
    fn default() -> Self {
        Self { listen: loopback(7482) }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            batch_events: 2048,
            dedup_run_events: 128 * 1024,
            journal_bytes: ByteSize::mib(64),
            disk_reserve: ByteSize::mib(512),
        }
    }
}

impl Default for Views {
    fn default() -> Self {
        Self { checkpoint_events: 256 * 1024 }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { grace: Duration::from_secs(20), after_storage_failure: Duration::from_secs(10) }
    }
}
