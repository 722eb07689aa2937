//! The handle of a backfill: the endpoints that events may come to, and the log. Knows nothing of single events.

use std::sync::Arc;

use crate::config::Webhooks;
use crate::event::{ApiMode, Nonces};
use crate::log::{AppendError, ReadError, Reader, WeakAppender};

/// Why a backfill ends early. Events imported until then stay.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    #[error("the log is closed")]
    Closed,
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the task that reads the log panicked")]
    Panicked,
    #[error("a dry run takes at most 1000000 different events; give it a part of them")]
    TooManyKeys,
}

/// A cheap handle. It does not keep the log open.
#[derive(Clone)]
pub struct Backfill {
    pub(super) endpoints: Arc<[BackfillEndpoint]>,
    pub(super) body_limit: usize,
    pub(super) reader: Reader,
    pub(super) appender: WeakAppender,
    pub(super) nonces: Nonces,
}

/// The configuration of a webhook endpoint, without its secrets.
#[derive(Clone)]
pub(super) struct BackfillEndpoint {
    pub name: String,
    pub tenant: String,
    pub api_mode: Option<ApiMode>,
}

impl Backfill {
    pub fn new(config: &Webhooks, reader: Reader, appender: WeakAppender, nonces: Nonces) -> Self {
        let endpoints = config.endpoints.iter().map(|endpoint| BackfillEndpoint {
            name: endpoint.name.clone(),
            tenant: endpoint.tenant.clone(),
            api_mode: endpoint.api_mode,
        });
        let body_limit = usize::try_from(config.body_limit.as_u64()).unwrap_or(usize::MAX);
        Self { endpoints: endpoints.collect(), body_limit, reader, appender, nonces }
    }
}

/// Runs a read of the log on a thread that may block.
pub(super) async fn off_runtime<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, BackfillError> {
    Ok(tokio::task::spawn_blocking(read).await.map_err(|_| BackfillError::Panicked)??)
}
