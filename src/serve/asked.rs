//! Enum values of requests, converted to the domain's types. Knows nothing of state and access rights.

use super::status::Refusal;
use crate::event::ApiMode;
use crate::fold::{ExportStatus, Status};
use crate::proto;

/// Returns the mode that a request asks for. An unspecified mode means live.
pub(super) fn mode(mode: i32) -> Result<ApiMode, Refusal> {
    match proto::ApiMode::try_from(mode) {
        Ok(proto::ApiMode::Unspecified | proto::ApiMode::Live) => Ok(ApiMode::Live),
        Ok(proto::ApiMode::Test) => Ok(ApiMode::Test),
        Err(_) => Err(Refusal::InvalidField { field: "api_mode", problem: "no such mode" }),
    }
}

/// Returns the status. `None` if it is unspecified or an unknown number.
pub(super) fn status(status: i32) -> Option<Status> {
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
pub(super) fn export_status(status: i32) -> Option<ExportStatus> {
    match proto::ExportStatus::try_from(status).ok()? {
        proto::ExportStatus::Unspecified => None,
        proto::ExportStatus::Ready => Some(ExportStatus::Ready),
        proto::ExportStatus::Failed => Some(ExportStatus::Failed),
    }
}
