//! Readmits events that applied to no mode: once the configuration is corrected, a local event applies each of them.
//! Kept apart: it takes events of the log, and an import takes payloads.

use super::handle::{Backfill, BackfillError, off_runtime};
use crate::event::{Delivery, Event, EventKey, ModeVerdict, Position, Provenance};
use crate::log::{Appended, TimeEvidence};

/// Why an event is not readmitted.
#[derive(Debug, thiserror::Error)]
pub enum ReadmitError {
    #[error("there is no such event")]
    NotFound,
    #[error("it is of a mode already: nothing is to be mended")]
    HasMode,
    #[error("its endpoint is not configured any more")]
    NoEndpoint,
    #[error("its api_mode is still not the one of its endpoint: mend the configuration first")]
    StillMismatched,
    #[error("neither it nor its endpoint names a known api_mode: fix the endpoint's mode first")]
    StillUnknown,
    /// The log cannot be read or appended to.
    #[error(transparent)]
    Backfill(#[from] BackfillError),
}

impl Backfill {
    /// Readmits the event of a tenant at a position. Returns the place of the event that applies it: a duplicate if the
    /// event had come, or been readmitted, before.
    pub async fn readmit(&self, tenant: &str, position: Position) -> Result<Appended, ReadmitError> {
        let reader = self.reader.clone();
        let event = off_runtime(move || reader.get(position)).await?;
        let event = event.filter(|event| event.delivery.tenant == tenant).ok_or(ReadmitError::NotFound)?;
        let delivery = self.local_delivery(event)?;
        let appender = self.appender.upgrade().ok_or(BackfillError::Closed)?;
        Ok(appender.append(delivery, TimeEvidence::None).await.map_err(BackfillError::Append)?)
    }

    /// The local delivery for an event, under the key that the event would have claimed. So the event is applied once,
    /// however often it came or is readmitted.
    fn local_delivery(&self, event: Event) -> Result<Delivery, ReadmitError> {
        let delivery = event.delivery;
        if delivery.mode.applies_to().is_some() {
            return Err(ReadmitError::HasMode);
        }
        let endpoint = self.endpoints.iter().find(|endpoint| endpoint.name == delivery.endpoint);
        let endpoint = endpoint.ok_or(ReadmitError::NoEndpoint)?;
        let envelope = &delivery.body.parsed().envelope;
        let mode = ModeVerdict::judge(envelope.api_mode.as_deref(), endpoint.api_mode);
        match mode {
            ModeVerdict::Live | ModeVerdict::Test => {}
            ModeVerdict::Mismatched => return Err(ReadmitError::StillMismatched),
            ModeVerdict::Unknown => return Err(ReadmitError::StillUnknown),
        }
        let key = Some(EventKey::of(envelope.id.as_deref(), &delivery.webhook_id));
        Ok(Delivery { provenance: Provenance::Local, mode, key, nonce: (self.nonces)(), ..delivery })
    }
}
