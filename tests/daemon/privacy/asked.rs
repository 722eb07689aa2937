//! Requests at the gRPC port with confidential text wherever they can have it, and their refusals.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use cleat::proto::admin_service_client::AdminServiceClient;
use cleat::proto::connection_service_client::ConnectionServiceClient;
use cleat::proto::event_service_client::EventServiceClient;
use cleat::proto::export_service_client::ExportServiceClient;
use cleat::proto::get_event_request::Event as Which;
use cleat::proto::read_consistency::Requirement;
use cleat::proto::watch_start::Position;
use cleat::proto::{
    Connection, ConnectionFilter, ExportFilter, GetConnectionRequest, GetEventRequest, GetExportRequest,
    ImportEventsRequest, ImportEventsResponse, ListConnectionsRequest, ListExportsRequest, ReadConsistency,
    WatchConnectionsRequest, WatchStart,
};
use tonic::{Code, Request, Response, Status};

use super::WORD;
use crate::support::{Api, Daemon};

fn marked<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", "Bearer sentinel".parse().unwrap());
    request.metadata_mut().insert("sentinel", "sentinel".parse().unwrap());
    request
}

fn word() -> String {
    WORD.to_owned()
}

fn sentinels() -> ConnectionFilter {
    ConnectionFilter { external_ids: vec![word()], platform_types: vec![word()], ..Default::default() }
}

/// Returns all texts of a status.
fn refusal<T>(code: Code, answer: Result<Response<T>, Status>) -> String {
    let Err(status) = answer else { panic!("it was answered, not refused with {code:?}") };
    assert_eq!(status.code(), code, "{status}");
    format!("{status:?} {} {}", status.message(), String::from_utf8_lossy(status.details()))
}

pub fn all(daemon: &Daemon) -> Vec<String> {
    let api = Api::connect(daemon.grpc);
    answered(&api);
    let mut refusals = connections(&api);
    refusals.extend(others(&api));
    refusals.extend(left_out(&api));
    refusals.push(no_grpc(daemon));
    refusals
}

/// Makes requests that are answered. Their results may go to the caller, and nowhere else.
fn answered(api: &Api) {
    let mut client = ConnectionServiceClient::new(api.channel());
    let everything = api.connections();
    assert!(everything.iter().any(|connection: &Connection| connection.org_connection_id.contains(WORD)));
    let request =
        GetConnectionRequest { org_connection_id: everything[0].org_connection_id.clone(), ..Default::default() };
    api.wait(client.get_connection(marked(request))).unwrap();
    let request = ListConnectionsRequest { filter: Some(sentinels()), ..Default::default() };
    assert!(api.wait(client.list_connections(marked(request))).unwrap().into_inner().connections.is_empty());
    let start = Some(WatchStart { position: Some(Position::Snapshot(true)) });
    let request = WatchConnectionsRequest { start, filter: Some(sentinels()), ..Default::default() };
    let mut watch = api.wait(client.watch_connections(marked(request))).unwrap().into_inner();
    assert!(api.wait(watch.message()).unwrap().is_some());
    let exports = ListExportsRequest::default();
    let exports = api.wait(ExportServiceClient::new(api.channel()).list_exports(marked(exports))).unwrap().into_inner();
    assert!(exports.exports.iter().any(|export| export.links.iter().any(|link| link.url.contains(WORD))));
    assert!(api.event(api.head()).body.len() > WORD.len());
    let payload = serde_json::json!({"api_mode": "live", "type": word(), "id": word(), "data": {"task_id": word()}});
    assert_eq!(import(api, payload.to_string()).unwrap().into_inner().imported, 1);
    // The same key with another word: a conflict.
    let other = payload.to_string().replace("\"task_id\":\"sentinel\"", "\"task_id\":\"other sentinel\"");
    assert_eq!(import(api, other).unwrap().into_inner().conflicts, 1);
}

fn connections(api: &Api) -> Vec<String> {
    let mut client = ConnectionServiceClient::new(api.channel());
    let token = ReadConsistency { requirement: Some(Requirement::AtLeastAsFresh(word())), max_wait: None };
    let gets = [
        (Code::NotFound, GetConnectionRequest { org_connection_id: word(), ..Default::default() }),
        (
            Code::PermissionDenied,
            GetConnectionRequest { tenant: word(), org_connection_id: word(), ..Default::default() },
        ),
        (
            Code::InvalidArgument,
            GetConnectionRequest { org_connection_id: word(), consistency: Some(token), ..Default::default() },
        ),
    ];
    let mut refusals = Vec::new();
    for (code, request) in gets {
        refusals.push(refusal(code, api.wait(client.get_connection(marked(request)))));
    }
    let filter = |external_ids| Some(ConnectionFilter { external_ids, ..Default::default() });
    let lists = [
        ListConnectionsRequest { page_token: word(), ..Default::default() },
        ListConnectionsRequest { filter: filter(vec![WORD.repeat(1000)]), ..Default::default() },
        ListConnectionsRequest { filter: filter(vec![word(); 101]), ..Default::default() },
    ];
    for request in lists {
        refusals.push(refusal(Code::InvalidArgument, api.wait(client.list_connections(marked(request)))));
    }
    let start = Some(WatchStart { position: Some(Position::ResumeToken(word())) });
    let request = WatchConnectionsRequest { start, filter: Some(sentinels()), ..Default::default() };
    refusals.push(refusal(Code::InvalidArgument, api.wait(client.watch_connections(marked(request)))));
    refusals
}

fn import(api: &Api, payload: String) -> Result<Response<ImportEventsResponse>, Status> {
    let request = ImportEventsRequest { payloads: vec![payload.into()], ..Default::default() };
    api.wait(AdminServiceClient::new(api.channel()).import_events(marked(tokio_stream::once(request))))
}

/// Returns the problems of payloads that an import leaves out, as its answers give them.
fn left_out(api: &Api) -> Vec<String> {
    let payloads =
        [word(), format!("\"{WORD}\""), format!("{{\"{WORD}\":\"{WORD}\"}}"), format!(r#"{{"type":"{WORD}"}}"#)];
    let responses = payloads.map(|payload| import(api, payload).unwrap().into_inner());
    assert!(responses.iter().all(|response| response.refused == 1));
    responses.iter().map(|response| response.refused_payloads[0].problem.clone()).collect()
}

fn others(api: &Api) -> [String; 4] {
    let mut exports = ExportServiceClient::new(api.channel());
    let mut events = EventServiceClient::new(api.channel());
    let get = GetExportRequest { task_id: word(), ..Default::default() };
    let filter = ExportFilter { org_connection_ids: vec![WORD.repeat(1000)], ..Default::default() };
    let list = ListExportsRequest { filter: Some(filter), ..Default::default() };
    let key = |key: &str| GetEventRequest { tenant: String::new(), event: Some(Which::EventKey(key.to_owned())) };
    [
        refusal(Code::NotFound, api.wait(exports.get_export(marked(get)))),
        refusal(Code::InvalidArgument, api.wait(exports.list_exports(marked(list)))),
        refusal(Code::NotFound, api.wait(events.get_event(marked(key("id:another sentinel"))))),
        refusal(Code::NotFound, api.wait(events.get_event(marked(key("sentinel"))))),
    ]
}

/// Sends a request in another protocol than HTTP/2, and returns the answer.
fn no_grpc(daemon: &Daemon) -> String {
    let mut stream = TcpStream::connect(daemon.grpc).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
        .write_all(b"POST /sentinel HTTP/1.1\r\nhost: sentinel\r\nconnection: close\r\nsentinel: sentinel\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => String::from_utf8_lossy(&answer).into_owned(),
    }
}
