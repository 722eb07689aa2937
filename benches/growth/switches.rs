//! Compares appends during a journal switch, and during the sealing of the journal before, with all other appends.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cleat::log::{Appender, Log, TimeEvidence};
use testkit::benchmark::{Bound, Quantiles, Table};
use testkit::workload::Workload;
use tokio::task::JoinSet;

use super::batch::Batch;
use super::fill;
use super::home;
use super::year::Year;

/// Enough events for two journals, and for the first one to be sealed.
pub const EVENTS_MIN: u64 = 800_000;
const PRODUCERS: usize = 64;
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Longest time from a switch until it is seen.
const UNSEEN: Duration = Duration::from_millis(20);
/// Duration that counts as the switch itself.
const SWITCH: Duration = Duration::from_millis(150);
const TIMES_ASKED: Bound = Bound::AtMost(2.0);

type Span = (Instant, Instant);

pub fn measure(table: &mut Table, events: u64) {
    table.part(&format!("Journal switches: {events} events, {PRODUCERS} producers, the log's own API"));
    let home = home();
    let year = Year::of(events);
    let batch = Batch::of(Workload::new(1, move |nth| year.seconds(nth)), events as usize);
    let Log { appender, writer, .. } = fill::open(&home.data(), year);
    let is_done = AtomicBool::new(false);
    let (appends, sealing) = thread::scope(|scope| {
        let sealing = scope.spawn(|| watch(&home.data().join("log"), &is_done));
        let appends = append_all(&appender, batch);
        is_done.store(true, Ordering::Release);
        (appends, sealing.join().unwrap())
    });
    drop(appender);
    writer.join().unwrap();
    table.row("switches", sealing.len() as f64, "", Bound::AtLeast(1.0));
    let longest = sealing.iter().map(|(begin, end)| *end - *begin).max().unwrap_or_default();
    table.row("a journal sealed and removed, at most", longest.as_secs_f64(), "s", Bound::None);
    let switches: Vec<Span> = sealing.iter().map(|(begin, _)| (*begin, *begin + SWITCH)).collect();
    let times = |is_wanted: &dyn Fn(&Span) -> bool| {
        Quantiles::of(appends.iter().filter(|span| is_wanted(span)).map(|(begin, end)| *end - *begin).collect())
    };
    let others = times(&|span| !overlaps(&switches, span) && !overlaps(&sealing, span));
    let at_switches = times(&|span| overlaps(&switches, span));
    let beside_sealing = times(&|span| !overlaps(&switches, span) && overlaps(&sealing, span));
    let others = others.percent(99);
    table.row("an append, p99", others, "ms", Bound::None);
    table.row("at a switch, p99", at_switches.percent(99), "ms", Bound::None);
    table.row("at a switch, p99, to that", at_switches.percent(99) / others, "", TIMES_ASKED);
    table.row("beside sealing, p99, to that", beside_sealing.percent(99) / others, "", Bound::None);
}

/// Appends a batch. Returns each append's span, from its beginning to its acknowledgement.
fn append_all(appender: &Appender, batch: Batch) -> Vec<Span> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (batch, next) = (Arc::new(batch), Arc::new(AtomicUsize::new(0)));
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..PRODUCERS {
            let (batch, next, appender) = (batch.clone(), next.clone(), appender.clone());
            tasks.spawn(async move {
                let mut spans = Vec::new();
                while let Some(delivery) = batch.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begin = Instant::now();
                    appender.append(delivery, TimeEvidence::Signed).await.unwrap();
                    spans.push((begin, Instant::now()));
                }
                spans
            });
        }
        tasks.join_all().await.concat()
    })
}

/// Returns the spans in which a closed journal existed: from its switch until it was sealed and removed.
fn watch(log: &Path, is_done: &AtomicBool) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut begun: Option<(Instant, Option<String>)> = None;
    while !is_done.load(Ordering::Acquire) {
        let now = Instant::now();
        let names = names(log);
        let has_work = names.iter().any(|name| matches!(name.rsplit_once('.'), Some((_, "new" | "gone"))));
        let oldest = names.into_iter().filter(|name| name.starts_with("journal-") && !name.contains('.')).min();
        match &begun {
            None if has_work => begun = now.checked_sub(UNSEEN).map(|begin| (begin, oldest)),
            Some((begin, closed)) if !has_work && oldest != *closed => {
                spans.push((*begin, now));
                begun = None;
            }
            None | Some(_) => {}
        }
        thread::sleep(LOOK_EVERY);
    }
    spans
}

fn names(log: &Path) -> Vec<String> {
    let names = fs::read_dir(log).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.into_string().ok()).collect()
}

fn overlaps(spans: &[Span], (begin, end): &Span) -> bool {
    let index = spans.partition_point(|(_, span_end)| span_end < begin);
    spans.get(index).is_some_and(|(span_begin, _)| span_begin <= end)
}
