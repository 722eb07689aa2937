//! Imports offline: opens the log here instead of in the daemon, and closes it again.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use cleat::backfill::Backfill;
use cleat::config::Webhooks;
use cleat::daemon::World;
use cleat::log::{self, Log};
use cleat::proto::ImportEventsResponse;

use super::super::serve;
use super::Import;

pub async fn import(
    command: &Import,
    batches: impl Iterator<Item = Vec<Bytes>>,
) -> anyhow::Result<ImportEventsResponse> {
    let config = serve::load(command.config.config.as_deref())?;
    let tenant = tenant(&config.webhooks, &command.target.tenant)?;
    let World { time, nonces, fresh } = serve::world(&config, command.trust_clock);
    let directory = config.data.directory();
    let options = log::Options {
        create: config.data.create,
        anchor: config.data.anchor.clone(),
        seen: cleat::fold::seen(&directory.join("views")),
        batch_events: config.log.batch_events,
        journal_bytes: config.log.journal_bytes.as_u64(),
        disk_reserve: config.log.disk_reserve.as_u64(),
        dedup_run_events: config.log.dedup_run_events,
        ..log::Options::new(time, fresh)
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
fn tenant<'a>(config: &'a Webhooks, named: &'a str) -> anyhow::Result<&'a str> {
    let mut tenants = config.endpoints.iter().map(|endpoint| endpoint.tenant.as_str());
    match (named, tenants.next()) {
        ("", Some(first)) if tenants.all(|other| other == first) => Ok(first),
        ("", _) => bail!("there are several tenants: name one with --tenant"),
        (named, _) => Ok(named),
    }
}
