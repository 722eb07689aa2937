//! Clients that vanish silently are detected, even if there is little to send to them.

use std::net::SocketAddr;
use std::time::Duration;

use cleat::proto::WatchConnectionsRequest;
use cleat::proto::connection_service_client::ConnectionServiceClient;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tonic::transport::Channel;

use crate::support::{Setup, TestApi, refused};

/// Carries one connection until it is cut. Then nothing passes any more, and neither side is notified.
async fn wire(to: SocketAddr, cut: oneshot::Receiver<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(to).await.unwrap();
        tokio::select! {
            _ = copy_bidirectional(&mut near, &mut far) => {}
            _ = cut => std::future::pending().await,
        }
    });
    address
}

#[tokio::test]
async fn watch_of_a_vanished_peer_ends_within_30_s_and_makes_room() {
    let api = TestApi::with(Setup { watches_max: 1, ..Setup::default() }).await;
    let (cut, is_cut) = oneshot::channel();
    let address = wire(api.address, is_cut).await;
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    // So quiet that only a ping can detect the loss.
    let heartbeat_interval = Some(prost_types::Duration { seconds: 300, nanos: 0 });
    let request = WatchConnectionsRequest { heartbeat_interval, ..WatchConnectionsRequest::default() };
    let mut watch =
        ConnectionServiceClient::new(channel).watch_connections(request.clone()).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    cut.send(()).unwrap();

    let again = async || api.connections().watch_connections(request.clone()).await;
    assert_eq!(refused(again().await).1, "TOO_MANY_WATCHES");
    let makes_room = async {
        while again().await.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), makes_room).await.expect("its place is free again");
}
