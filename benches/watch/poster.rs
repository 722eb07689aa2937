//! Posts the standard workload over HTTP, signed, at a given rate or as fast as possible.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use testkit::benchmark::{Poster, request};
use testkit::workload::Workload;
use tokio::task::JoinSet;

#[derive(Clone, Copy)]
pub enum Rate {
    /// Events per second.
    Events(u64),
    Full,
}

const CONNECTIONS: u64 = 32;
/// Maximum of positions: more than any load here makes.
const POSITIONS: usize = 4_000_000;

/// Answered positions, and the times of the answers since `begun`.
pub struct Posted {
    begun: Instant,
    span: Duration,
    /// Time of the answer by position, in nanoseconds. 0 if there is no answer yet.
    answered: Vec<AtomicU64>,
    count: AtomicU64,
}

impl Posted {
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    pub fn seconds(&self) -> f64 {
        self.span.as_secs_f64()
    }

    /// Time between the answer and `at`. Zero if `at` is before the answer.
    pub fn lag(&self, position: u64, at: Instant) -> Duration {
        let answered = self.answered[position as usize].load(Ordering::SeqCst);
        (at - self.begun).saturating_sub(Duration::from_nanos(answered))
    }
}

pub fn post(address: SocketAddr, rate: Rate, span: Duration) -> Arc<Posted> {
    let answered = std::iter::repeat_with(AtomicU64::default).take(POSITIONS).collect();
    let posted = Arc::new(Posted { begun: Instant::now(), span, answered, count: AtomicU64::new(0) });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let connections = (0..CONNECTIONS).map(|seed| connection(address, seed, rate, posted.clone()));
        connections.collect::<JoinSet<_>>().join_all().await;
    });
    posted
}

async fn connection(address: SocketAddr, seed: u64, rate: Rate, posted: Arc<Posted>) {
    let mut poster = Poster::connect(address).await;
    let workload = Workload::new(seed, |_| jiff::Timestamp::now().as_second().cast_unsigned());
    for (nth, delivery) in workload.enumerate() {
        if let Rate::Events(rate) = rate {
            // The connections take turns.
            let turn = (nth as u64 * CONNECTIONS + seed) as f64 / rate as f64;
            tokio::time::sleep_until((posted.begun + Duration::from_secs_f64(turn)).into()).await;
        }
        if posted.begun.elapsed() >= posted.span {
            break;
        }
        let (status, answer) = poster.post(request(delivery)).await;
        let now = u64::try_from(posted.begun.elapsed().as_nanos()).unwrap();
        assert_eq!(status, StatusCode::OK);
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        let position = answer["position"].as_u64().unwrap();
        posted.answered[position as usize].store(now, Ordering::SeqCst);
        posted.count.fetch_add(1, Ordering::SeqCst);
    }
    poster.close().await;
}
