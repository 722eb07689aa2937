//! `exports get`, `list` and `links`.

use clap::{Args, Subcommand, ValueEnum};
use cleat::proto;
use cleat::proto::export_service_client::ExportServiceClient;
use cleat::proto::{Export, ExportLink};
use tonic::transport::Channel;

use super::args::{Output, Span, Time};
use super::client::{MESSAGE_BYTES_MAX, Realm, Top, rows};
use super::format::{self, or_dash, time, yes};
use super::print;

const HEADER: [&str; 6] = ["TASK", "STATUS", "REASON", "CONNECTION", "EXTERNAL ID", "DEADLINE"];

#[derive(Subcommand)]
pub(super) enum Exports {
    /// Show one export.
    Get(One),
    /// List exports.
    List(List),
    /// Show where an export can be downloaded.
    Links(One),
}

#[derive(Args)]
pub(super) struct One {
    /// Fasten's `task_id`.
    task: String,
    #[command(flatten)]
    realm: Realm,
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Args)]
pub(super) struct List {
    /// Only exports of this connection. Repeat it for more.
    #[arg(long, value_name = "ID")]
    connection: Vec<String>,
    /// Only exports of this patient, by your own id. Repeat it for more.
    #[arg(long, value_name = "ID")]
    external_id: Vec<String>,
    /// Only exports that ended so.
    #[arg(long, value_enum)]
    status: Vec<Status>,
    /// Only those that an event has named after this: 2026-12-01T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    changed_after: Option<Time>,
    /// Only those that are ready, and whose links die within so long: 2h.
    #[arg(long, value_name = "SPAN")]
    deadline_within: Option<Span>,
    #[command(flatten)]
    top: Top,
    #[command(flatten)]
    realm: Realm,
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Status {
    Ready,
    Failed,
}

impl Exports {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Get(one) => one.get().await,
            Self::List(list) => list.run().await,
            Self::Links(one) => one.links().await,
        }
    }
}

async fn client(realm: &Realm) -> anyhow::Result<ExportServiceClient<Channel>> {
    Ok(ExportServiceClient::new(realm.target.connect().await?).max_decoding_message_size(MESSAGE_BYTES_MAX))
}

impl One {
    async fn get(self) -> anyhow::Result<()> {
        let request = proto::GetExportRequest {
            tenant: self.realm.tenant(),
            api_mode: self.realm.api_mode(),
            task_id: self.task,
            ..proto::GetExportRequest::default()
        };
        let response = client(&self.realm).await?.get_export(request).await?.into_inner();
        print::one("cleat.v1.Export", &response.export.unwrap_or_default(), self.output, facts)
    }

    async fn links(self) -> anyhow::Result<()> {
        let request = proto::GetExportLinksRequest {
            tenant: self.realm.tenant(),
            api_mode: self.realm.api_mode(),
            task_id: self.task,
            ..proto::GetExportLinksRequest::default()
        };
        let response = client(&self.realm).await?.get_export_links(request).await?.into_inner();
        let lines = |response: &proto::GetExportLinksResponse| response.links.iter().map(link).collect();
        print::one("cleat.v1.GetExportLinksResponse", &response, self.output, lines)
    }
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let mut client = client(&self.realm).await?;
        let status = |status: Status| match status {
            Status::Ready => proto::ExportStatus::Ready.into(),
            Status::Failed => proto::ExportStatus::Failed.into(),
        };
        let filter = proto::ExportFilter {
            org_connection_ids: self.connection,
            statuses: self.status.into_iter().map(status).collect(),
            external_ids: self.external_id,
            changed_after: self.changed_after.map(Into::into),
            deadline_within: self.deadline_within.map(Into::into),
        };
        let request = proto::ListExportsRequest {
            tenant: self.realm.tenant(),
            api_mode: self.realm.api_mode(),
            filter: Some(filter),
            page_size: self.top.page_size(),
            order_by: self.top.order_by,
            ..proto::ListExportsRequest::default()
        };
        let all = rows(self.top.limit, async |page_token| {
            let page =
                client.list_exports(proto::ListExportsRequest { page_token, ..request.clone() }).await?.into_inner();
            Ok((page.exports, page.next_page_token))
        });
        print::many("cleat.v1.Export", &all.await?, self.output, &HEADER, row)
    }
}

pub(super) fn status(export: &Export) -> String {
    format::word(export.status().as_str_name(), "EXPORT_STATUS_")
}

fn row(export: &Export) -> Vec<String> {
    vec![
        export.task_id.clone(),
        status(export),
        or_dash(&export.failure_reason),
        or_dash(&export.org_connection_id),
        or_dash(&export.external_id),
        or_dash(&time(export.deadline)),
    ]
}

fn link(link: &ExportLink) -> Vec<String> {
    vec![link.url.clone(), link.export_type.clone(), link.content_type.clone()]
}

/// Everything known about one export except its links, one fact a line.
fn facts(export: &Export) -> Vec<Vec<String>> {
    let resources = export.stats.as_ref().and_then(|stats| stats.total_resources);
    format::facts([
        ("task", export.task_id.clone()),
        ("status", status(export)),
        ("reason", export.failure_reason.clone()),
        ("connection", export.org_connection_id.clone()),
        ("external id", export.external_id.clone()),
        ("organisation", export.org_id.clone()),
        ("resources", resources.map(|count| count.to_string()).unwrap_or_default()),
        ("links", export.links.len().to_string()),
        ("deadline", time(export.deadline)),
        ("after revocation", yes(export.after_revocation)),
        ("version", export.version.to_string()),
        ("last position", export.last_position.to_string()),
        ("last recorded", time(export.last_recorded_at)),
    ])
}
