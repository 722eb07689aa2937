//! Benchmarks durable appends through the log's own API, against the limit: a plain file with fdatasync.
//!
//! ```text
//! cargo bench --bench append                         the table: 1, 64, 256, 1024 producers, 5 alternating runs each
//! cargo bench --bench append -- --growth 3000000     memory and disk after 3 M events at 256 producers
//! ```
//!
//! The plain file gets the same records, prepared by the same producers, over the same queue, in the same batches. It
//! has no positions, chain, dedup or frames.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "a benchmark fails where it must, prints rounded figures, and is its own edge"
)]

mod plain;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use cleat::event::{Delivery, Identity, Timestamp};
use cleat::log::{Commit, Log, LogOptions, NewLog, TimeEvidence, TimeSource};
use testkit::workload::Workload;
use tokio::task::JoinSet;

use plain::PlainFile;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RUNS: usize = 5;
pub(crate) const BATCH_EVENTS: usize = 2048;
/// Producers and events per run.
const LOADS: [(usize, usize); 4] = [(1, 6_000), (64, 100_000), (256, 200_000), (1024, 200_000)];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => LOADS.iter().for_each(|(producers, events)| compare(&runtime, *producers, *events)),
        ["--growth", events] => grow(&runtime, events.parse().unwrap()),
        _ => panic!("see the head of benches/append.rs"),
    }
}

/// Commits and their stored bytes since the process began.
static COMMITS: AtomicU64 = AtomicU64::new(0);
static STORED: AtomicU64 = AtomicU64::new(0);

fn open(directory: &Path) -> Log {
    let clock = || Timestamp::from_micros(jiff::Timestamp::now().as_microsecond());
    let time = TimeSource::trusted(Arc::new(clock));
    let fresh = NewLog::new(Identity { log_id: rand::random(), epoch: rand::random() }, rand::random());
    let on_commit = Box::new(|commit: Commit| {
        COMMITS.fetch_add(1, Ordering::Relaxed);
        STORED.fetch_add(commit.bytes, Ordering::Relaxed);
    });
    let options = LogOptions { batch_events: BATCH_EVENTS, on_commit, ..LogOptions::new(time, fresh) };
    cleat::log::open(directory, options).unwrap()
}

/// Delivery time of the nth event, in seconds since the epoch.
fn fifty_a_second(nth: u64) -> u64 {
    1_780_000_000 + nth / 50
}

/// Returns the events per second, all acknowledged as durable.
fn rate<S, F>(runtime: &tokio::runtime::Runtime, producers: usize, events: &Arc<Vec<Delivery>>, sink: S) -> f64
where
    S: Fn(Delivery) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..producers {
            let (next, events, sink) = (next.clone(), events.clone(), sink.clone());
            tasks.spawn(async move {
                while let Some(delivery) = events.get(next.fetch_add(1, Ordering::Relaxed)) {
                    sink(delivery.clone()).await;
                }
            });
        }
        tasks.join_all().await;
    });
    events.len() as f64 / started.elapsed().as_secs_f64()
}

fn compare(runtime: &tokio::runtime::Runtime, producers: usize, events: usize) {
    let events: Arc<Vec<_>> = Arc::new(Workload::new(1, fifty_a_second).take(events).collect());
    let (mut plain, mut cleat, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        plain.push(rate_of_plain(runtime, producers, &events));
        cleat.push(rate_of_cleat(runtime, producers, &events));
        ratios.push(cleat[cleat.len() - 1] / plain[plain.len() - 1]);
    }
    let (plain, cleat, ratio) = (median(plain), median(cleat), median(ratios));
    println!("{producers:>5} producers: plain file {plain:>8.0}/s   cleat {cleat:>8.0}/s   ratio {ratio:.2}");
}

fn rate_of_plain(runtime: &tokio::runtime::Runtime, producers: usize, events: &Arc<Vec<Delivery>>) -> f64 {
    let directory = tempfile::tempdir_in(".").unwrap();
    let (file, thread) = PlainFile::create(&directory.path().join("plain"));
    let rate = rate(runtime, producers, events, move |delivery| {
        let file = file.clone();
        async move { file.append(delivery).await }
    });
    thread.join().unwrap();
    rate
}

fn rate_of_cleat(runtime: &tokio::runtime::Runtime, producers: usize, events: &Arc<Vec<Delivery>>) -> f64 {
    let directory = tempfile::tempdir_in(".").unwrap();
    let Log { appender, writer, .. } = open(directory.path());
    let rate = rate(runtime, producers, events, move |delivery| {
        let appender = appender.clone();
        async move { assert!(!appender.append(delivery, TimeEvidence::Signed).await.unwrap().is_duplicate()) }
    });
    writer.join().unwrap();
    rate
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn grow(runtime: &tokio::runtime::Runtime, events: usize) {
    const PRODUCERS: usize = 256;
    let directory = tempfile::tempdir_in(".").unwrap();
    let Log { appender, writer, reader, .. } = open(directory.path());
    let started = Instant::now();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for producer in 0..PRODUCERS {
            let appender = appender.clone();
            let workload = Workload::new(producer as u64, fifty_a_second).take(events / PRODUCERS);
            tasks.spawn(async move {
                for delivery in workload {
                    appender.append(delivery, TimeEvidence::Signed).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
    });
    let (count, seconds) = (reader.head().position, started.elapsed().as_secs_f64());
    let memory = |name: &str| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    let (resident, peak) = (memory("VmRSS:"), memory("VmHWM:"));
    drop((appender, reader));
    writer.join().unwrap();
    let disk = disk_bytes(directory.path()) as f64 / count as f64;
    println!("{count} events in {seconds:.1} s (with making them), {:.0}/s", count as f64 / seconds);
    let each = |sum: &AtomicU64, of: u64| sum.load(Ordering::Relaxed) as f64 / of as f64;
    let commits = COMMITS.load(Ordering::Relaxed);
    println!("{:.0} events a commit, {:.0} B stored an event", count as f64 / commits as f64, each(&STORED, count));
    println!("resident {resident} MiB (peak {peak}), {disk:.0} B on disk an event");
    let started = Instant::now();
    let log = open(directory.path());
    println!("open again: {:.1} s, head {}", started.elapsed().as_secs_f64(), log.reader.head().position);
}

fn disk_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).unwrap();
    if metadata.is_dir() {
        std::fs::read_dir(path).unwrap().map(|entry| disk_bytes(&entry.unwrap().path())).sum()
    } else {
        metadata.blocks() * 512
    }
}
