//! `serve` and `check-config`: the edge where time, randomness, signals and the environment come in.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use cleat::config::Config;
use cleat::daemon::{Daemon, World};
use cleat::event::Timestamp;
use cleat::token::Identity;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::print;

fn load(path: Option<&Path>) -> anyhow::Result<Config> {
    Ok(Config::load(path, &|name| std::env::var_os(name))?)
}

pub(super) fn check(path: Option<&Path>) -> anyhow::Result<()> {
    let config = load(path)?;
    let endpoints: Vec<&str> = config.webhooks.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    print::line(&format!("good: data in {}, endpoints {}", config.data.directory().display(), endpoints.join(", ")))
}

pub(super) fn serve(path: Option<&Path>) -> anyhow::Result<()> {
    let config = load(path)?;
    cleat::telemetry::init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    let result = runtime.block_on(run(config));
    // What is left after a bounded stop are peers that do not close.
    runtime.shutdown_background();
    result
}

async fn run(config: Config) -> anyhow::Result<()> {
    let stop = Stop::listen().context("cannot listen for signals")?;
    let daemon = Daemon::bind(config, world()).await?;
    let addresses = daemon.addresses();
    tracing::info!(webhooks = %addresses.webhooks, grpc = %addresses.grpc, operations = %addresses.operations, "listening");
    let ended = daemon.run(stop.wait()).await;
    if let Err(error) = &ended {
        tracing::error!("{error}");
    }
    ended?;
    tracing::info!("stopped");
    Ok(())
}

fn world() -> World {
    World {
        clock: Arc::new(|| Timestamp::from_micros(super::now().as_microsecond())),
        nonces: Arc::new(rand::random),
        fresh: Identity { log_id: rand::random(), epoch: rand::random() },
    }
}

/// SIGTERM and SIGINT: the first stops in order, the second at once.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    async fn wait(mut self) {
        self.next().await;
        // Detached: it lives as long as the process, and ends it.
        tokio::spawn(async move {
            self.next().await;
            tracing::warn!("told twice: stopping at once; what was acknowledged is durable");
            std::process::exit(1);
        });
    }
}
