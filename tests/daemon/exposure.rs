//! Access to the API off loopback, where it does not authenticate callers.

use cleat::proto::admin_service_client::AdminServiceClient;
use cleat::proto::event_service_client::EventServiceClient;
use cleat::proto::export_service_client::ExportServiceClient;
use cleat::proto::{
    Event, GetExportLinksRequest, GetStatusRequest, ImportEventsRequest, ListRejectedDeliveriesRequest,
    ReadEventsRequest, ReadmitEventsRequest, RebuildViewsRequest, WatchEventsRequest, WatchStart,
    watch_events_response::Message, watch_start::Position,
};
use tonic::{Code, Response, Status};

use crate::support::{Addresses, Api, Cli, Launch, Sender, until};

/// A secret other than the development secret, which is refused off loopback.
const SECRET: &str = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";

fn config(grpc_key: &str) -> String {
    format!(
        "[data]\ncreate = true\n[webhooks]\nlisten = \"127.0.0.1:0\"\n[[webhooks.endpoints]]\nname = \"fasten\"\nsecrets = [\"{SECRET}\"]\n\
         [operations]\nlisten = \"127.0.0.1:0\"\n[grpc]\nlisten = \"0.0.0.0:0\"\n{grpc_key}\n"
    )
}

#[track_caller]
fn is_denied<T>(answer: Result<Response<T>, Status>) {
    assert_eq!(answer.err().map(|status| status.code()), Some(Code::PermissionDenied));
}

fn administers_nothing(api: &Api) {
    let mut admin = AdminServiceClient::new(api.channel());
    is_denied(api.wait(admin.get_status(GetStatusRequest {})));
    is_denied(api.wait(admin.list_rejected_deliveries(ListRejectedDeliveriesRequest::default())));
    is_denied(api.wait(admin.rebuild_views(RebuildViewsRequest {})));
    is_denied(api.wait(admin.import_events(tokio_stream::iter([ImportEventsRequest::default()]))));
    is_denied(api.wait(admin.readmit_events(ReadmitEventsRequest { positions: vec![1], ..Default::default() })));
}

/// Returns the first event as shown by each method that returns events.
fn events(api: &Api) -> [Event; 3] {
    let mut events = EventServiceClient::new(api.channel());
    let mut read = api.wait(events.read_events(ReadEventsRequest::default())).unwrap().into_inner();
    let read = api.wait(read.message()).unwrap().unwrap().events.remove(0);
    let start = Some(WatchStart { position: Some(Position::AfterPosition(0)) });
    let request = WatchEventsRequest { start, ..Default::default() };
    let mut watch = api.wait(events.watch_events(request)).unwrap().into_inner();
    let watched = loop {
        if let Some(Message::EventBatch(batch)) = api.wait(watch.message()).unwrap().unwrap().message {
            break batch.events[0].clone();
        }
    };
    [api.event(1), read, watched]
}

#[test]
fn a_read_only_api_shows_state_and_neither_bodies_nor_admin() {
    let directory = tempfile::tempdir().unwrap();
    let launch = Launch { grpc_keys: "unauthenticated = \"read-only\"", ..Launch::new(directory.path()) };
    let daemon = launch.start().ready();
    let body = include_bytes!("../fixtures/ehi_export_success.2026.json");
    Sender::connect(daemon.webhooks).unwrap().deliver("msg_1", body).unwrap().taken();
    let api = Api::connect(daemon.grpc);
    administers_nothing(&api);
    assert_eq!((api.head(), api.connections().len()), (1, 1));
    for event in events(&api) {
        assert_eq!((event.position, event.body.len()), (1, 0), "{event:?}");
    }
    let task_id = "00c9aa11bb22cc33dd44ee55ff660077".to_owned();
    let mut exports = ExportServiceClient::new(api.channel());
    let links = api.wait(exports.get_export_links(GetExportLinksRequest { task_id, ..Default::default() }));
    assert!(!links.unwrap().into_inner().links.is_empty());
}

#[test]
fn off_loopback_the_api_starts_only_read_only() {
    let directory = tempfile::tempdir().unwrap();
    let cli = Cli::in_directory(directory.path());
    let file = directory.path().join("cleat.toml");
    let serve = ["serve", "--config", file.to_str().unwrap()];
    std::fs::write(&file, config("")).unwrap();
    for command in ["check-config", "serve"] {
        let refused = cli.call(&[command, serve[1], serve[2]]);
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""));
        assert!(refused.stderr.contains("grpc.unauthenticated = \"read-only\""), "{}", refused.stderr);
    }
    assert!(!directory.path().join("data").exists());

    std::fs::write(&file, config("unauthenticated = \"read-only\"")).unwrap();
    let daemon = cli.runs(&serve);
    let mut listening = None;
    until("it listens", || {
        listening = Addresses::in_log(&daemon.stderr());
        listening.is_some()
    });
    let listening = listening.unwrap();
    assert!(listening.grpc.ip().is_unspecified());
    let api = Api::connect((std::net::Ipv4Addr::LOCALHOST, listening.grpc.port()).into());
    administers_nothing(&api);
    assert_eq!(api.head(), 0);
}
