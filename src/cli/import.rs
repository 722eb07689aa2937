//! `import`: appends payloads from Fasten's delivery logs, through the daemon or without it.

mod payloads;

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use cleat::backfill::Backfill;
use cleat::config::{BODY_LIMIT_MAX, Webhooks};
use cleat::daemon::World;
use cleat::log::{self, Log};
use cleat::proto::admin_service_client::AdminServiceClient;
use cleat::proto::{ImportEventsRequest, ImportEventsResponse};
use indicatif::{ProgressBar, ProgressStyle};

use self::payloads::Payload;
use super::args::{ConfigFile, Output};
use super::client::Target;
use super::{format, print, serve};

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
        let progress = bar.clone();
        let batches = payloads::batches(&payloads).inspect(move |batch| progress.inc(batch.len() as u64));
        let mut response =
            if self.offline { import_offline(&self, batches).await? } else { self.import_online(batches).await? };
        bar.finish_and_clear();
        for payload in &oversized {
            print::note(&format!("{payload}: no webhooks.body_limit may be over {BODY_LIMIT_MAX}"));
        }
        response.refused += oversized.len() as u64;
        print::one("cleat.v1.ImportEventsResponse", &response, self.output, |response| facts(response, self.dry_run))?;
        report_refused(&response, &payloads, &oversized)
    }

    /// Imports through the daemon.
    async fn import_online(
        &self,
        batches: impl Iterator<Item = Vec<Bytes>> + Send + 'static,
    ) -> anyhow::Result<ImportEventsResponse> {
        let tenant = self.target.tenant.clone();
        let endpoint = self.endpoint.clone();
        let dry_run = self.dry_run;
        let requests = batches.map(move |payloads| ImportEventsRequest {
            tenant: tenant.clone(),
            endpoint: endpoint.clone(),
            dry_run,
            payloads,
        });
        let mut client = AdminServiceClient::new(self.target.connect().await?);
        Ok(client.import_events(tokio_stream::iter(requests)).await?.into_inner())
    }
}

/// Imports offline: opens the log here instead of in the daemon, and closes it again.
async fn import_offline(
    command: &Import,
    batches: impl Iterator<Item = Vec<Bytes>>,
) -> anyhow::Result<ImportEventsResponse> {
    let config = serve::load(command.config.config.as_deref())?;
    let tenant = tenant_of(&config.webhooks, &command.target.tenant)?;
    let World { time, nonces, fresh } = serve::world(&config, command.trust_clock);
    let directory = config.data.directory();
    let options = log::LogOptions {
        create: config.data.create,
        anchor: config.data.anchor.clone(),
        seen: cleat::fold::seen(&directory.join("views")),
        batch_events: config.log.batch_events,
        journal_bytes: config.log.journal_bytes.as_u64(),
        disk_reserve: config.log.disk_reserve.as_u64(),
        dedup_run_events: config.log.dedup_run_events,
        ..log::LogOptions::new(time, fresh)
    };
    let opened = log::open(directory, options);
    let Log { appender, reader, writer, .. } =
        opened.with_context(|| format!("cannot open the log in {}", directory.display()))?;
    let backfill = Backfill::new(&config.webhooks, reader.clone(), appender.downgrade(), nonces);
    let import = backfill.import(tenant, &command.endpoint, command.dry_run);
    let mut import = import.context("the tenant has no such endpoint, or has several and none is named")?;
    for batch in batches {
        import.take(batch).await?;
    }
    let position = reader.head().position;
    drop(appender);
    if writer.join().is_err() {
        bail!("the log's writer panicked");
    }
    Ok(ImportEventsResponse { position, ..import.summary().into() })
}

/// The named tenant, or the only one.
fn tenant_of<'a>(config: &'a Webhooks, named: &'a str) -> anyhow::Result<&'a str> {
    let mut tenants = config.endpoints.iter().map(|endpoint| endpoint.tenant.as_str());
    match (named, tenants.next()) {
        ("", Some(first)) if tenants.all(|other| other == first) => Ok(first),
        ("", _) => bail!("there are several tenants: name one with --tenant"),
        (named, _) => Ok(named),
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
