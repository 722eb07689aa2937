//! Arguments that several commands share: the output format, the configuration file, times and spans. Converts times
//! and spans for the API.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};

#[derive(Args)]
pub(super) struct ConfigFile {
    /// The configuration; without it, the built-in one for development.
    #[arg(long, value_name = "FILE", env = "CLEAT_CONFIG")]
    pub config: Option<PathBuf>,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For a person.
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Ndjson,
}

/// A time in RFC 3339.
#[derive(Clone, Copy)]
pub(super) struct Time(Timestamp);

/// A duration like `30m` or `2h 15m`.
#[derive(Clone, Copy)]
pub(super) struct Span(SignedDuration);

impl FromStr for Time {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl FromStr for Span {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl From<Time> for prost_types::Timestamp {
    fn from(Time(time): Time) -> Self {
        let mut timestamp = Self { seconds: time.as_second(), nanos: time.subsec_nanosecond() };
        timestamp.normalize();
        timestamp
    }
}

impl From<Span> for prost_types::Duration {
    fn from(Span(span): Span) -> Self {
        Self { seconds: span.as_secs(), nanos: span.subsec_nanos() }
    }
}
