//! Selects connections: the options of the command line as the API's filter.

use clap::{Args, ValueEnum};
use cleat::proto;

use crate::cli::args::{Span, Time};

/// For lists and watches.
#[derive(Args)]
pub struct Filter {
    /// Only connections of this patient, by your own id. Repeat it for more.
    #[arg(long, value_name = "ID")]
    external_id: Vec<String>,
    /// Only connections of this status. Repeat it for more.
    #[arg(long, value_enum)]
    status: Vec<Status>,
    /// Only connections of this platform: epic, cerner, tefca, ... Repeat it for more.
    #[arg(long, value_name = "TYPE")]
    platform_type: Vec<String>,
    /// Only connections whose last attempt has this id, by which Fasten's support knows it. Repeat it for more.
    #[arg(long, value_name = "ID")]
    request_id: Vec<String>,
    /// Only connections whose last attempt is this one, by your own id. Repeat it for more.
    #[arg(long, value_name = "ID")]
    external_state: Vec<String>,
    /// Only those whose patient should connect anew: an export failed for want of a valid token.
    #[arg(long)]
    needs_reconnect: bool,
    /// Only those whose last events contradict each other, and may have come in another order.
    #[arg(long)]
    order_ambiguous: bool,
    /// Only those whose consent ends before this: 2026-12-01T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    consent_expires_before: Option<Time>,
}

/// For lists only.
#[derive(Args)]
pub struct When {
    /// Only those that an event has named after this: 2026-12-01T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    changed_after: Option<Time>,
    /// Only those that are authorized for at least so long, without an export that ended since: 30m, 2h.
    #[arg(long, value_name = "SPAN")]
    awaiting_export_for: Option<Span>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Status {
    Unknown,
    Authorized,
    Rejected,
    Revoked,
    Unrecognized,
}

impl Status {
    fn into_proto(self) -> i32 {
        let status = match self {
            Self::Unknown => proto::ConnectionStatus::Unknown,
            Self::Authorized => proto::ConnectionStatus::Authorized,
            Self::Rejected => proto::ConnectionStatus::Rejected,
            Self::Revoked => proto::ConnectionStatus::Revoked,
            Self::Unrecognized => proto::ConnectionStatus::Unrecognized,
        };
        status.into()
    }
}

impl Filter {
    pub fn into_proto(self) -> proto::ConnectionFilter {
        proto::ConnectionFilter {
            external_ids: self.external_id,
            statuses: self.status.into_iter().map(Status::into_proto).collect(),
            platform_types: self.platform_type,
            request_ids: self.request_id,
            external_states: self.external_state,
            needs_reconnect: self.needs_reconnect.then_some(true),
            order_ambiguous: self.order_ambiguous.then_some(true),
            consent_expires_before: self.consent_expires_before.map(Into::into),
            ..proto::ConnectionFilter::default()
        }
    }
}

impl When {
    pub fn into_proto(self, filter: Filter) -> proto::ConnectionFilter {
        proto::ConnectionFilter {
            changed_after: self.changed_after.map(Into::into),
            awaiting_export_for: self.awaiting_export_for.map(Into::into),
            ..filter.into_proto()
        }
    }
}
