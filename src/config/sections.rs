//! The sections of the file, with their defaults. `config.toml` explains the keys to operators; the comments here give
//! only units and facts for the code.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

use super::endpoint::{Endpoint, Written};
use super::permissions::Findings;
use super::value::{Env, Listen, duration, mode, size};

/// The whole configuration, one field for each section.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub data: Data,
    pub webhooks: Webhooks,
    pub grpc: Grpc,
    pub operations: Operations,
    pub log: Log,
    pub views: Views,
    pub shutdown: Shutdown,
    /// Warnings about files, from when they were read.
    #[serde(skip)]
    pub(super) file_warnings: Vec<String>,
}

/// Maximum of `body_limit`. Larger bodies would not fit the log's largest event.
pub const BODY_LIMIT_MAX: ByteSize = ByteSize::kib(384);
/// Bytes that a request counts for in addition to its body: its headers, its task, its record.
pub const REQUEST_BYTES: ByteSize = ByteSize::kib(4);
/// Minimum of the clock bound. A smaller error does no harm.
const CLOCK_BOUND_MIN: Duration = Duration::from_secs(600);

#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    directory: Option<PathBuf>,
    /// Whether to create a log if there is none.
    pub create: bool,
    /// Path of a witness on another volume.
    pub anchor: Option<PathBuf>,
}

impl Data {
    /// Directory of the log and everything derived from it.
    pub fn directory(&self) -> &Path {
        self.directory.as_deref().unwrap_or(Path::new("data"))
    }

    /// Takes the directory from systemd if the file names none. systemd lists its state directories in one variable,
    /// separated by colons; the first is ours.
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
    /// Maximum difference between a webhook's timestamp and our clock, in either direction.
    #[serde(deserialize_with = "duration")]
    pub timestamp_tolerance: Duration,
    #[serde(deserialize_with = "duration")]
    pub header_timeout: Duration,
    /// Time from the end of the headers to the answer.
    #[serde(deserialize_with = "duration")]
    pub request_timeout: Duration,
    pub max_connections: u32,
    /// Memory for all requests that are not in the log yet. One half is for small bodies.
    #[serde(deserialize_with = "size")]
    pub inflight_bytes: ByteSize,
    #[serde(rename = "endpoints")]
    written: Vec<Written>,
    /// The endpoints with all their secrets, from all sources.
    #[serde(skip)]
    pub endpoints: Vec<Endpoint>,
}

impl Webhooks {
    /// Maximum difference between the clock and the time that the log knows. Every webhook that the door takes is
    /// within it.
    pub fn clock_bound(&self) -> Duration {
        CLOCK_BOUND_MIN.max(2 * self.timestamp_tolerance)
    }

    /// Turns the written endpoints into endpoints with secrets.
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
    /// `None` if every caller may do everything, which is allowed on loopback and a Unix socket only.
    pub unauthenticated: Option<Unauthenticated>,
    /// The permission bits of a Unix socket.
    #[serde(deserialize_with = "mode")]
    pub socket_mode: u32,
    pub max_watches: usize,
    pub max_watches_per_caller: usize,
    /// Number of positions.
    pub watch_ring: usize,
    #[serde(deserialize_with = "duration")]
    pub watch_max_age: Duration,
}

/// Rights of unauthenticated callers.
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
    /// Maximum number of events in one commit.
    pub batch_events: usize,
    /// Number of events in one dedup run.
    pub dedup_run_events: u64,
    /// Maximum size of the data stored in one journal.
    #[serde(deserialize_with = "size")]
    pub journal_bytes: ByteSize,
    /// Disk space that is left free.
    #[serde(deserialize_with = "size")]
    pub disk_reserve: ByteSize,
}

impl Log {
    /// Minimum of `disk_reserve`: two journals, whose files are twice the size of their data, and one segment.
    pub fn disk_reserve_min(&self) -> ByteSize {
        ByteSize::b(self.journal_bytes.as_u64().saturating_mul(5))
    }
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Views {
    /// Number of events between two checkpoints.
    pub checkpoint_events: u64,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Shutdown {
    #[serde(deserialize_with = "duration")]
    pub grace: Duration,
    /// Time for which reads go on after a failed commit.
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
