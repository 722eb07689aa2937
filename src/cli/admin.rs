//! `status` and `rejected`: the state of the daemon, and the deliveries that it refused.

use clap::Args;
use cleat::proto::admin_service_client::AdminServiceClient;
use cleat::proto::{GetStatusRequest, GetStatusResponse, ListRejectedDeliveriesRequest, RejectedDelivery};
use tonic::transport::Channel;

use super::args::Output;
use super::client::Target;
use super::format::{self, or_dash, time};
use super::print;

#[derive(Args)]
pub(super) struct Ask {
    #[command(flatten)]
    target: Target,
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

impl Ask {
    async fn client(&self) -> anyhow::Result<AdminServiceClient<Channel>> {
        Ok(AdminServiceClient::new(self.target.connect().await?))
    }

    pub async fn status(self) -> anyhow::Result<()> {
        let status = self.client().await?.get_status(GetStatusRequest {}).await?.into_inner();
        print::one("cleat.v1.GetStatusResponse", &status, self.output, facts)
    }

    pub async fn rejected(self) -> anyhow::Result<()> {
        let request = ListRejectedDeliveriesRequest { tenant: self.target.tenant.clone() };
        let rejected = self.client().await?.list_rejected_deliveries(request).await?.into_inner().deliveries;
        print::many(
            "cleat.v1.RejectedDelivery",
            &rejected,
            self.output,
            &["REJECTED", "ENDPOINT", "REASON", "BYTES"],
            row,
        )
    }
}

fn row(rejected: &RejectedDelivery) -> Vec<String> {
    vec![
        time(rejected.rejected_at),
        or_dash(&rejected.endpoint),
        rejected.reason.clone(),
        rejected.body_bytes.to_string(),
    ]
}

fn facts(status: &GetStatusResponse) -> Vec<Vec<String>> {
    format::facts([
        ("version", status.version.clone()),
        ("state", format::word(status.state().as_str_name(), "SERVING_STATE_")),
        ("because", status.state_reason.clone()),
        ("log", status.log_id.clone()),
        ("epoch", status.epoch.clone()),
        ("head", status.head_position.to_string()),
        ("head recorded", time(status.head_recorded_at)),
        ("views", status.views_position.to_string()),
        ("views lag", status.views_lag.map(|lag| lag.to_string()).unwrap_or_default()),
        ("connections", status.connections.to_string()),
        ("exports", status.exports.to_string()),
        ("watches", status.watches.to_string()),
        ("rebuild at", status.rebuild_position.map(|at| at.to_string()).unwrap_or_default()),
        ("started", time(status.started_at)),
    ])
}
