//! Single reads: each returns a state from one position, and a token to read at least that position again.

use cleat::event::ModeVerdict;
use cleat::proto::get_event_request::Event as Asked;
use cleat::proto::{
    ApiMode, ConnectionStatus, ExportStatus, GetConnectionRequest, GetEventRequest, GetExportRequest, GetHeadRequest,
    GetStatusRequest, Provenance, ServingState,
};
use tokio_stream::StreamExt as _;

use crate::support::*;

fn get(connection: &str) -> GetConnectionRequest {
    GetConnectionRequest { org_connection_id: connection.into(), ..Default::default() }
}

#[tokio::test]
async fn a_caller_reads_what_it_wrote_with_the_token_of_its_append() {
    let api = TestApi::open().await;
    for round in 1..=50_u64 {
        let appended = api.append(&connected(&format!("e{round}"), "c", "x", "authorized")).await;
        let request = GetConnectionRequest { consistency: Some(at_least(api.token(&appended))), ..get("c") };
        let answer = api.connections().get_connection(request).await.unwrap().into_inner();
        assert_eq!(answer.connection.unwrap().version, round);
        assert!(answer.position >= appended.position);
    }
}

#[tokio::test]
async fn token_of_any_answer_serves_later_reads_even_when_old() {
    let api = TestApi::with(Setup { ring_len: 1, ..Setup::default() }).await;
    let first = api.append(&connected("e1", "c", "x", "authorized")).await;
    let request = GetConnectionRequest { consistency: Some(at_least(api.token(&first))), ..get("c") };
    let token = api.connections().get_connection(request).await.unwrap().into_inner().read_token;
    for round in 2..9 {
        api.append(&connected(&format!("e{round}"), "c", "x", "authorized")).await;
    }
    for consistency in [at_least(token), fully()] {
        let request = GetConnectionRequest { consistency: Some(consistency), ..get("c") };
        api.connections().get_connection(request).await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_shows_all_that_is_known_of_it() {
    let api = TestApi::open().await;
    api.append(&connected("e1", "c", "x", "authorized")).await;
    api.append(&revoked("e2", "c")).await;
    api.append(&connected("e3", "c", "", "authorized")).await;
    let request = GetConnectionRequest { consistency: Some(fully()), ..get("c") };
    let answer = api.connections().get_connection(request).await.unwrap().into_inner();
    let connection = answer.connection.unwrap();
    assert_eq!((connection.tenant.as_str(), connection.api_mode()), ("acme", ApiMode::Live));
    assert_eq!(
        (connection.status(), connection.reported_status.as_str()),
        (ConnectionStatus::Authorized, "authorized")
    );
    assert_eq!((connection.external_id.as_str(), connection.platform_type.as_str()), ("x", "epic"));
    assert_eq!(connection.consent_expires_at.unwrap().seconds, 1_785_801_600);
    assert_eq!((connection.version, connection.first_position, connection.last_position), (3, 1, 3));
    assert_eq!((connection.reconnect_count, connection.last_reconnected_at), (1, connection.last_recorded_at));
    assert_eq!(connection.status_recorded_at, connection.last_recorded_at);
    assert!(connection.first_recorded_at.unwrap().seconds < connection.last_recorded_at.unwrap().seconds);
}

#[tokio::test]
async fn an_export_shows_its_links_and_the_patient_of_its_connection() {
    let api = TestApi::open().await;
    api.append(&exported("e1", "t", "c")).await;
    api.append(&connected("e2", "c", "x", "authorized")).await;
    let request = GetExportRequest { task_id: "t".into(), consistency: Some(fully()), ..Default::default() };
    let export = api.exports().get_export(request).await.unwrap().into_inner().export.unwrap();
    assert_eq!((export.status(), export.external_id.as_str()), (ExportStatus::Ready, "x"));
    assert_eq!((export.links[0].url.as_str(), export.links[0].export_type.as_str()), ("https://x.test/1", "jsonl"));
    assert_eq!((export.stats.unwrap().total_resources, export.org_id.as_str()), (Some(12), "o"));
    let receipt = export.first_recorded_at.unwrap();
    assert_eq!(export.deadline.unwrap().seconds - receipt.seconds, 24 * 60 * 60);
}

#[tokio::test]
async fn event_is_found_by_position_and_key_with_its_bodys_own_bytes() {
    let api = TestApi::open().await;
    let body = exported("e1", "t", "c");
    api.append(&body).await;
    let mismatched = api.append_as("acme", ModeVerdict::Mismatched, &connected("e2", "c", "x", "authorized")).await;
    for asked in [Asked::Position(1), Asked::EventKey("id:e1".into())] {
        let request = GetEventRequest { event: Some(asked), ..Default::default() };
        let answer = api.events().get_event(request).await.unwrap().into_inner();
        let event = answer.event.unwrap();
        assert_eq!(event.body, serde_json::to_vec(&body).unwrap());
        assert_eq!(
            (event.position, event.event_key.as_str(), event.r#type.as_str()),
            (1, "id:e1", "patient.ehi_export_success")
        );
        assert_eq!((event.provenance(), event.api_mode()), (Provenance::Webhook, ApiMode::Live));
        assert_eq!((event.webhook_id.as_str(), event.secret_label.as_str()), ("whid", "main"));
        assert_eq!(answer.position, 2);
    }
    let request = GetEventRequest { event: Some(Asked::Position(mismatched.position)), ..Default::default() };
    let event = api.events().get_event(request).await.unwrap().into_inner().event.unwrap();
    assert_eq!(
        (event.mode_verdict().as_str_name(), event.api_mode()),
        ("MODE_VERDICT_MISMATCHED", ApiMode::Unspecified)
    );
}

#[tokio::test]
async fn head_and_status_show_where_the_log_is() {
    let api = TestApi::open().await;
    let status = api.admin().get_status(GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.head_position, status.head_recorded_at), (0, None));

    let appended = api.append(&exported("e1", "t", "c")).await;
    let head = api.events().get_head(GetHeadRequest {}).await.unwrap().into_inner();
    assert_eq!((head.position, head.chain_hash.as_slice()), (1, &appended.reached.chain[..]));
    assert_eq!((head.log_id.len(), head.epoch.as_str()), (32, "00000000000000000000000000000008"));

    let request = GetConnectionRequest { consistency: Some(at_least(head.read_token)), ..get("c") };
    api.connections().get_connection(request).await.unwrap();
    let status = api.admin().get_status(GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.state(), status.connections, status.exports), (ServingState::Serving, 1, 1));
    assert_eq!((status.views_position, status.started_at.unwrap().seconds), (1, 5));
}

#[tokio::test]
async fn reflection_and_health_answer() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let api = TestApi::open().await;
    for service in ["", "cleat.v1.ConnectionService", "cleat.v1.EventService", "cleat.v1.AdminService"] {
        let request = HealthCheckRequest { service: service.into() };
        let health = HealthClient::new(api.channel.clone()).check(request).await.unwrap().into_inner();
        assert_eq!(health.status().as_str_name(), "SERVING", "{service}");
    }

    let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let requests = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("google.rpc.ErrorInfo".into())),
    ];
    let mut client = ServerReflectionClient::new(api.channel.clone());
    let mut answers = client.server_reflection_info(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let services = answers.next().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(services) = services else { panic!("it lists services") };
    assert!(services.service.iter().any(|service| service.name == "cleat.v1.ExportService"));
    let errors = answers.next().await.unwrap().unwrap().message_response.unwrap();
    assert!(matches!(errors, MessageResponse::FileDescriptorResponse(_)), "error details can be printed");
}
