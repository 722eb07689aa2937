//! What enters the log otherwise than through the webhook door: payloads that an operator has, which nobody signed, and events
//! of the other mode than their endpoint's, once more.
//!
//! Both may be done again: what is in the log already is a duplicate. Knows nothing of who asks, or how.

mod import;
mod readmit;

use std::sync::Arc;

use crate::config::Webhooks;
use crate::event::{ApiMode, Nonces};
use crate::log::{AppendError, ReadError, Reader, WeakAppender};

pub use import::{Import, Summary, Unfit};
pub use readmit::{Readmitted, Unreadmitted};

/// Why it ends before its end. What was imported by then stays.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    #[error("the log takes nothing any more")]
    Closed,
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("what reads the log panicked")]
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

/// What is configured of a webhook endpoint, but for who may sign.
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

    /// As if by this endpoint of the tenant; an empty name means its only one. None: it has no such endpoint.
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

/// Reads of the log block.
async fn off_runtime<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, BackfillError> {
    Ok(tokio::task::spawn_blocking(read).await.map_err(|_| BackfillError::Panicked)??)
}
