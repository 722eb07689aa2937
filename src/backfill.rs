//! Events that enter the log other than through the webhook door: an operator's payloads without signatures, and events
//! that applied to no mode, which are appended again.
//!
//! Both can be repeated: an event that is in the log already is a duplicate. Knows nothing of the callers and their
//! protocol.

mod import;
mod readmit;

use std::sync::Arc;

use crate::config::Webhooks;
use crate::event::{ApiMode, Nonces};
use crate::log::{AppendError, ReadError, Reader, WeakAppender};

pub use import::{Import, Summary, Unfit};
pub use readmit::{Readmitted, Unreadmitted};

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
    entrances: Arc<[Entrance]>,
    body_limit: usize,
    reader: Reader,
    appender: WeakAppender,
    nonces: Nonces,
}

/// The configuration of a webhook endpoint, without its secrets.
#[derive(Clone)]
struct Entrance {
    endpoint: String,
    tenant: String,
    api_mode: Option<ApiMode>,
}

impl Backfill {
    pub fn new(config: &Webhooks, reader: Reader, appender: WeakAppender, nonces: Nonces) -> Self {
        let entrances = config.endpoints.iter().map(|endpoint| Entrance {
            endpoint: endpoint.name.clone(),
            tenant: endpoint.tenant.clone(),
            api_mode: endpoint.api_mode,
        });
        let body_limit = usize::try_from(config.body_limit.as_u64()).unwrap_or(usize::MAX);
        Self { entrances: entrances.collect(), body_limit, reader, appender, nonces }
    }

    /// Begins an import as if through this endpoint of the tenant. An empty name means the tenant's only endpoint.
    /// `None` if the tenant has no such endpoint.
    pub fn import(&self, tenant: &str, endpoint: &str, dry_run: bool) -> Option<Import> {
        let mut of_tenant = self.entrances.iter().filter(|entrance| entrance.tenant == tenant);
        let entrance = if endpoint.is_empty() {
            of_tenant.next().filter(|_| of_tenant.next().is_none())
        } else {
            of_tenant.find(|entrance| entrance.endpoint == endpoint)
        };
        entrance.map(|entrance| Import::new(self.clone(), entrance.clone(), dry_run))
    }
}

/// Runs a read of the log on a thread that may block.
async fn off_runtime<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, BackfillError> {
    Ok(tokio::task::spawn_blocking(read).await.map_err(|_| BackfillError::Panicked)??)
}
