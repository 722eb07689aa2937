//! `import`: appends payloads from Fasten's delivery logs, through the daemon or without it.

mod offline;
mod payloads;

use std::path::PathBuf;

use anyhow::bail;
use bytes::Bytes;
use clap::Args;
use cleat::config::BODY_LIMIT_MAX;
use cleat::proto::admin_service_client::AdminServiceClient;
use cleat::proto::{ImportEventsRequest, ImportEventsResponse};
use indicatif::{ProgressBar, ProgressStyle};

use self::payloads::Payload;
use super::client::Target;
use super::{ConfigFile, Output, format, print};

#[derive(Args)]
pub(super) struct Import {
    /// Files, directories of files, or `-` for stdin. A file holds one JSON document, an array of them, or one after the other,
    /// as JSON lines do.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The webhook endpoint that they would have come to; without it, the tenant's only one.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    endpoint: String,
    /// Append nothing; tell what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Into the data directory of the configuration, while the daemon is stopped.
    #[arg(long)]
    pub offline: bool,
    /// Append even if nothing confirms this machine's clock. The time of an event stays in the log for ever.
    #[arg(long, requires = "offline")]
    trust_clock: bool,
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    target: Target,
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

impl Import {
    pub async fn run(self) -> anyhow::Result<()> {
        let read = payloads::read(&self.paths)?;
        let (payloads, oversized): (Vec<_>, Vec<_>) = read.into_iter().partition(Payload::fits_a_request);
        let bar = ProgressBar::new(payloads.len() as u64);
        bar.set_style(ProgressStyle::with_template("{bar:40} {pos} of {len}, {per_sec}, {eta} to go")?);
        let told = bar.clone();
        let batches = payloads::batches(&payloads).inspect(move |batch| told.inc(batch.len() as u64));
        let mut response = if self.offline {
            offline::import(&self, batches).await?
        } else {
            self.through_the_daemon(batches).await?
        };
        bar.finish_and_clear();
        for payload in &oversized {
            print::note(&format!("{payload}: no webhooks.body_limit may be over {BODY_LIMIT_MAX}"));
        }
        response.refused += oversized.len() as u64;
        print::one("cleat.v1.ImportEventsResponse", &response, self.output, |it| facts(it, self.dry_run))?;
        report_refused(&response, &payloads, &oversized)
    }

    async fn through_the_daemon(
        &self,
        batches: impl Iterator<Item = Vec<Bytes>> + Send + 'static,
    ) -> anyhow::Result<ImportEventsResponse> {
        let (tenant, endpoint, dry_run) = (self.target.tenant.clone(), self.endpoint.clone(), self.dry_run);
        let requests = batches.map(move |payloads| {
            let (tenant, endpoint) = (tenant.clone(), endpoint.clone());
            ImportEventsRequest { tenant, endpoint, dry_run, payloads }
        });
        let mut client = AdminServiceClient::new(self.target.connect().await?);
        Ok(client.import_events(tokio_stream::iter(requests)).await?.into_inner())
    }
}

fn facts(response: &ImportEventsResponse, dry_run: bool) -> Vec<Vec<String>> {
    let ImportEventsResponse { imported, duplicates, conflicts, refused, .. } = response;
    format::facts([
        (if dry_run { "would import" } else { "imported" }, imported.to_string()),
        ("there already", duplicates.to_string()),
        ("in conflict", conflicts.to_string()),
        ("left out", refused.to_string()),
    ])
}

/// Prints a note for each refused payload that the response names. An error if any was refused.
fn report_refused(response: &ImportEventsResponse, payloads: &[Payload], oversized: &[Payload]) -> anyhow::Result<()> {
    for refused in &response.refused_payloads {
        let payload = usize::try_from(refused.index).ok().and_then(|index| payloads.get(index));
        print::note(&format!("{}: {}", payload.map(ToString::to_string).unwrap_or_default(), refused.problem));
    }
    if response.refused == 0 {
        return Ok(());
    }
    let named = (response.refused_payloads.len() + oversized.len()) as u64;
    if response.refused > named {
        print::note(&format!("{} more are not named", response.refused - named));
    }
    bail!("{} of {} payloads were left out", response.refused, payloads.len() + oversized.len())
}
