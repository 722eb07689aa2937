//! Checks of a filter's fields. A refusal names the field whose values are too many, too long or without meaning. Knows
//! nothing of matching.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::event::{TEXT_BYTES_MAX, Timestamp};
use crate::fold::{ExportStatus, Status};
use crate::proto;
use crate::serve::refusal::Refusal;
use crate::serve::wire;

/// Maximum number of statuses. The protos promise this limit and the two below.
const STATUSES_MAX: usize = 10;
const TEXTS_MAX: usize = 100;
const SPAN_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

pub fn texts(field: &'static str, values: Vec<String>) -> Result<BTreeSet<String>, Refusal> {
    let refuse = |problem| Err(Refusal::InvalidFilter { field, problem });
    if values.len() > TEXTS_MAX {
        return refuse("more than 100 values");
    }
    if values.iter().any(|value| value.is_empty() || value.len() > TEXT_BYTES_MAX) {
        return refuse("a value is empty, or longer than 2048 bytes");
    }
    Ok(values.into_iter().collect())
}

pub fn words<T: Ord>(
    field: &'static str,
    values: &[i32],
    read: impl Fn(i32) -> Option<T>,
) -> Result<BTreeSet<T>, Refusal> {
    if values.len() > STATUSES_MAX {
        return Err(Refusal::InvalidFilter { field, problem: "more than 10 values" });
    }
    let known = values.iter().map(|value| read(*value));
    known.collect::<Option<_>>().ok_or(Refusal::InvalidFilter { field, problem: "a value has no meaning" })
}

pub fn time(field: &'static str, time: Option<prost_types::Timestamp>) -> Result<Option<Timestamp>, Refusal> {
    let read = |time| wire::micros(&time).ok_or(Refusal::InvalidFilter { field, problem: "no time" });
    time.map(read).transpose()
}

/// Reads a duration, in microseconds.
pub fn span(field: &'static str, span: Option<prost_types::Duration>) -> Result<Option<i64>, Refusal> {
    let read = |span| {
        let span = Duration::try_from(span).ok().filter(|span| *span <= SPAN_MAX);
        let micros = span.and_then(|span| i64::try_from(span.as_micros()).ok());
        micros.ok_or(Refusal::InvalidFilter { field, problem: "less than nothing, or more than 366 days" })
    };
    span.map(read).transpose()
}

/// Returns the status. `None` if it is unspecified or an unknown number.
pub fn status(status: i32) -> Option<Status> {
    match proto::ConnectionStatus::try_from(status).ok()? {
        proto::ConnectionStatus::Unspecified => None,
        proto::ConnectionStatus::Unknown => Some(Status::Unknown),
        proto::ConnectionStatus::Authorized => Some(Status::Authorized),
        proto::ConnectionStatus::Rejected => Some(Status::Rejected),
        proto::ConnectionStatus::Revoked => Some(Status::Revoked),
        proto::ConnectionStatus::Unrecognized => Some(Status::Unrecognized),
    }
}

/// Returns the status of an export. `None` if it is unspecified or an unknown number.
pub fn export_status(status: i32) -> Option<ExportStatus> {
    match proto::ExportStatus::try_from(status).ok()? {
        proto::ExportStatus::Unspecified => None,
        proto::ExportStatus::Ready => Some(ExportStatus::Ready),
        proto::ExportStatus::Failed => Some(ExportStatus::Failed),
    }
}
