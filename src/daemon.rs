//! The composition root: binds, opens, wires and stops everything, in the order of the data flow. Contains no logic of
//! its own.
//!
//! ```text
//!   start:  bind all ports ─▶ operations ─▶ log ─▶ projector, door, gRPC (CATCHING_UP until the views reach the head)
//!   stop:   door ─▶ the last appender goes: writer ─▶ projector ─▶ watches, gRPC ─▶ operations
//! ```

mod error;
mod fatal;
mod listeners;
mod readiness;
mod supervisor;
mod task;

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::backfill::Backfill;
use crate::config::{Config, Unauthenticated};
use crate::event::{Nonces, Timestamp};
use crate::fold::{self, Projection, Rebuild};
use crate::ingest::{Door, StaleSignal};
use crate::log::{self, Appender, HandOver, Log, TimeSource};
use crate::metrics::Metrics;
use crate::operations::Operations;
use crate::rejections::Rejections;
use crate::serve::{self, Api, Principal, ServeError, ServingState};

pub use error::RunError;
use fatal::FatalCell;
pub use fatal::FatalError;
use listeners::Listeners;
pub use listeners::{Addresses, BindError};
use supervisor::Supervisor;
use task::SupervisedTask;

/// Directory of the views in the data directory.
const VIEWS: &str = "views";

/// Time for gRPC connections to close once every stream has ended: a peer that never answers would hold the server
/// indefinitely.
const GRPC_LINGER: Duration = Duration::from_secs(3);

/// Sources of time and randomness. The library takes both from here only.
#[derive(Clone)]
pub struct World {
    pub time: TimeSource,
    pub nonces: Nonces,
    /// Identity and secret for a log that does not exist yet.
    pub fresh: log::NewLog,
}

/// A daemon that has bound its ports and does not run yet. Connections wait.
pub struct Daemon {
    config: Config,
    world: World,
    listeners: Listeners,
}

impl Daemon {
    /// Binds every port before any other work.
    pub async fn bind(config: Config, world: World) -> Result<Self, BindError> {
        let listeners = Listeners::bind(&config).await?;
        Ok(Self { config, world, listeners })
    }

    pub fn addresses(&self) -> &Addresses {
        &self.listeners.addresses
    }

    /// Runs until `stop`, or until a permanent failure. Everything acknowledged is durable, however it ends.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        let Self { config, world, listeners } = self;
        let mut stop = pin!(stop);
        let metrics = Metrics::new();
        let state = watch::Sender::new(ServingState::CatchingUp { of: 0 });
        let fatal = FatalCell::default();
        let (drain, drained) = watch::channel(false);
        let (stop_operations, operations_stopped) = watch::channel(false);

        let stale = StaleSignal::default();
        let rejections = Rejections::default();
        let opened = Arc::new(OnceLock::new());
        let readiness_sources = readiness::ReadinessSources {
            state: state.subscribe(),
            fatal: fatal.clone(),
            drain: drained.clone(),
            log: opened.clone(),
        };
        let operations = Operations::new(metrics.clone(), readiness_sources.reasons(stale.clone(), world.time.clone()));
        let mut operations =
            SupervisedTask::spawn("the operations port", operations.serve(listeners.operations, operations_stopped));

        let started_at = (world.time.now)();
        let log = tokio::select! {
            // Abandons the opening midway, as a kill would: the process ends now.
            () = stop.as_mut() => return Ok(()),
            log = open_log(&config, &world, &metrics) => log?,
        };
        state.send_replace(ServingState::CatchingUp { of: log.reader.head().position });
        let Log { appender, reader, hand_over, health, writer } = log;
        opened.get_or_init(|| readiness::OpenLog { reader: reader.clone(), health: health.clone() });
        let (projection, rebuild) = project(&config, &reader, hand_over, &metrics)?;
        let backfill = Backfill::new(&config.webhooks, reader.clone(), appender.downgrade(), world.nonces.clone());
        let sources = serve::Sources {
            views: projection.views.clone(),
            reader,
            rebuild,
            rejections: rejections.clone(),
            backfill,
            state: state.subscribe(),
        };
        let options = api_options(&config, &world, &metrics, started_at);
        let mut grpc = SupervisedTask::spawn("the gRPC server", Api::new(sources, options).serve(listeners.grpc));
        let door = door(&config, &world, &metrics, appender).telling(stale, rejections);
        let mut door = SupervisedTask::spawn("the webhook door", door.serve(listeners.webhooks, drained));

        let stalled = metrics.views_stalled_position.clone();
        let supervisor = Supervisor::start(state.clone(), fatal, health, projection, writer, stalled);
        let ended = tokio::select! {
            ended = supervisor.wait_until(stop, config.shutdown.after_storage_failure) => ended,
            early = door.wait_for_early_end() => Err(early),
            early = grpc.wait_for_early_end() => Err(early),
            early = operations.wait_for_early_end() => Err(early),
        };
        tracing::info!("stopping");
        let deadline = Instant::now() + config.shutdown.grace;
        drain.send_replace(true);
        let stopped = Stopping { door, supervisor, state, grpc }.finish(deadline).await;
        stop_operations.send_replace(true);
        let stopped = stopped.and(operations.finish(deadline).await.map(drop));
        // The reason why a part ended on its own shows when the part is joined.
        if matches!(ended, Err(RunError::Ended(_))) { stopped.and(ended) } else { ended.and(stopped) }
    }
}

async fn open_log(config: &Config, world: &World, metrics: &Metrics) -> Result<Log, RunError> {
    let directory = config.data.directory().to_owned();
    let counted = metrics.clone();
    let options = log::LogOptions {
        create: config.data.create,
        anchor: config.data.anchor.clone(),
        seen: fold::seen(&directory.join(VIEWS)),
        batch_events: config.log.batch_events,
        journal_bytes: config.log.journal_bytes.as_u64(),
        disk_reserve: config.log.disk_reserve.as_u64(),
        dedup_run_events: config.log.dedup_run_events,
        on_commit: Box::new(move |commit| {
            counted.commits.inc();
            counted.commit_seconds.observe(Duration::from_micros(commit.micros).as_secs_f64());
            counted.batch_events.observe(f64::from(u32::try_from(commit.events).unwrap_or(u32::MAX)));
            counted.log_head_position.set(commit.head.position);
        }),
        ..log::LogOptions::new(world.time.clone(), world.fresh.clone())
    };
    let opened = tokio::task::spawn_blocking({
        let directory = directory.clone();
        move || log::open(&directory, options)
    });
    let log = opened.await.map_err(|_| RunError::Panicked("the task that opens the log"))?;
    let log = log.map_err(|source| RunError::Open { directory: directory.display().to_string(), source })?;
    metrics.log_head_position.set(log.reader.head().position);
    tracing::info!(directory = %directory.display(), head = log.reader.head().position, "the log is open");
    Ok(log)
}

fn project(
    config: &Config,
    reader: &log::Reader,
    hand_over: HandOver,
    metrics: &Metrics,
) -> std::io::Result<(Projection, Rebuild)> {
    let position = metrics.views_position.clone();
    let lag = metrics.views_lag.clone();
    let head = reader.clone();
    let published = move |views: &fold::Views| {
        position.set(views.position());
        lag.set(views.lag(&head.head()).as_secs_f64());
    };
    let options = fold::ProjectionOptions {
        directory: config.data.directory().join(VIEWS),
        ring_len: config.grpc.watch_ring,
        checkpoint_events: config.views.checkpoint_events,
        segment_bytes: fold::SEGMENT_BYTES,
        disk_reserve: config.log.disk_reserve.as_u64(),
    };
    fold::spawn(reader.clone(), hand_over, options, tokio::runtime::Handle::current(), published)
}

fn api_options(config: &Config, world: &World, metrics: &Metrics, started_at: Timestamp) -> serve::ApiOptions {
    serve::ApiOptions {
        principal: principal(config),
        watches_max: config.grpc.max_watches,
        watches_share: config.grpc.max_watches_per_caller,
        watches_gauge: metrics.watches.clone(),
        watch_max_age: config.grpc.watch_max_age,
        started_at,
        clock: world.time.now.clone(),
    }
}

/// The principal of every caller: the API does not authenticate, and the operator decides where it listens.
fn principal(config: &Config) -> Principal {
    let tenants = config.webhooks.endpoints.iter().map(|endpoint| Arc::from(endpoint.tenant.as_str()));
    match config.grpc.unauthenticated {
        None => Principal::loopback(tenants),
        Some(Unauthenticated::ReadOnly) => Principal::read_only(tenants),
    }
}

fn door(config: &Config, world: &World, metrics: &Metrics, appender: Appender) -> Door {
    Door::new(&config.webhooks, appender, world.time.now.clone(), world.nonces.clone(), metrics.clone())
}

/// The running parts of a daemon that stops.
struct Stopping {
    door: SupervisedTask<()>,
    supervisor: Supervisor,
    state: watch::Sender<ServingState>,
    grpc: SupervisedTask<Result<(), ServeError>>,
}

impl Stopping {
    /// Stops the parts in the order of the data flow: waiting requests still get an answer, and watches their last
    /// changes.
    async fn finish(self, deadline: Instant) -> Result<(), RunError> {
        // The door's end drops the last appender, which closes the log once imports have ended.
        let door = self.door.finish(deadline).await;
        let name = "the log and the views";
        let log = SupervisedTask::spawn(name, self.supervisor.join()).finish(deadline).await;
        self.state.send_replace(ServingState::ShuttingDown);
        let grpc = self.grpc.finish(deadline.min(Instant::now() + GRPC_LINGER)).await;
        // Cut connections are the fault of their peers. A log that was cut may have failed without a report.
        log?.unwrap_or(Err(RunError::Cut(name)))?;
        door?;
        grpc?.unwrap_or(Ok(()))?;
        Ok(())
    }
}
