//! A proxy between watchers and one daemon. It spoils watches of connections as a known bug of the daemon would, and so
//! tests the checker. Knows nothing of histories, nor of what the checker looks at.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;

use async_stream::try_stream;
use cleat::proto::connection_service_client::ConnectionServiceClient;
use cleat::proto::connection_service_server::{ConnectionService, ConnectionServiceServer};
use cleat::proto::event_service_client::EventServiceClient;
use cleat::proto::watch_connections_response::Message as Body;
use cleat::proto::watch_start::Position;
use cleat::proto::{
    BatchGetConnectionsRequest, BatchGetConnectionsResponse, ChangeBatch, Changes, GetConnectionRequest,
    GetConnectionResponse, GetHeadRequest, ListConnectionEventsRequest, ListConnectionEventsResponse,
    ListConnectionsRequest, ListConnectionsResponse, SummarizeConnectionsRequest, SummarizeConnectionsResponse,
    WatchConnectionsRequest, WatchConnectionsResponse, WatchStart,
};
use cleat::token::Token;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};

/// Interval of [`Spoiling::Repeat`]: one of this many batches is sent twice.
const REPEATED: usize = 50;

type WatchMessages = Pin<Box<dyn Stream<Item = Result<WatchConnectionsResponse, Status>> + Send>>;

/// The change that the proxy makes to watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoiling {
    /// None: the proxy passes everything on as it is.
    Nothing,
    /// A heartbeat reports the head of the log in place of the watch's position.
    ProgressAhead,
    /// The first batch is left out.
    SkipAtHandOver,
    /// Some batches are sent twice.
    Repeat,
    /// The changes of one position are sent in two batches.
    Split,
    /// A token of another log is taken for one of this log.
    AnyEpoch,
}

/// Starts a proxy on the current runtime, for as long as the runtime runs. Returns its address. A call to a daemon that
/// is gone fails as it would without the proxy, and a status passes unchanged.
pub fn start(daemon: Channel, spoiling: Spoiling) -> SocketAddr {
    let incoming = TcpIncoming::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap().with_nodelay(Some(true));
    let address = incoming.local_addr().unwrap();
    let service = ConnectionServiceServer::new(SpoilingProxy { daemon, spoiling });
    tokio::spawn(async move {
        Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
    });
    address
}

#[derive(Clone)]
struct SpoilingProxy {
    daemon: Channel,
    spoiling: Spoiling,
}

impl SpoilingProxy {
    async fn watch(&self, request: WatchConnectionsRequest) -> Result<Streaming<WatchConnectionsResponse>, Status> {
        let answer = ConnectionServiceClient::new(self.daemon.clone()).watch_connections(request).await?;
        Ok(answer.into_inner())
    }

    /// Returns a token of the log's head.
    async fn head(&self) -> Result<Token, Status> {
        let answer = EventServiceClient::new(self.daemon.clone()).get_head(GetHeadRequest {}).await?;
        Ok(Token::decode(&answer.into_inner().read_token).unwrap())
    }

    /// Returns a token of a position, which a watch that begins after the position sends first.
    async fn token_at(&self, position: u64, request: WatchConnectionsRequest) -> Result<Token, Status> {
        let start = Some(WatchStart { position: Some(Position::AfterPosition(position)) });
        let mut messages = self.watch(WatchConnectionsRequest { start, ..request }).await?;
        let started = messages.message().await?.ok_or_else(|| Status::unavailable("the watch ends at once"))?;
        Ok(Token::decode(&started.resume_token).unwrap())
    }

    /// Replaces a token of another log by one of this log: of the same position, or of the head if that is earlier.
    async fn admit(&self, request: &mut WatchConnectionsRequest) -> Result<(), Status> {
        let start = request.start.as_ref().and_then(|start| start.position.as_ref());
        let Some(Position::ResumeToken(text)) = start else { return Ok(()) };
        let Ok(foreign) = Token::decode(text) else { return Ok(()) };
        let head = self.head().await?;
        if foreign.identity == head.identity {
            return Ok(());
        }
        let own = self.token_at(foreign.cursor.position.min(head.cursor.position), request.clone()).await?;
        let Token { identity, cursor, .. } = own;
        let token = Token { identity, cursor, ..foreign };
        request.start = Some(WatchStart { position: Some(Position::ResumeToken(token.encode())) });
        Ok(())
    }

    fn spoilt(&self, mut messages: Streaming<WatchConnectionsResponse>) -> WatchMessages {
        let proxy = self.clone();
        let mut batches = 0;
        Box::pin(try_stream! {
            while let Some(message) = messages.next().await {
                let message = message?;
                for message in proxy.spoil(&mut batches, message).await {
                    yield message;
                }
            }
        })
    }

    /// Returns the messages to send in place of one. `batches` counts the batches of the watch.
    async fn spoil(&self, batches: &mut usize, message: WatchConnectionsResponse) -> Vec<WatchConnectionsResponse> {
        *batches += usize::from(matches!(message.message, Some(Body::ChangeBatch(_))));
        match (self.spoiling, &message.message) {
            (Spoiling::ProgressAhead, Some(Body::Heartbeat(_))) => vec![self.ahead(message).await],
            (Spoiling::SkipAtHandOver, Some(Body::ChangeBatch(_))) if *batches == 1 => Vec::new(),
            (Spoiling::Repeat, Some(Body::ChangeBatch(_))) if (*batches).is_multiple_of(REPEATED) => {
                vec![message.clone(), message]
            }
            (Spoiling::Split, Some(Body::ChangeBatch(batch))) => split(&message, batch.clone()),
            _ => vec![message],
        }
    }

    async fn ahead(&self, heartbeat: WatchConnectionsResponse) -> WatchConnectionsResponse {
        // A daemon without an answer is about to end, and its watches with it.
        let Ok(head) = self.head().await else { return heartbeat };
        let own = Token::decode(&heartbeat.resume_token).unwrap();
        let position = head.cursor.position;
        let resume_token = Token { cursor: head.cursor, ..own }.encode();
        WatchConnectionsResponse { position, resume_token, ..heartbeat }
    }
}

/// Divides the changes of a message's batch over two messages.
fn split(message: &WatchConnectionsResponse, batch: ChangeBatch) -> Vec<WatchConnectionsResponse> {
    let Changes { mut changes, event } = batch.into_inner();
    let rest = changes.split_off(changes.len().min(1));
    let rest = (!rest.is_empty()).then_some(Changes { changes: rest, event: None });
    let bodies = std::iter::once(Changes { changes, event }).chain(rest).map(|part| Body::ChangeBatch(part.into()));
    bodies.map(|body| WatchConnectionsResponse { message: Some(body), ..message.clone() }).collect()
}

/// Refuses a call of another method: the watchers send none.
fn not_a_watch<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("the proxy is for watches"))
}

#[tonic::async_trait]
impl ConnectionService for SpoilingProxy {
    type WatchConnectionsStream = WatchMessages;

    async fn watch_connections(
        &self,
        request: Request<WatchConnectionsRequest>,
    ) -> Result<Response<WatchMessages>, Status> {
        let mut request = request.into_inner();
        if self.spoiling == Spoiling::AnyEpoch {
            self.admit(&mut request).await?;
        }
        let messages = self.watch(request).await?;
        Ok(Response::new(self.spoilt(messages)))
    }

    async fn get_connection(
        &self,
        _: Request<GetConnectionRequest>,
    ) -> Result<Response<GetConnectionResponse>, Status> {
        not_a_watch()
    }

    async fn batch_get_connections(
        &self,
        _: Request<BatchGetConnectionsRequest>,
    ) -> Result<Response<BatchGetConnectionsResponse>, Status> {
        not_a_watch()
    }

    async fn list_connections(
        &self,
        _: Request<ListConnectionsRequest>,
    ) -> Result<Response<ListConnectionsResponse>, Status> {
        not_a_watch()
    }

    async fn summarize_connections(
        &self,
        _: Request<SummarizeConnectionsRequest>,
    ) -> Result<Response<SummarizeConnectionsResponse>, Status> {
        not_a_watch()
    }

    async fn list_connection_events(
        &self,
        _: Request<ListConnectionEventsRequest>,
    ) -> Result<Response<ListConnectionEventsResponse>, Status> {
        not_a_watch()
    }
}
