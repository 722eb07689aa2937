//! Errors: each has its code and its reason, and says when to try again if that may help.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use cleat::event::{Cursor, Identity};
use cleat::fold::Fold;
use cleat::proto::get_event_request::Event as Asked;
use cleat::proto::read_consistency::Requirement;
use cleat::proto::watch_start::Position as Start;
use cleat::proto::{
    ConnectionFilter, GetConnectionRequest, GetEventRequest, GetExportRequest, GetHeadRequest, GetStatusRequest,
    ListConnectionEventsRequest, ListConnectionsRequest, ListExportsRequest, ReadConsistency, WatchConnectionsRequest,
    WatchStart,
};
use cleat::serve::{Principal, ServingState};
use cleat::token::Token;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::sync::watch;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::service::interceptor::InterceptedService;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;

use crate::support::*;

fn invalid(reason: &str) -> (Code, String, bool) {
    (Code::InvalidArgument, reason.into(), false)
}

fn unavailable(reason: &str) -> (Code, String, bool) {
    (Code::Unavailable, reason.into(), true)
}

fn start(position: Start) -> WatchConnectionsRequest {
    WatchConnectionsRequest { start: Some(WatchStart { position: Some(position) }), ..Default::default() }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let api = TestApi::open().await;
    let answer = api.connections().get_connection(GetConnectionRequest::default()).await;
    assert_eq!(refused(answer), (Code::NotFound, "CONNECTION_NOT_FOUND".into(), false));
    let answer = api.exports().get_export(GetExportRequest::default()).await;
    assert_eq!(refused(answer), (Code::NotFound, "EXPORT_NOT_FOUND".into(), false));
    for asked in [Asked::Position(0), Asked::Position(9), Asked::EventKey("id:e".into())] {
        let answer = api.events().get_event(GetEventRequest { event: Some(asked), ..Default::default() }).await;
        assert_eq!(refused(answer), (Code::NotFound, "EVENT_NOT_FOUND".into(), false));
    }
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

#[tokio::test]
async fn filters_by_the_time_of_asking_are_for_lists_only() {
    let api = TestApi::open().await;
    let since = Some(prost_types::Timestamp::default());
    for filter in [
        ConnectionFilter { awaiting_export_for: Some(seconds(1)), ..Default::default() },
        ConnectionFilter { changed_after: since, ..Default::default() },
    ] {
        let request = WatchConnectionsRequest { filter: Some(filter), ..Default::default() };
        assert_eq!(refused(api.connections().watch_connections(request).await), invalid("INVALID_FILTER"));
    }
}

#[tokio::test]
async fn filters_and_fields_are_checked() {
    let api = TestApi::open().await;
    for filter in [
        ConnectionFilter { external_ids: vec!["x".into(); 101], ..Default::default() },
        ConnectionFilter { external_ids: vec![String::new()], ..Default::default() },
        ConnectionFilter { platform_types: vec!["x".repeat(2049)], ..Default::default() },
        ConnectionFilter { awaiting_export_for: Some(seconds(-1)), ..Default::default() },
        ConnectionFilter { awaiting_export_for: Some(seconds(400 * 24 * 3600)), ..Default::default() },
        ConnectionFilter { statuses: vec![0], ..Default::default() },
        ConnectionFilter { statuses: vec![99], ..Default::default() },
        ConnectionFilter { statuses: vec![2; 11], ..Default::default() },
    ] {
        let request = ListConnectionsRequest { filter: Some(filter.clone()), ..Default::default() };
        assert_eq!(refused(api.connections().list_connections(request).await), invalid("INVALID_FILTER"));
        let request = WatchConnectionsRequest { filter: Some(filter), ..Default::default() };
        assert_eq!(refused(api.connections().watch_connections(request).await), invalid("INVALID_FILTER"));
    }
    for page_size in [-1, 1001] {
        let request = ListExportsRequest { page_size, ..Default::default() };
        assert_eq!(refused(api.exports().list_exports(request).await), invalid("INVALID_FIELD"));
    }
    let request = GetConnectionRequest { api_mode: 7, ..Default::default() };
    assert_eq!(refused(api.connections().get_connection(request).await), invalid("INVALID_FIELD"));
    let answer = api.events().get_event(GetEventRequest::default()).await;
    assert_eq!(refused(answer), invalid("INVALID_FIELD"));
    let heartbeat_interval = Some(prost_types::Duration { seconds: 0, nanos: 1 });
    let request = WatchConnectionsRequest { heartbeat_interval, ..Default::default() };
    assert_eq!(refused(api.connections().watch_connections(request).await), invalid("INVALID_FIELD"));
    for position in [Start::Snapshot(false), Start::Live(false)] {
        assert_eq!(refused(api.connections().watch_connections(start(position)).await), invalid("INVALID_FIELD"));
    }
    let consistency = Some(ReadConsistency { requirement: Some(Requirement::FullyConsistent(false)), max_wait: None });
    let request = GetConnectionRequest { consistency, ..Default::default() };
    assert_eq!(refused(api.connections().get_connection(request).await), invalid("INVALID_FIELD"));
    let request = WatchConnectionsRequest { kinds: vec![0], ..Default::default() };
    assert_eq!(refused(api.connections().watch_connections(request).await), invalid("INVALID_FIELD"));
}

#[tokio::test]
async fn a_page_token_is_of_one_list_only() {
    let api = TestApi::open().await;
    for number in 0..3 {
        api.append(&connected(&format!("e{number}"), &format!("c{number}"), "x", "authorized")).await;
    }
    let request = ListConnectionsRequest { page_size: 1, consistency: Some(fully()), ..Default::default() };
    let page_token = api.connections().list_connections(request).await.unwrap().into_inner().next_page_token;
    let filter = Some(ConnectionFilter { external_ids: vec!["x".into()], ..Default::default() });
    for request in [
        ListConnectionsRequest { page_token: page_token.clone(), filter, ..Default::default() },
        ListConnectionsRequest { page_token: page_token.clone(), api_mode: 2, ..Default::default() },
        ListConnectionsRequest { page_token: page_token[1..].to_owned(), ..Default::default() },
        ListConnectionsRequest { page_token: "?".into(), ..Default::default() },
    ] {
        assert_eq!(refused(api.connections().list_connections(request).await), invalid("INVALID_PAGE_TOKEN"));
    }
    let request = ListExportsRequest { page_token, ..Default::default() };
    assert_eq!(refused(api.exports().list_exports(request).await), invalid("INVALID_PAGE_TOKEN"));
}

#[tokio::test]
async fn a_page_token_is_of_one_log_only() {
    let (mut tokens, mut logs) = (Vec::new(), Vec::new());
    for epoch in [8, 9] {
        let api = TestApi::of(Identity { log_id: 7, epoch }).await;
        for number in 0..3 {
            api.append(&connected(&format!("e{number}"), &format!("c{number}"), "x", "authorized")).await;
        }
        let request = ListConnectionsRequest { page_size: 1, consistency: Some(fully()), ..Default::default() };
        tokens.push(api.connections().list_connections(request).await.unwrap().into_inner().next_page_token);
        logs.push(api);
    }
    let foreign = ListConnectionsRequest { page_token: tokens[0].clone(), ..Default::default() };
    assert_eq!(refused(logs[1].connections().list_connections(foreign).await), invalid("INVALID_PAGE_TOKEN"));
}

#[tokio::test]
async fn a_forged_page_token_is_refused_as_one() {
    let api = TestApi::open().await;
    for number in 1..=3 {
        api.append(&connected(&format!("e{number}"), "c", "x", "authorized")).await;
    }
    api.append(&connected("e4", "other", "x", "authorized")).await;
    let first = ListConnectionEventsRequest {
        org_connection_id: "c".into(),
        page_size: 1,
        consistency: Some(fully()),
        ..Default::default()
    };
    let page_token =
        api.connections().list_connection_events(first.clone()).await.unwrap().into_inner().next_page_token;
    // The position of another connection's event, one after the head, one before the first, and no position.
    for place in ["4", "9", "0", "x"] {
        let page_token = forged(&page_token, None, place);
        let request = ListConnectionEventsRequest { page_token, consistency: None, ..first.clone() };
        assert_eq!(refused(api.connections().list_connection_events(request).await), invalid("INVALID_PAGE_TOKEN"));
    }
    let ahead = forged(&page_token, Some(9), "9");
    let request = ListConnectionEventsRequest { page_token: ahead, consistency: None, ..first };
    assert_eq!(refused(api.connections().list_connection_events(request).await), invalid("INVALID_PAGE_TOKEN"));

    let list = ListConnectionsRequest { page_size: 1, ..Default::default() };
    let page_token = api.connections().list_connections(list.clone()).await.unwrap().into_inner().next_page_token;
    let request = ListConnectionsRequest { page_token: forged(&page_token, Some(9), "c"), ..list };
    assert_eq!(refused(api.connections().list_connections(request).await), invalid("INVALID_PAGE_TOKEN"));
}

/// Returns a token of the same list with another position or place, and a correct checksum.
fn forged(token: &str, position: Option<u64>, place: &str) -> String {
    let bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
    let mut forged = bytes[..25].to_vec();
    if let Some(position) = position {
        forged[9..17].copy_from_slice(&position.to_be_bytes());
    }
    forged.extend(place.as_bytes());
    forged.extend(crc32c::crc32c(&forged).to_be_bytes());
    URL_SAFE_NO_PAD.encode(forged)
}

#[tokio::test]
async fn a_read_token_must_be_of_this_history() {
    let api = TestApi::open().await;
    let first = api.append(&connected("e1", "c", "x", "authorized")).await;
    api.append(&connected("e2", "c", "x", "authorized")).await;
    let get = async |token: String| {
        let consistency = Some(at_least(token));
        let request = GetConnectionRequest { org_connection_id: "c".into(), consistency, ..Default::default() };
        api.connections().get_connection(request).await
    };
    get(api.token(&first)).await.unwrap();
    let changed = (Code::FailedPrecondition, "LOG_EPOCH_CHANGED".to_owned(), false);
    let restored = Identity { epoch: 9, ..api.reader.identity() };
    assert_eq!(refused(get(Token::read(restored, Cursor::new(1, &first.reached.chain)).encode()).await), changed);
    assert_eq!(refused(get(Token::read(api.reader.identity(), Cursor::new(1, &[0; 32])).encode()).await), changed);
    assert_eq!(refused(get("x".into()).await), invalid("INVALID_READ_TOKEN"));
}

#[tokio::test]
async fn a_read_that_is_not_fresh_in_time_is_stale() {
    let api = TestApi::open().await;
    let mut consistency = at_least(Token::read(api.reader.identity(), Cursor::new(5, &[0; 32])).encode());
    consistency.max_wait = Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 });
    let request = GetConnectionRequest { consistency: Some(consistency.clone()), ..Default::default() };
    assert_eq!(refused(api.connections().get_connection(request).await), unavailable("STALE_READ"));
    consistency.max_wait = Some(prost_types::Duration { seconds: 61, nanos: 0 });
    let request = GetConnectionRequest { consistency: Some(consistency), ..Default::default() };
    assert_eq!(refused(api.connections().get_connection(request).await), invalid("INVALID_FIELD"));
}

#[tokio::test]
async fn one_of_several_tenants_must_be_named_and_be_the_callers_own() {
    let principal = Principal::loopback([Arc::from("acme"), Arc::from("other")]);
    let api = TestApi::with(Setup { principal, ..Setup::default() }).await;
    let answer = api.connections().list_connections(ListConnectionsRequest::default()).await;
    assert_eq!(refused(answer), invalid("TENANT_REQUIRED"));
    for answer in [
        refused(api.exports().get_export(GetExportRequest { tenant: "third".into(), ..Default::default() }).await),
        refused(
            api.events().get_event(GetEventRequest { tenant: "third".into(), event: Some(Asked::Position(1)) }).await,
        ),
    ] {
        assert_eq!(answer, (Code::PermissionDenied, "PERMISSION_DENIED".into(), false));
    }
}

#[tokio::test]
async fn watches_are_limited_and_a_closed_one_makes_room() {
    let api = TestApi::with(Setup { watches_max: 1, ..Setup::default() }).await;
    let open = api.connections().watch_connections(start(Start::Live(true))).await.unwrap();
    let answer = api.connections().watch_connections(start(Start::Live(true))).await;
    assert_eq!(refused(answer), (Code::ResourceExhausted, "TOO_MANY_WATCHES".into(), true));
    assert_eq!(api.admin().get_status(GetStatusRequest {}).await.unwrap().into_inner().watches, 1);
    drop(open);
    while api.admin().get_status(GetStatusRequest {}).await.unwrap().into_inner().watches > 0 {
        tokio::task::yield_now().await;
    }
    api.connections().watch_connections(start(Start::Live(true))).await.unwrap();
}

#[tokio::test]
async fn requests_that_no_handler_sees_are_refused_with_a_reason() {
    let api = TestApi::open().await;
    let unknown = call(&api, "/cleat.v1.EventService/Nothing", Vec::new()).await;
    assert_eq!(refused(unknown), (Code::Unimplemented, "UNKNOWN_METHOD".into(), false));
    let unknown = call(&api, "/cleat.v1.NoService/Nothing", Vec::new()).await;
    assert_eq!(refused(unknown), (Code::Unimplemented, "UNKNOWN_METHOD".into(), false));
    // Encoded as a message, the bytes are in the field of the tenant, which is a text.
    let packed = gzip_call(&api, "/cleat.v1.EventService/GetHead").await;
    assert_eq!(refused(packed), (Code::Unimplemented, "COMPRESSED_REQUEST".into(), false));
    let malformed = call(&api, "/cleat.v1.EventService/GetEvent", vec![0xff]).await;
    assert_eq!(refused(malformed), (Code::InvalidArgument, "MALFORMED_REQUEST".into(), false));
    let large = call(&api, "/cleat.v1.EventService/GetEvent", vec![b'x'; 1024 * 1024]).await;
    assert_eq!(refused(large), (Code::OutOfRange, "REQUEST_TOO_LARGE".into(), false));
    let request = HealthCheckRequest { service: "nobody".into() };
    let unknown = HealthClient::new(api.channel.clone()).check(request).await;
    assert_eq!(refused(unknown), (Code::NotFound, "UNKNOWN_SERVICE".into(), false));
}

#[tokio::test]
async fn a_passed_deadline_is_answered_with_its_reason() {
    let api = TestApi::open().await;
    let ahead = Token::read(api.reader.identity(), Cursor::new(9, &[0; 32])).encode();
    let requirement = Some(Requirement::AtLeastAsFresh(ahead));
    let consistency = Some(ReadConsistency { requirement, ..Default::default() });
    let message = GetConnectionRequest { consistency, ..Default::default() }.encode_to_vec();
    let answer = call_within(&api, "20m", "/cleat.v1.ConnectionService/GetConnection", &message).await;
    assert_eq!(refused(answer), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into(), false));
}

/// Calls a method by bare HTTP/2, because gRPC clients enforce deadlines themselves.
async fn call_within(api: &TestApi, timeout: &str, path: &str, message: &[u8]) -> Result<Response<()>, Status> {
    let stream = tokio::net::TcpStream::connect(api.address).await.unwrap();
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let request = hyper::Request::post(format!("http://{}{path}", api.address))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", timeout)
        .body(Full::<Bytes>::from([&[0], &length[..], message].concat()))
        .unwrap();
    let answer = client.send_request(request).await.unwrap();
    connection.abort();
    Err(Status::from_header_map(answer.headers()).expect("no answer but a refusal"))
}

async fn call(api: &TestApi, path: &'static str, message: Vec<u8>) -> Result<Response<()>, Status> {
    let mut client = Grpc::new(api.channel.clone());
    client.ready().await.unwrap();
    client.unary(Request::new(message), PathAndQuery::from_static(path), ProstCodec::default()).await
}

/// Calls a method with the header of a client that compresses, whatever is in the message.
async fn gzip_call(api: &TestApi, path: &'static str) -> Result<Response<()>, Status> {
    let mut client = Grpc::with_origin(
        InterceptedService::new(api.channel.clone(), |mut request: Request<()>| {
            request.metadata_mut().insert("grpc-encoding", "gzip".parse().unwrap());
            Ok(request)
        }),
        format!("http://{}", api.address).parse().unwrap(),
    );
    client.ready().await.unwrap();
    client.unary(Request::new(Vec::<u8>::new()), PathAndQuery::from_static(path), ProstCodec::default()).await
}

#[tokio::test]
async fn the_serving_state_is_the_reason_that_requests_get() {
    let api = TestApi::open().await;
    api.append(&connected("e1", "c", "x", "authorized")).await;
    let get = async || {
        let request = GetConnectionRequest { org_connection_id: "c".into(), ..Default::default() };
        api.connections().get_connection(request).await
    };
    let damaged = (Code::DataLoss, "DATA_DAMAGED".to_owned(), false);
    for (state, expected, name) in [
        (ServingState::CatchingUp { of: 9 }, unavailable("CATCHING_UP"), "SERVING_STATE_CATCHING_UP"),
        (ServingState::Damaged { reason: "from 3".into() }, damaged, "SERVING_STATE_DAMAGED"),
    ] {
        api.state.send_replace(state);
        assert_eq!(refused(get().await), expected);
        assert_eq!(refused(api.exports().list_exports(ListExportsRequest::default()).await), expected);
        let first = GetEventRequest { event: Some(Asked::Position(1)), ..Default::default() };
        api.events().get_event(first).await.expect("the log can be read whatever the state is");
        assert_eq!(refused(api.connections().watch_connections(start(Start::Live(true))).await), expected);
        let status = api.admin().get_status(GetStatusRequest {}).await.unwrap().into_inner();
        assert_eq!((status.state().as_str_name(), status.state_reason.is_empty()), (name, false));
        api.events().get_head(GetHeadRequest {}).await.unwrap();
    }
    api.state.send_replace(ServingState::ReadOnly { reason: "the disk is gone".into() });
    let request = ListConnectionsRequest { consistency: Some(fully()), ..Default::default() };
    api.connections().list_connections(request).await.unwrap();
    get().await.unwrap();
}

#[tokio::test]
async fn unreadable_views_are_never_read_whatever_the_state() {
    let mut fold = Fold::new(10);
    let (publish, views) = watch::channel(fold.progress());
    let api = TestApi::over(views).await;
    let get = GetConnectionRequest { tenant: "acme".into(), org_connection_id: "c".into(), ..Default::default() };
    for _ in 0..2 {
        let answer = api.connections().get_connection(get.clone()).await;
        assert_eq!(refused(answer), (Code::Unavailable, "CATCHING_UP".into(), true));
        let list = ListConnectionsRequest { tenant: "acme".into(), ..Default::default() };
        assert_eq!(refused(api.connections().list_connections(list).await).1, "CATCHING_UP");
        let watch = WatchConnectionsRequest { tenant: "acme".into(), ..Default::default() };
        assert_eq!(refused(api.connections().watch_connections(watch).await).1, "CATCHING_UP");
        // A fold that fails replaces readable views in this way.
        publish.send_replace(views_of([connected("e1", "c", "x", "authorized")], 10));
        assert!(api.connections().get_connection(get.clone()).await.is_ok());
        publish.send_replace(Fold::new(10).progress());
    }
}
