//! Many watchers over a few connections: when each received which position, and how many changes.

use std::marker::PhantomData;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cleat::proto::watch_start::Position;
use cleat::proto::{ConnectionFilter, WatchConnectionsRequest, WatchEventsRequest, WatchStart};
use prost::Message;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};

use super::codec::{Counted, Counting};
use super::poster::Posted;

/// Watches of one connection, below the daemon's limit of streams.
const OF_ONE_CONNECTION: usize = 100;
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy)]
pub enum Filter {
    All,
    /// Matches nothing. All watchers have the same filter.
    Nothing,
    /// Matches nothing. Each watcher has another filter.
    NothingEach,
    /// Watches all events instead of connections.
    Events,
}

/// Received positions, each with its number of changes and its time.
type Received = Vec<(u64, u64, Instant)>;

pub struct Watchers {
    runtime: Runtime,
    tasks: JoinSet<Received>,
    /// Position at which the watchers end. 0 if it is not known yet.
    last: watch::Sender<u64>,
}

fn request(start: Position, filter: Filter, number: usize) -> WatchConnectionsRequest {
    let external_ids = match filter {
        Filter::All | Filter::Events => vec![],
        Filter::Nothing => vec!["nobody".to_owned()],
        Filter::NothingEach => vec![format!("nobody-{number}")],
    };
    WatchConnectionsRequest {
        start: Some(WatchStart { position: Some(start) }),
        filter: Some(ConnectionFilter { external_ids, ..ConnectionFilter::default() }),
        heartbeat_interval: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..WatchConnectionsRequest::default()
    }
}

pub async fn connect(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// Opens a watch. `number` is its number among those with this filter.
pub async fn open(channel: Channel, start: Position, filter: Filter, number: usize) -> Streaming<Counted> {
    let request = request(start, filter, number);
    if matches!(filter, Filter::Events) {
        let WatchConnectionsRequest { start, heartbeat_interval, .. } = request;
        let request = WatchEventsRequest { start, heartbeat_interval, ..WatchEventsRequest::default() };
        let counting = Counting { batch: 4, caught_up: 5, request: PhantomData };
        return call(channel, "/cleat.v1.EventService/WatchEvents", request, counting).await;
    }
    let counting = Counting { batch: 6, caught_up: 7, request: PhantomData };
    call(channel, "/cleat.v1.ConnectionService/WatchConnections", request, counting).await
}

async fn call<R: Message + 'static>(
    channel: Channel,
    path: &'static str,
    request: R,
    counting: Counting<R>,
) -> Streaming<Counted> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static(path);
    client.server_streaming(Request::new(request), path, counting).await.unwrap().into_inner()
}

impl Watchers {
    /// Opens `count` watches. All have caught up when this returns.
    pub fn open(address: SocketAddr, count: usize, filter: Filter) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let last = watch::Sender::new(0);
        let tasks = runtime.block_on(async {
            let mut tasks = JoinSet::new();
            let mut channel = connect(address).await;
            for number in 1..=count {
                if number % OF_ONE_CONNECTION == 0 {
                    channel = connect(address).await;
                }
                let mut stream = open(channel.clone(), Position::Live(true), filter, number).await;
                while !stream.message().await.unwrap().unwrap().caught_up {}
                tasks.spawn(follow(stream, last.subscribe()));
            }
            tasks
        });
        Self { runtime, tasks, last }
    }

    /// Opens a watch that is never read.
    pub fn deaf(address: SocketAddr) -> (Runtime, Streaming<Counted>) {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let stream =
            runtime.block_on(async { open(connect(address).await, Position::Live(true), Filter::All, 0).await });
        (runtime, stream)
    }

    /// Waits until each watcher has received everything posted. Returns the delay of each received position, and the
    /// total number of changes.
    pub fn until(self, posted: &Posted) -> (Vec<Duration>, u64) {
        let Self { runtime, tasks, last } = self;
        last.send_replace(posted.count());
        let received = runtime.block_on(async { tokio::time::timeout(PATIENCE, tasks.join_all()).await });
        let received = received.expect("all is received");
        let changes = received.iter().flatten().map(|(_, changes, _)| changes).sum();
        (received.iter().flatten().map(|(position, _, at)| posted.lag(*position, *at)).collect(), changes)
    }
}

async fn follow(mut stream: Streaming<Counted>, mut last: watch::Receiver<u64>) -> Received {
    let mut received = Vec::new();
    let mut reached = 0;
    loop {
        let until = *last.borrow_and_update();
        if until > 0 && reached >= until {
            return received;
        }
        let message = tokio::select! {
            message = stream.message() => message.unwrap().unwrap(),
            _ = last.changed() => continue,
        };
        reached = message.position;
        if message.changes > 0 {
            received.push((message.position, message.changes, Instant::now()));
        }
    }
}
