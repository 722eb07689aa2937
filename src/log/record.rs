//! One event as bytes: a canonical header, which the chain covers, and the body.
//!
//! ```text
//! header: u64 position ‖ i64 recorded_at, µs ‖ u8 provenance ‖ u8 mode ‖ u8 body codec (0: verbatim) ‖ tenant ‖ endpoint
//!         ‖ secret label ‖ webhook-id ‖ webhook-timestamp ‖ webhook-signature ‖ key, each u32 length ‖ bytes; no key: empty
//! body:   u32 length ‖ bytes
//! ```
//!
//! The nonce is the record's mark in its block.

use bytes::Bytes;

use super::chain;
use crate::blocklog::{Block, Builder};
use crate::event::{Delivery, Event, EventKey, Hash, ModeVerdict, Position, Provenance, Timestamp};
use crate::storage::{Garbled, Put, Take};

const VERBATIM: u8 = 0;
/// Position and time.
const ASSIGNED_BYTES: usize = 16;

/// A record but for what the writer assigns: encoded on the caller's core, so that the one writer does not have to.
pub(super) struct Prepared {
    /// Header from provenance on, then body.
    bytes: Vec<u8>,
    /// What the chain holds of it.
    pub content: Hash,
    pub nonce: [u8; 16],
}

impl Prepared {
    pub fn of(delivery: &Delivery) -> Self {
        let key = delivery.key.as_ref().map_or("", EventKey::as_str);
        let texts = [
            &delivery.tenant,
            &delivery.endpoint,
            &delivery.secret_label,
            &delivery.webhook_id,
            &delivery.webhook_timestamp,
            &delivery.webhook_signature,
        ];
        let texts = texts.into_iter().map(String::as_str).chain([key]);
        let len = 3 + 8 * 4 + texts.clone().map(str::len).sum::<usize>() + delivery.body.len();
        let mut bytes = Vec::with_capacity(len);
        bytes.put_u8(delivery.provenance as u8);
        bytes.put_u8(delivery.mode as u8);
        bytes.put_u8(VERBATIM);
        texts.for_each(|text| bytes.put_prefixed(text.as_bytes()));
        let content = chain::content(&bytes, &delivery.nonce, &delivery.body);
        bytes.put_prefixed(&delivery.body);
        Self { bytes, content, nonce: delivery.nonce }
    }

    /// What it was made of.
    pub fn into_delivery(self) -> Result<Delivery, Garbled> {
        let raw = Bytes::from(self.bytes);
        take_delivery(&mut Take(&raw), &raw, self.nonce).map(|(delivery, _)| delivery)
    }

    /// Bytes of the whole record.
    pub fn size(&self) -> usize {
        ASSIGNED_BYTES + self.bytes.len()
    }

    /// Appends it to a block; returns its position and the chain's value after it.
    pub fn push(&self, builder: &mut Builder, recorded_at: Timestamp) -> (Position, Hash) {
        let position = builder.next();
        let chain = chain::next(&builder.hash(), position, recorded_at, &self.content);
        builder.push(recorded_at, chain, &self.nonce, |out| {
            out.put_u64(position);
            out.put_i64(recorded_at.as_micros());
            out.put(&self.bytes);
        });
        (position, chain)
    }
}

/// The events of a block, checked: positions, times and chain.
pub(super) fn events(block: &Block) -> Result<Vec<Event>, Garbled> {
    let header = &block.header;
    let mut records = Take(&block.records);
    let mut events: Vec<Event> = Vec::with_capacity(usize::from(header.count));
    let mut before = (header.before, header.first_recorded_at);
    for (position, nonce) in (header.first..).zip(block.marks()?) {
        let record = decode(&mut records, &block.records, *nonce)?;
        if record.position != position || record.recorded_at < before.1 {
            return Err(Garbled("a record's position or time is out of order"));
        }
        let chain = chain::next(&before.0, position, record.recorded_at, &record.content);
        before = (chain, record.recorded_at);
        events.push(Event { position, recorded_at: record.recorded_at, delivery: record.delivery, chain });
    }
    records.end()?;
    if before != (header.after, header.last_recorded_at) {
        return Err(Garbled("a block's chain is broken"));
    }
    Ok(events)
}

/// One record taken from a block's bytes.
struct Decoded {
    position: Position,
    recorded_at: Timestamp,
    delivery: Delivery,
    /// What the chain holds of it.
    content: Hash,
}

/// Takes the next record. `raw` is what `from` still points into, so that the body shares its memory.
fn decode(from: &mut Take<'_>, raw: &Bytes, nonce: [u8; 16]) -> Result<Decoded, Garbled> {
    let position = from.u64()?;
    let recorded_at = Timestamp::from_micros(from.i64()?);
    let (delivery, content) = take_delivery(from, raw, nonce)?;
    Ok(Decoded { position, recorded_at, delivery, content })
}

/// The header from provenance on, and the body; and what the chain holds of both.
fn take_delivery(from: &mut Take<'_>, raw: &Bytes, nonce: [u8; 16]) -> Result<(Delivery, Hash), Garbled> {
    let start = *from;
    let provenance = Provenance::from_stored(from.u8()?).ok_or(Garbled("unknown provenance"))?;
    let mode = ModeVerdict::from_stored(from.u8()?).ok_or(Garbled("unknown mode verdict"))?;
    if from.u8()? != VERBATIM {
        return Err(Garbled("unknown body codec"));
    }
    let (tenant, endpoint, secret_label) = (from.text()?, from.text()?, from.text()?);
    let (webhook_id, webhook_timestamp, webhook_signature) = (from.text()?, from.text()?, from.text()?);
    let key = Some(from.text()?).filter(|key| !key.is_empty()).map(EventKey::from_text);
    let header = &start.0[..start.0.len() - from.0.len()];
    let body = raw.slice_ref(from.prefixed()?);
    let content = chain::content(header, &nonce, &body);
    let delivery = Delivery {
        tenant,
        endpoint,
        provenance,
        mode,
        key,
        webhook_id,
        webhook_timestamp,
        webhook_signature,
        secret_label,
        nonce,
        body,
    };
    Ok((delivery, content))
}
