//! The API's connections: so many at once, and those that never speak are closed.

use std::time::Duration;

use cleat::proto::GetHeadRequest;
use cleat::proto::event_service_client::EventServiceClient;
use cleat::serve::CONNECTIONS_MAX;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tonic::transport::Endpoint;

use crate::support::*;

/// Ten seconds are its patience with a silent one; a minute is ours.
#[tokio::test]
async fn a_connection_beyond_the_last_seat_is_served_when_a_silent_one_has_been_closed() {
    let api = TestApi::open().await;
    api.events().get_head(GetHeadRequest {}).await.unwrap();
    // One seat is the client's above.
    let mut silent = Vec::new();
    for _ in 1..CONNECTIONS_MAX {
        silent.push(TcpStream::connect(api.address).await.unwrap());
    }
    let endpoint = Endpoint::from_shared(format!("http://{}", api.address)).unwrap();
    let waiting = tokio::spawn(async move {
        EventServiceClient::new(endpoint.connect_lazy()).get_head(GetHeadRequest {}).await.unwrap();
    });
    for _ in 0..200 {
        api.events().get_head(GetHeadRequest {}).await.unwrap();
    }
    assert!(!waiting.is_finished(), "it has no seat yet");
    let minute = Duration::from_secs(60);
    tokio::time::timeout(minute, waiting).await.expect("a seat becomes free").unwrap();
    let mut left = Vec::new();
    let closed = tokio::time::timeout(minute, silent[0].read_to_end(&mut left)).await.expect("it is closed");
    assert!(closed.is_err() || left.len() < 100, "the server's settings at most");
}
