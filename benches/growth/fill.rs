//! Fills a log through its own API, in a process of its own: `--fill DIRECTORY EVENTS PRODUCERS`.
//!
//! Prints its report as a line of JSON. Then holds the log open, idle, until it is killed or its input ends.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use cleat::event::{Delivery, Identity};
use cleat::log::{Appender, Commit, Log, LogOptions, NewLog, TimeEvidence, TimeSource};
use serde::{Deserialize, Serialize};
use testkit::workload::Workload;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::batch::Batch;
use super::crowds;
use super::sample::{Known, Sample};
use super::year::Year;

/// Number of parts of a fill. The rate is taken over the first part and over the last.
const PARTS: u64 = 20;
/// Events per round between the first part and the last. The next round is made while one is appended.
const ROUND: u64 = 50_000;

#[derive(Serialize, Deserialize)]
pub struct Report {
    /// Events per second over the first part; `last`: over the last part.
    pub first: f64,
    pub last: f64,
    /// Last position of the log.
    pub head: u64,
    pub known: Vec<Known>,
}

pub fn fill(directory: &Path, events: u64, producers: u64) {
    let year = Year::of(events + crowds::EVENTS);
    let Log { appender, writer, reader, .. } = open(directory, year);
    // A log that is filled again gets other events.
    let seed = reader.head().position + 1;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let crew = Crew { runtime, appender, producers };
    let mut workload = Workload::new(seed, move |nth| year.seconds(nth));
    let mut sample = Sample::over(events);
    let [first, last] = crew
        .work(events, |count| Batch::of(workload.by_ref().inspect(|delivery| sample.look(delivery)), count as usize));
    crew.runtime.block_on(async {
        for delivery in crowds::deliveries(&mut workload) {
            crew.appender.append(delivery, TimeEvidence::Signed).await.unwrap();
        }
    });
    let report = Report { first, last, head: reader.head().position, known: sample.known };
    println!("{}", serde_json::to_string(&report).unwrap());
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    drop((crew, reader));
    writer.join().unwrap();
}

/// Opens the log with the clock of `year`, which begins after the events that the log already has.
pub fn open(directory: &Path, year: Year) -> Log {
    let before = cleat::log::open_read_only(directory).map_or(0, |log| log.inspection.head.position);
    let position = Arc::new(AtomicU64::new(0));
    let time = TimeSource::trusted(year.clock(position.clone()));
    let fresh = NewLog::new(Identity { log_id: rand::random(), epoch: rand::random() }, rand::random());
    let on_commit = Box::new(move |commit: Commit| position.store(commit.head.position - before, Ordering::Relaxed));
    let options = LogOptions { on_commit, ..LogOptions::new(time, fresh) };
    cleat::log::open(directory, options).unwrap()
}

/// Producers that each append one delivery after the other.
struct Crew {
    runtime: Runtime,
    appender: Appender,
    producers: u64,
}

impl Crew {
    /// Appends `events` deliveries. Returns the rates of the first part and of the last. No deliveries are made while
    /// these two are appended.
    fn work(&self, events: u64, mut make: impl FnMut(u64) -> Batch + Send) -> [f64; 2] {
        let part = (events / PARTS).max(1);
        let first = self.append(make(part));
        let mut left = events - 2 * part;
        let mut ready = None;
        while left > 0 || ready.is_some() {
            let round = left.min(ROUND);
            left -= round;
            ready = thread::scope(|scope| {
                let next = (round > 0).then(|| scope.spawn(|| make(round)));
                ready.take().map(|batch| self.append(batch));
                next.map(|next| next.join().unwrap())
            });
        }
        [first, self.append(make(part))]
    }

    /// Appends a batch. Returns the events per second, all acknowledged as durable.
    fn append(&self, batch: Batch) -> f64 {
        let count = batch.len();
        let (batch, next) = (Arc::new(batch), Arc::new(AtomicUsize::new(0)));
        let started = Instant::now();
        self.runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for _ in 0..self.producers {
                let (batch, next, appender) = (batch.clone(), next.clone(), self.appender.clone());
                tasks.spawn(async move {
                    while let Some(delivery) = batch.get(next.fetch_add(1, Ordering::Relaxed)) {
                        append(&appender, delivery).await;
                    }
                });
            }
            tasks.join_all().await;
        });
        count as f64 / started.elapsed().as_secs_f64()
    }
}

async fn append(appender: &Appender, delivery: Delivery) {
    assert!(!appender.append(delivery, TimeEvidence::Signed).await.unwrap().is_duplicate());
}
