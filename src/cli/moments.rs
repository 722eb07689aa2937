//! Times and spans, read from the command line and converted for the API.

use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

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
        let mut told = Self { seconds: time.as_second(), nanos: time.subsec_nanosecond() };
        told.normalize();
        told
    }
}

impl From<Span> for prost_types::Duration {
    fn from(Span(span): Span) -> Self {
        Self { seconds: span.as_secs(), nanos: span.subsec_nanos() }
    }
}
