//! Reasons for a refusal, and the only way from there to a gRPC status. Every status carries `google.rpc.ErrorInfo`
//! with domain `cleat` and a reason that never changes its meaning. A refusal that may pass by waiting carries
//! `RetryInfo`, too. Knows nothing of the services.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::event::Position;
use crate::log::{ClockError, NotAccepting, ReadError};

const DOMAIN: &str = "cleat";

#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    #[error("no event has named this connection")]
    ConnectionNotFound,
    #[error("no event has named the connection at index {0} of the request")]
    ConnectionsNotFound(usize),
    #[error("no event has named this export")]
    ExportNotFound,
    #[error("the log has no such event")]
    EventNotFound,
    #[error("{field}: {problem}")]
    InvalidField { field: &'static str, problem: &'static str },
    #[error("{field}: {problem}")]
    InvalidFilter { field: &'static str, problem: &'static str },
    #[error("the page token is not of this list: {0}")]
    InvalidPageToken(&'static str),
    #[error("the read token cannot be used: {0}")]
    InvalidReadToken(&'static str),
    #[error("the resume token cannot be used: {0}")]
    InvalidResumeToken(&'static str),
    #[error("the resume token is of a watch that asked for something else: filter, kinds, tenant or mode")]
    ResumeTokenFilterMismatch,
    #[error("the token is of another version of the state's rules; start with a snapshot")]
    ViewVersionChanged,
    #[error("the request must name a tenant")]
    TenantRequired,
    #[error("the caller is not known")]
    Unauthenticated,
    #[error("the caller may not see this tenant")]
    PermissionDenied,
    #[error("the caller lacks the scope {0}")]
    ScopeRequired(&'static str),
    #[error("the token is of another log, or of a history that this log does not have; start with a snapshot")]
    LogEpochChanged,
    #[error("the state is not yet as fresh as required: it is at {at}, not {wanted}")]
    StaleRead { at: Position, wanted: Position },
    #[error("the server is shutting down; reconnect")]
    ShuttingDown,
    #[error("the deadline that the caller set has passed")]
    DeadlineExceeded,
    #[error("the state is being rebuilt from the log: {at} of {of} events")]
    CatchingUp { at: Position, of: Position },
    #[error("as many watches are open as may be, in all or of this caller")]
    TooManyWatches,
    #[error("the state cannot go past position {position}: {reason}")]
    ViewsStalled { position: Position, reason: Arc<str> },
    #[error("the caller has as many connections as it may have; this one serves only AdminService and health checks")]
    TooManyConnections,
    #[error("as many calls are open as may be, in all or of this caller")]
    TooManyStreams,
    #[error("requests and answers that are not taken hold as much memory as they may, in all or of this caller")]
    InflightBytesFull,
    #[error("the scans that wait are not done in time")]
    TooManyScans,
    #[error("a dry run takes at most 1000000 different events; give it a part of them")]
    TooManyKeys,
    #[error("the request did not arrive in time")]
    RequestTimeout,
    #[error("the changes of position {0} are too large for one message; start with a snapshot")]
    ChangeTooLarge(Position),
    #[error("the watch took too long for its snapshot, which is no longer at hand")]
    WatchFellBehind,
    #[error("the watch is as old as it may be; resume it")]
    WatchMaxAge,
    #[error("{0}")]
    DataDamaged(Arc<str>),
    #[error("the storage cannot be read")]
    StorageFailed,
    #[error(transparent)]
    Clock(ClockError),
    #[error("no event is stored for now: {0}")]
    NotAccepting(NotAccepting),
    #[error("events cannot be stored: a write has failed")]
    StorageReadOnly,
    #[error("there is no such method")]
    UnknownMethod,
    #[error("no such service is known to the health check")]
    UnknownService,
    #[error("the request cannot be read as its message")]
    MalformedRequest,
    #[error("the request is compressed, which is not supported")]
    CompressedRequest,
    #[error("the request is larger than may be")]
    RequestTooLarge,
    #[error("an internal error")]
    Internal,
}

impl Refusal {
    /// Returns the stable name of the reason.
    pub fn reason(&self) -> &'static str {
        self.code_and_reason().1
    }

    fn code_and_reason(&self) -> (Code, &'static str) {
        match self {
            Self::ConnectionNotFound | Self::ConnectionsNotFound(_) => (Code::NotFound, "CONNECTION_NOT_FOUND"),
            Self::ExportNotFound => (Code::NotFound, "EXPORT_NOT_FOUND"),
            Self::EventNotFound => (Code::NotFound, "EVENT_NOT_FOUND"),
            Self::InvalidField { .. } => (Code::InvalidArgument, "INVALID_FIELD"),
            Self::InvalidFilter { .. } => (Code::InvalidArgument, "INVALID_FILTER"),
            Self::InvalidPageToken(_) => (Code::InvalidArgument, "INVALID_PAGE_TOKEN"),
            Self::InvalidReadToken(_) => (Code::InvalidArgument, "INVALID_READ_TOKEN"),
            Self::InvalidResumeToken(_) => (Code::InvalidArgument, "INVALID_RESUME_TOKEN"),
            Self::ResumeTokenFilterMismatch => (Code::InvalidArgument, "RESUME_TOKEN_FILTER_MISMATCH"),
            Self::ViewVersionChanged => (Code::FailedPrecondition, "VIEW_VERSION_CHANGED"),
            Self::TenantRequired => (Code::InvalidArgument, "TENANT_REQUIRED"),
            Self::Unauthenticated => (Code::Unauthenticated, "UNAUTHENTICATED"),
            Self::PermissionDenied | Self::ScopeRequired(_) => (Code::PermissionDenied, "PERMISSION_DENIED"),
            Self::LogEpochChanged => (Code::FailedPrecondition, "LOG_EPOCH_CHANGED"),
            Self::StaleRead { .. } => (Code::Unavailable, "STALE_READ"),
            Self::ShuttingDown => (Code::Unavailable, "SHUTTING_DOWN"),
            Self::DeadlineExceeded => (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
            Self::CatchingUp { .. } => (Code::Unavailable, "CATCHING_UP"),
            Self::TooManyWatches => (Code::ResourceExhausted, "TOO_MANY_WATCHES"),
            Self::TooManyConnections => (Code::ResourceExhausted, "TOO_MANY_CONNECTIONS"),
            Self::TooManyStreams => (Code::ResourceExhausted, "TOO_MANY_STREAMS"),
            Self::InflightBytesFull => (Code::ResourceExhausted, "INFLIGHT_BYTES_FULL"),
            Self::TooManyScans => (Code::ResourceExhausted, "TOO_MANY_SCANS"),
            Self::TooManyKeys => (Code::ResourceExhausted, "TOO_MANY_KEYS"),
            Self::RequestTimeout => (Code::DeadlineExceeded, "REQUEST_TIMEOUT"),
            Self::ViewsStalled { .. } => (Code::Unavailable, "VIEWS_STALLED"),
            Self::ChangeTooLarge(_) => (Code::ResourceExhausted, "CHANGE_TOO_LARGE"),
            Self::WatchMaxAge => (Code::Unavailable, "WATCH_MAX_AGE"),
            Self::WatchFellBehind => (Code::Aborted, "WATCH_FELL_BEHIND"),
            Self::DataDamaged(_) => (Code::DataLoss, "DATA_DAMAGED"),
            Self::StorageFailed => (Code::Internal, "STORAGE_FAILED"),
            Self::Clock(ClockError::Behind { .. }) => (Code::FailedPrecondition, "CLOCK_BEHIND"),
            Self::Clock(ClockError::Unconfirmed) => (Code::FailedPrecondition, "CLOCK_UNCONFIRMED"),
            Self::NotAccepting(NotAccepting::DiskFull) => (Code::Unavailable, "DISK_FULL"),
            Self::NotAccepting(NotAccepting::KeysUnknown) => (Code::Unavailable, "KEYS_UNKNOWN"),
            Self::NotAccepting(_) => (Code::Unavailable, "STORAGE_SLOW"),
            Self::StorageReadOnly => (Code::Unavailable, "STORAGE_READ_ONLY"),
            Self::UnknownMethod => (Code::Unimplemented, "UNKNOWN_METHOD"),
            Self::UnknownService => (Code::NotFound, "UNKNOWN_SERVICE"),
            Self::MalformedRequest => (Code::InvalidArgument, "MALFORMED_REQUEST"),
            Self::CompressedRequest => (Code::Unimplemented, "COMPRESSED_REQUEST"),
            Self::RequestTooLarge => (Code::OutOfRange, "REQUEST_TOO_LARGE"),
            Self::Internal => (Code::Internal, "INTERNAL"),
        }
    }

    /// Returns the delay before a retry. `None` if waiting does not help.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::StaleRead { .. }
            | Self::ShuttingDown
            | Self::WatchMaxAge
            | Self::TooManyStreams
            | Self::InflightBytesFull
            | Self::TooManyScans => Some(Duration::from_secs(1)),
            Self::CatchingUp { .. }
            | Self::ViewsStalled { .. }
            | Self::TooManyWatches
            | Self::TooManyConnections
            | Self::NotAccepting(_)
            | Self::StorageReadOnly => Some(Duration::from_secs(5)),
            _ => None,
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let (code, reason) = refusal.code_and_reason();
        let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
        if let Some(delay) = refusal.retry_after() {
            details.set_retry_info(Some(delay));
        }
        if let Refusal::InvalidField { field, problem } | Refusal::InvalidFilter { field, problem } = &refusal {
            details.add_bad_request_violation(*field, *problem);
        }
        Status::with_error_details(code, refusal.to_string(), details)
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Damaged { .. } => Self::DataDamaged(error.to_string().into()),
            ReadError::Store(_) => Self::StorageFailed,
        }
    }
}
