//! Readmits events that applied to no mode: once the configuration is corrected, a local event applies each of them.

use super::handle::{Backfill, BackfillError, off_runtime};
use crate::event::{Delivery, Event, EventKey, ModeVerdict, Position, Provenance};
use crate::log::{Appended, TimeEvidence};

/// Why an event is not readmitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadmitted {
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
}

/// The place of the event that applies it. A duplicate if the event had come, or been readmitted, before.
pub type Readmitted = Result<Appended, Unreadmitted>;

impl Backfill {
    /// Readmits the event of a tenant at a position.
    pub async fn readmit(&self, tenant: &str, position: Position) -> Result<Readmitted, BackfillError> {
        let reader = self.reader.clone();
        let event = off_runtime(move || reader.get(position)).await?;
        let event = event.filter(|event| event.delivery.tenant == tenant);
        match event.ok_or(Unreadmitted::NotFound).and_then(|event| self.again(event)) {
            Ok(delivery) => {
                let appender = self.appender.upgrade().ok_or(BackfillError::Closed)?;
                Ok(Ok(appender.append(delivery, TimeEvidence::None).await?))
            }
            Err(unreadmitted) => Ok(Err(unreadmitted)),
        }
    }

    /// The local delivery for an event, under the key that the event would have claimed. So the event is applied once,
    /// however often it came or is readmitted.
    fn again(&self, event: Event) -> Result<Delivery, Unreadmitted> {
        let delivery = event.delivery;
        if delivery.mode.applies_to().is_some() {
            return Err(Unreadmitted::HasMode);
        }
        let endpoint = self.endpoints.iter().find(|endpoint| endpoint.name == delivery.endpoint);
        let endpoint = endpoint.ok_or(Unreadmitted::NoEndpoint)?;
        let envelope = &delivery.body.parsed().envelope;
        let mode = ModeVerdict::judge(envelope.api_mode.as_deref(), endpoint.api_mode);
        match mode {
            ModeVerdict::Live | ModeVerdict::Test => {}
            ModeVerdict::Mismatched => return Err(Unreadmitted::StillMismatched),
            ModeVerdict::Unknown => return Err(Unreadmitted::StillUnknown),
        }
        let key = Some(EventKey::of(envelope.id.as_deref(), &delivery.webhook_id));
        Ok(Delivery { provenance: Provenance::Local, mode, key, nonce: (self.nonces)(), ..delivery })
    }
}
