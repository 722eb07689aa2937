//! `send`: signs and posts a webhook like Fasten's, as a new user needs first.

use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use cleat::config::DEVELOPMENT_SECRET;
use cleat::ingest::LOCAL_TOOL_MARK;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use sha2::Sha256;
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::client::Unreachable;
use super::{print, serve};

/// Timeout of the whole exchange: the daemon answers or refuses within its `request_timeout`, which is less by default.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Args)]
pub(super) struct Send {
    /// What to send.
    #[arg(value_enum, default_value = "connection-success")]
    kind: Kind,
    /// The webhook address of a running daemon.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7480")]
    address: String,
    /// The endpoint to post to.
    #[arg(long, default_value = "fasten")]
    endpoint: String,
    /// The signing secret; the default is the published one for development. With one of your own, a daemon whose clock nothing
    /// confirms refuses the webhook (`CLOCK_REFUSED`): this command signs by the same clock.
    #[arg(long, env = "CLEAT_SECRET", default_value = DEVELOPMENT_SECRET, hide_env_values = true, hide_default_value = true)]
    secret: String,
    /// The connection that the webhook is about.
    #[arg(long, value_name = "ID", default_value = "conn-1")]
    connection: String,
    /// Your own id of the patient.
    #[arg(long, value_name = "ID", default_value = "patient-1")]
    external_id: String,
    /// Send it in Fasten's test mode.
    #[arg(long)]
    test: bool,
    /// Send this file's bytes as they are, instead.
    #[arg(long, value_name = "FILE")]
    body: Option<std::path::PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    ConnectionSuccess,
    AuthorizationRevoked,
    ExportSuccess,
    ExportFailed,
    Test,
}

#[derive(Debug, thiserror::Error)]
#[error("answered {status}: {answer}")]
pub(super) struct Refused {
    status: StatusCode,
    answer: String,
}

impl Refused {
    /// Whether the same webhook may be taken later.
    pub fn for_now(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
    }
}

impl Send {
    pub async fn run(self) -> anyhow::Result<()> {
        let id = format!("{:032x}", rand::random::<u128>());
        let body = match &self.body {
            Some(path) => std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
            None => self.sample(&id).to_string().into_bytes(),
        };
        // The door takes the development secret only with this mark.
        let (status, answer) = self.post(&format!("{LOCAL_TOOL_MARK}{id}"), body).await?;
        if status.is_success() {
            return print::line(&answer);
        }
        Err(Refused { status, answer }.into())
    }

    fn sample(&self, id: &str) -> serde_json::Value {
        let connection = &self.connection;
        let task = format!("task-{}", &id[..12]);
        let (kind, data) = match self.kind {
            Kind::ConnectionSuccess => (
                "patient.connection_success",
                serde_json::json!({ "org_connection_id": connection, "endpoint_id": "endpoint-1", "brand_id": "brand-1",
                    "portal_id": "portal-1", "connection_status": "authorized", "platform_type": "epic",
                    "request_id": format!("request-{}", &id[..12]), "external_id": self.external_id,
                    "external_state": format!("attempt-{}", &id[..12]), "scope": "openid fhirUser patient/*.read" }),
            ),
            Kind::AuthorizationRevoked => (
                "patient.authorization_revoked",
                serde_json::json!({ "org_connection_id": connection, "platform_type": "epic",
                    "connection_status": "revoked" }),
            ),
            Kind::ExportSuccess => (
                "patient.ehi_export_success",
                serde_json::json!({ "org_connection_id": connection, "task_id": task, "org_id": "org-1",
                    "download_links": [{ "url": format!("https://example.org/exports/{task}.jsonl"),
                        "export_type": "jsonl", "content_type": "application/fhir+ndjson" }],
                    "stats": { "total_resources": 42, "total_by_resource_type": { "Patient": 1, "Observation": 41 } } }),
            ),
            Kind::ExportFailed => (
                "patient.ehi_export_failed",
                serde_json::json!({ "org_connection_id": connection, "task_id": task, "org_id": "org-1",
                    "failure_reason": "suppressed_please_contact" }),
            ),
            Kind::Test => ("webhook.test", serde_json::json!({ "hello": "world", "random": id })),
        };
        let mode = if self.test { "test" } else { "live" };
        let date = serve::now().to_string();
        serde_json::json!({ "api_mode": mode, "date": date, "id": id, "type": kind, "data": data })
    }

    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> anyhow::Result<String> {
        let secret = self.secret.strip_prefix("whsec_").unwrap_or(&self.secret);
        let key = Zeroizing::new(STANDARD.decode(secret).map_err(|_| anyhow::anyhow!("the secret is not base64"))?);
        let mut mac = Hmac::<Sha256>::new_from_slice(&key)?;
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    }

    async fn post(&self, id: &str, body: Vec<u8>) -> anyhow::Result<(StatusCode, String)> {
        let timestamp = serve::now().as_second();
        let request = Request::post(format!("/webhooks/{}", self.endpoint))
            .header("host", &self.address)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", self.sign(id, timestamp, &body)?)
            .body(Full::new(Bytes::from(body)))?;
        let unanswered = |source| Unreachable { port: "webhook door", address: self.address.clone(), source };
        let exchange = tokio::time::timeout(PATIENCE, exchange(&self.address, request));
        let answered = exchange.await.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}").into()));
        Ok(answered.map_err(unanswered)?)
    }
}

/// Sends one request and returns its answer. An error means that no answer came, not that the webhook was not taken.
async fn exchange(
    address: &str,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, String), Box<dyn std::error::Error + std::marker::Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let answered = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&answer).into_owned()))
    };
    tokio::pin!(answered);
    tokio::select! {
        answered = &mut answered => answered,
        // The connection ends with its error, if it has one, before the answer does.
        closed = connection => {
            closed?;
            answered.await
        }
    }
}
