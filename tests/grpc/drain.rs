//! The end of the API: watches end with a reason, health reports it, and the server ends.

use std::sync::Arc;
use std::time::Duration;

use cleat::proto::GetHeadRequest;
use cleat::proto::connection_service_client::ConnectionServiceClient;
use cleat::proto::event_service_client::EventServiceClient;
use cleat::proto::watch_connections_response::Message;
use cleat::rejections::Rejections;
use cleat::serve::{Api, Listener, Principal, ServingState, Sources};
use tokio::net::{TcpStream, UnixListener};
use tokio::sync::watch;
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::follower::snapshot;
use crate::support::*;

#[tokio::test]
async fn a_drain_ends_every_watch_with_its_reason_and_then_the_server() {
    let api = TestApi::open().await;
    let mut stream = api.connections().watch_connections(snapshot()).await.unwrap().into_inner();
    let mut health = HealthClient::new(api.channel.clone());
    let mut healths = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(healths.message().await.unwrap().unwrap().status().as_str_name(), "SERVING");
    while !matches!(stream.message().await.unwrap().unwrap().message, Some(Message::CaughtUp(_))) {}

    api.state.send_replace(ServingState::ShuttingDown);
    let last = stream.message().await.unwrap().unwrap();
    let Some(Message::GoingAway(going)) = last.message else { panic!("it says goodbye") };
    assert_eq!((going.reason.as_str(), going.reconnect_after.unwrap().seconds), ("SHUTTING_DOWN", 1));
    assert_eq!(refused(stream.message().await), (Code::Unavailable, "SHUTTING_DOWN".into(), true));
    assert_eq!(healths.message().await.unwrap().unwrap().status().as_str_name(), "NOT_SERVING");
    assert!(healths.message().await.unwrap().is_none());
    api.serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn changes_published_before_the_drain_precede_the_goodbye() {
    for _ in 0..40 {
        let (publish, views) = watch::channel(views_of([], 10));
        let api = TestApi::over(views).await;
        let mut stream = api.connections().watch_connections(snapshot()).await.unwrap().into_inner();
        while !matches!(stream.message().await.unwrap().unwrap().message, Some(Message::CaughtUp(_))) {}
        publish.send_replace(views_of([connected("e", "c", "x", "authorized")], 10));
        api.state.send_replace(ServingState::ShuttingDown);
        assert!(matches!(stream.message().await.unwrap().unwrap().message, Some(Message::ChangeBatch(_))));
        assert!(matches!(stream.message().await.unwrap().unwrap().message, Some(Message::GoingAway(_))));
    }
}

/// The watch is refused at once or gets a `GoingAway`, whenever the drain comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_begins_at_a_drain_is_refused_or_says_goodbye() {
    for round in 0..200 {
        let (_publish, views) = watch::channel(views_of([connected("e", "c", "x", "authorized")], 10));
        let api = TestApi::over(views).await;
        let mut client = api.connections();
        let opening = tokio::spawn(async move { client.watch_connections(snapshot()).await });
        // A little later each time: a call takes about as long as these delays.
        let later = std::time::Instant::now() + Duration::from_micros(10) * round;
        while std::time::Instant::now() < later {
            tokio::task::yield_now().await;
        }
        api.state.send_replace(ServingState::ShuttingDown);
        let Ok(answer) = opening.await.unwrap() else { continue };
        let mut stream = answer.into_inner();
        let mut last = None;
        while let Ok(Some(message)) = stream.message().await {
            last = message.message;
        }
        assert!(matches!(last, Some(Message::GoingAway(_))), "in round {round}: {last:?}");
    }
}

#[tokio::test]
async fn a_drain_inside_a_snapshot_says_goodbye_too() {
    let api = TestApi::open().await;
    let padding = "x".repeat(2000);
    for number in 0..1000 {
        api.append(&connected(&format!("e{number}"), &format!("c{number}"), &padding, "authorized")).await;
    }
    api.applied().await;
    let mut client = ConnectionServiceClient::new(api.narrow_channel().await);
    let mut stream = client.watch_connections(snapshot()).await.unwrap().into_inner();
    while !matches!(stream.message().await.unwrap().unwrap().message, Some(Message::SnapshotBatch(_))) {}
    api.state.send_replace(ServingState::ShuttingDown);
    let mut last = stream.message().await.unwrap().unwrap();
    while matches!(last.message, Some(Message::SnapshotBatch(_))) {
        last = stream.message().await.unwrap().unwrap();
    }
    assert!(matches!(last.message, Some(Message::GoingAway(_))), "and no SnapshotEnd before it");
    assert_eq!(refused(stream.message().await), (Code::Unavailable, "SHUTTING_DOWN".into(), true));
}

#[tokio::test]
async fn damage_ends_every_watch() {
    let api = TestApi::open().await;
    let mut stream = api.connections().watch_connections(snapshot()).await.unwrap().into_inner();
    while !matches!(stream.message().await.unwrap().unwrap().message, Some(Message::CaughtUp(_))) {}
    api.state.send_replace(ServingState::Damaged { reason: "from position 3".into() });
    assert_eq!(refused(stream.message().await), (Code::DataLoss, "DATA_DAMAGED".into(), false));
}

#[tokio::test]
async fn health_follows_the_state() {
    let api = TestApi::open().await;
    let mut health = HealthClient::new(api.channel.clone());
    let whole = HealthCheckRequest::default();
    let reading = HealthCheckRequest { service: "cleat.v1.ConnectionService".into() };
    let mut whole = health.watch(whole).await.unwrap().into_inner();
    let mut reading = health.watch(reading).await.unwrap().into_inner();
    let mut next = async || {
        let (whole, reading) = (whole.message().await.unwrap().unwrap(), reading.message().await.unwrap().unwrap());
        (whole.status().as_str_name(), reading.status().as_str_name())
    };
    assert_eq!(next().await, ("SERVING", "SERVING"));
    api.state.send_replace(ServingState::CatchingUp { of: 9 });
    assert_eq!(next().await, ("NOT_SERVING", "NOT_SERVING"));
    api.state.send_replace(ServingState::ReadOnly { reason: "the disk is gone".into() });
    assert_eq!(next().await, ("NOT_SERVING", "SERVING"));
}

/// A port check that sends nothing holds tonic's own shutdown open indefinitely.
#[tokio::test]
async fn a_server_that_is_given_up_stops_accepting() {
    let api = TestApi::open().await;
    let silent = TcpStream::connect(api.address).await.unwrap();
    api.events().get_head(GetHeadRequest {}).await.unwrap();
    api.serving.abort();
    assert!(api.serving.await.unwrap_err().is_cancelled());
    assert!(TcpStream::connect(api.address).await.is_err());
    drop(silent);
}

#[tokio::test]
async fn a_unix_socket_serves_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("grpc.sock");
    let log = open_log(&directory.path().join("log"));
    let (_views, views) = watch::channel(views_of([], 1));
    let (state, states) = watch::channel(ServingState::Serving);
    let (_, rebuild) = project(directory.path(), &log, 1);
    let backfill = backfill(&Setup::default().webhooks, &log.reader, &log.appender);
    let reader = log.reader.clone();
    let rejections = Rejections::default();
    let sources = Sources { views, reader, rebuild, rejections, backfill, state: states };
    let api = Api::new(sources, options(Principal::loopback([Arc::from("acme")]), 1));
    let serving = tokio::spawn(api.serve(Listener::Unix(UnixListener::bind(&path).unwrap())));

    let endpoint = Endpoint::from_shared(format!("unix://{}", path.display())).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let head = EventServiceClient::new(channel.clone()).get_head(GetHeadRequest {}).await.unwrap().into_inner();
    assert_eq!(head.position, 0);
    drop(channel);
    state.send_replace(ServingState::ShuttingDown);
    serving.await.unwrap().unwrap();
}
