//! A kept connection to the webhook door. Knows nothing of rates and times.

use std::net::SocketAddr;

use bytes::Bytes;
use cleat::event::Delivery;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

pub struct Poster {
    sender: SendRequest<Full<Bytes>>,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Poster {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        Self { sender, connection: tokio::spawn(connection) }
    }

    /// Sends a request. Returns status and body of the answer.
    pub async fn post(&mut self, request: Request<Full<Bytes>>) -> (StatusCode, Bytes) {
        self.sender.ready().await.unwrap();
        let response = self.sender.send_request(request).await.unwrap();
        let status = response.status();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    }

    pub async fn close(self) {
        drop(self.sender);
        self.connection.await.unwrap().unwrap();
    }
}

/// Returns the request that carries a delivery, with its own signature.
pub fn request(delivery: Delivery) -> Request<Full<Bytes>> {
    Request::post("/webhooks/fasten")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .header("webhook-id", delivery.webhook_id)
        .header("webhook-timestamp", delivery.webhook_timestamp)
        .header("webhook-signature", delivery.webhook_signature)
        .body(Full::new(delivery.body.into_bytes()))
        .unwrap()
}
