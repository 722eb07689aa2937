//! A client of bare HTTP/2, which can do things that no gRPC client does: take nothing, send half of a request, connect
//! from another address.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use cleat::proto::GetHeadRequest;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use prost::Message;
use tokio::net::{TcpSocket, TcpStream};
use tonic::Status;
use tonic::codegen::http::Request;
use tonic_types::StatusExt as _;

/// Address of an attack. gRPC clients connect from 127.0.0.1.
pub const ATTACKER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));
/// Ten times the duration expected of anything that takes half a minute.
const PATIENCE: Duration = Duration::from_secs(300);

pub struct Raw(SendRequest<Bytes>);

/// A request in flight.
pub struct Call {
    response: ResponseFuture,
    pub request: SendStream<Bytes>,
}

pub async fn socket(to: SocketAddr) -> TcpStream {
    socket_from(ATTACKER, to).await
}

async fn socket_from(source: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(source, 0)).unwrap();
    socket.connect(to).await.unwrap()
}

impl Raw {
    /// Connects from the attacker's address. `window` is the number of bytes that each answer may send before it is
    /// asked for more.
    pub async fn connect(to: SocketAddr, window: u32) -> Self {
        Self::try_connect(to, window).await.expect("it is served")
    }

    pub async fn connect_from(source: [u8; 4], to: SocketAddr, window: u32) -> Self {
        Self::over(socket_from(source.into(), to).await, window).await.expect("it is served")
    }

    /// Like [`Self::connect`]. `None` if the server closes the connection.
    pub async fn try_connect(to: SocketAddr, window: u32) -> Option<Self> {
        Self::over(socket(to).await, window).await
    }

    async fn over(socket: TcpStream, window: u32) -> Option<Self> {
        let (send, connection) = Builder::new().initial_window_size(window).handshake::<_, Bytes>(socket).await.ok()?;
        tokio::spawn(connection);
        let raw = Self(send);
        // Waits for the server's settings, or for the end of the connection.
        let mut ready = raw.0.clone().ready().await.ok()?;
        let settled = ready.send_request(request("/none"), true).ok()?.0.await;
        settled.ok().map(|_| raw)
    }

    pub async fn call(&self, path: &str, message: &impl Message) -> Call {
        let mut call = self.begin(path).await;
        let message = message.encode_to_vec();
        call.announce(message.len());
        call.request.send_data(message.into(), true).unwrap();
        call
    }

    /// Sends only the headers.
    pub async fn begin(&self, path: &str) -> Call {
        let (response, request) = self.0.clone().ready().await.unwrap().send_request(request(path), false).unwrap();
        Call { response, request }
    }

    pub async fn head(&self) -> Result<RecvStream, Status> {
        self.call("/cleat.v1.EventService/GetHead", &GetHeadRequest {}).await.answer().await
    }
}

fn request(path: &str) -> Request<()> {
    let request = Request::post(format!("http://cleat{path}")).header("content-type", "application/grpc");
    request.header("te", "trailers").body(()).unwrap()
}

impl Call {
    /// Sends the beginning of a message: its length.
    pub fn announce(&mut self, bytes: usize) {
        let length = u32::try_from(bytes).unwrap().to_be_bytes();
        self.request.send_data(Bytes::from([&[0], &length[..]].concat()), false).unwrap();
    }

    /// Returns the answer. Only its headers have been taken.
    pub async fn answer(self) -> Result<RecvStream, Status> {
        let response = tokio::time::timeout(PATIENCE, self.response).await.expect("an answer").unwrap();
        match Status::from_header_map(response.headers()) {
            Some(status) if status.code() != tonic::Code::Ok => Err(status),
            _ => Ok(response.into_body()),
        }
    }
}

/// Waits for the end of an answer without asking for more of it. Returns its status, or the reason of its reset.
pub async fn end(mut answer: RecvStream) -> Result<Status, Option<Reason>> {
    let end = async {
        loop {
            match answer.data().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.reason()),
                None => break,
            }
        }
        let trailers = answer.trailers().await.unwrap().unwrap();
        Ok(Status::from_header_map(&trailers).unwrap())
    };
    tokio::time::timeout(PATIENCE, end).await.expect("it ends")
}

pub fn reason(status: &Status) -> String {
    status.get_error_details().error_info().expect("every refusal has a reason").reason.clone()
}
