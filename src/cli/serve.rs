//! `serve`, `init` and `check-config`: the edge where time, randomness, signals and the environment come in.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use cleat::config::Config;
use cleat::daemon::{Addresses, Daemon, World};
use cleat::event::{Identity, Timestamp};
use cleat::log::{NewLog, TimeSource};
use rustix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use super::{print, process};

/// Number of threads for blocking reads: more than the scans that run at once, which are three per core. Each thread
/// keeps memory of its own, so there are fewer than possible requests. A read without a free thread waits.
const BLOCKING_THREADS_MIN: usize = 32;
const BLOCKING_THREADS_PER_CORE: usize = 8;

pub(super) fn load(path: Option<&Path>) -> anyhow::Result<Config> {
    Ok(Config::load(path, &|name| std::env::var_os(name))?)
}

/// Problems that do not prevent `serve`, but that the operator should know.
fn warnings(config: &Config, trust_clock: bool) -> Vec<String> {
    let mut warnings = config.warnings();
    if rustix::process::geteuid().is_root() {
        warnings.push("the daemon runs as root, whose rights it does not need".to_owned());
    }
    if !trust_clock && !kernel_clock::is_synchronised() {
        let consequence = "until a webhook of another machine confirms it, imports, readmitted events and what `cleat send` \
                           signs with a secret of your own are refused; use --trust-clock if it is right";
        warnings.push(format!("this machine's clock is not synchronised: {consequence}"));
    }
    warnings
}

pub(super) fn check(path: Option<&Path>) -> anyhow::Result<()> {
    let config = load(path)?;
    let missing = if config.data.create { None } else { cleat::log::find(config.data.directory()).err() };
    let missing = missing.map(|error| cleat::telemetry::with_causes(&error));
    for warning in warnings(&config, false).into_iter().chain(missing) {
        print::note(&format!("warning: {warning}"));
    }
    let endpoints: Vec<&str> = config.webhooks.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    print::line(&format!("good: data in {}, endpoints {}", config.data.directory().display(), endpoints.join(", ")))
}

pub(super) fn init(path: Option<&Path>) -> anyhow::Result<()> {
    let config = load(path)?;
    let directory = config.data.directory();
    let context = || format!("cannot make a log in {}", directory.display());
    cleat::log::init(directory, &fresh(), config.data.anchor.as_deref()).with_context(context)?;
    print::line(&format!("made an empty log in {}", directory.display()))
}

/// Runs the daemon. A failure is reported once: to a person on stderr until logging is set up, and then as a log line.
pub(super) fn serve(path: Option<&Path>, trust_clock: bool) -> ExitCode {
    let config = match load(path) {
        Ok(config) => config,
        Err(error) => {
            print::error(&error);
            return ExitCode::FAILURE;
        }
    };
    cleat::telemetry::init();
    for warning in warnings(&config, trust_clock) {
        tracing::warn!("{warning}");
    }
    match start(config, trust_clock) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(config: Config, trust_clock: bool) -> anyhow::Result<()> {
    process::allow_open_files(u64::from(config.webhooks.max_connections) + cleat::serve::CONNECTIONS_MAX as u64);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS_MIN.max(BLOCKING_THREADS_PER_CORE * cores))
        .enable_all()
        .build()
        .context("cannot start")?;
    let result = runtime.block_on(run(config, trust_clock));
    // After a bounded stop, only peers that do not close are left.
    runtime.shutdown_background();
    result
}

async fn run(config: Config, trust_clock: bool) -> anyhow::Result<()> {
    let stop = stop_on_signals().context("cannot listen for signals")?;
    let world = world(&config, trust_clock);
    let daemon = Daemon::bind(config, world).await?;
    let Addresses { webhooks, grpc, operations } = daemon.addresses();
    tracing::info!(%webhooks, %grpc, %operations, "listening");
    daemon.run(stop.notified()).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Time and randomness of this machine. `trust_clock` if the operator says that the clock is right.
pub(super) fn world(config: &Config, trust_clock: bool) -> World {
    World {
        time: TimeSource {
            now: Arc::new(|| Timestamp::from_micros(now().as_microsecond())),
            uptime: Arc::new(uptime),
            synchronised: Arc::new(kernel_clock::is_synchronised),
            trusted: trust_clock,
            bound: config.webhooks.clock_bound(),
        },
        nonces: Arc::new(rand::random),
        fresh: fresh(),
    }
}

/// Identity and secret of a new log.
fn fresh() -> NewLog {
    NewLog::new(Identity { log_id: rand::random(), epoch: rand::random() }, rand::random())
}

/// The current time: the only reading of the wall clock.
#[expect(clippy::disallowed_methods, reason = "this is the edge")]
pub(super) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

fn uptime() -> Duration {
    // The kernel counts from zero.
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// Handles SIGTERM and SIGINT from now on. The first signal notifies, for an orderly stop. The second ends the process
/// at once, even in the middle of work.
fn stop_on_signals() -> std::io::Result<Arc<Notify>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let stop = Arc::new(Notify::new());
    let notify = stop.clone();
    // Detached: it lives as long as the process, and may end it.
    tokio::spawn(async move {
        next().await;
        notify.notify_one();
        next().await;
        tracing::warn!("received a second stop signal: exiting at once; acknowledged events are durable");
        std::process::exit(1);
    });
    Ok(stop)
}
