//! Measures the standard workload over HTTP, signed, against a fresh daemon. The posting clients use the same cores.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use testkit::benchmark::{Bound, Daemon, Poster, Quantiles, Table, request};
use testkit::workload::Workload;
use tokio::task::JoinSet;

use super::home;
use super::lag::{self, Sample};

const CONNECTIONS: [u64; 2] = [64, 256];

pub fn measure(table: &mut Table, seconds: u64) {
    for connections in CONNECTIONS {
        measure_with(table, connections, seconds);
    }
}

fn measure_with(table: &mut Table, connections: u64, seconds: u64) {
    table.part(&format!("Over HTTP: {connections} kept connections for {seconds} s, a fresh daemon"));
    let home = home();
    let daemon = Daemon::start(&home);
    daemon.started();
    let Posted { times, seconds, samples } = post_and_watch(&daemon, connections, Duration::from_secs(seconds));
    assert_eq!(samples.last().unwrap().head, times.len() as u64, "every answer is an event");
    table.row("requests", times.len() as f64 / seconds, "/s", Bound::None);
    let events = times.len() as f64;
    let times = Quantiles::of(times);
    table.row("answered, p50", times.percent(50), "ms", Bound::None);
    table.row("answered, p99", times.percent(99), "ms", Bound::None);
    let lags = Quantiles::of(lag::lags(&samples));
    table.row("lag of the views, p99", lags.percent(99), "ms", Bound::None);
    table.row("lag of the views, max", lags.max(), "ms", Bound::AtMost(1000.0));
    let memory = daemon.memory();
    table.row("resident", memory.resident, "MB", Bound::None);
    for (thread, seconds) in daemon.cpu_by_thread() {
        table.row(&format!("CPU an event: {thread}"), seconds * 1e6 / events, "µs", Bound::None);
    }
}

struct Posted {
    /// Time of each request until it was answered.
    times: Vec<Duration>,
    /// Duration of the whole run.
    seconds: f64,
    samples: Vec<Sample>,
}

fn post_and_watch(daemon: &Daemon, connections: u64, span: Duration) -> Posted {
    let posted = AtomicBool::new(false);
    thread::scope(|scope| {
        let samples = scope.spawn(|| lag::watch(daemon, &posted));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let begun = Instant::now();
        let times = runtime.block_on(async {
            let post = |seed| post(daemon.webhooks, seed, begun + span);
            (0..connections).map(post).collect::<JoinSet<_>>().join_all().await.concat()
        });
        let seconds = begun.elapsed().as_secs_f64();
        posted.store(true, Ordering::Release);
        Posted { times, seconds, samples: samples.join().unwrap() }
    })
}

/// Sends one connection's requests until `deadline`. Returns the duration of each.
async fn post(address: SocketAddr, seed: u64, deadline: Instant) -> Vec<Duration> {
    let mut poster = Poster::connect(address).await;
    let mut times = Vec::new();
    for delivery in Workload::new(seed, |_| jiff::Timestamp::now().as_second().cast_unsigned()) {
        if Instant::now() >= deadline {
            break;
        }
        let request = request(delivery);
        let begun = Instant::now();
        let (status, answer) = poster.post(request).await;
        times.push(begun.elapsed());
        assert_eq!(status, StatusCode::OK, "{answer:?}");
    }
    poster.close().await;
    times
}
