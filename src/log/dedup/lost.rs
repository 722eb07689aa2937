//! Reads keys out of the log again: those that no run covers. Knows the log's frames, and no file of the runs.

use super::super::Head;
use super::super::files::secret::LogSecret;
use super::super::format::{self, ErasedPayload};
use super::super::frame_store::FrameStore;
use super::runs::Span;
use super::{Claim, Digest, Fingerprint, KeyEntry};
use crate::event::{Kind, Position};
use crate::segment::{Frame, ReadError};
use crate::storage::{Garbled, StoreError};

/// The keys of a range.
pub struct Collected {
    pub entries: Vec<KeyEntry>,
    /// At the end of the range. `None` if the last event cannot be read.
    pub head: Option<Head>,
    /// Whether every event could be read.
    pub is_complete: bool,
}

/// Reads the keys of a range, as far as its events are not damaged. What the system refuses to read may be whole: that is an
/// error. `is_last_try`: it counts as damaged.
pub fn collect(store: &FrameStore, secret: &LogSecret, span: Span, is_last_try: bool) -> Result<Collected, StoreError> {
    let mut collected = Collected { entries: Vec::new(), head: None, is_complete: true };
    let mut next = span.after + 1;
    while next <= span.through {
        match read_frame(store, secret, next, span.through, &mut collected) {
            Ok(last) => next = last + 1,
            Err(ReadError::Store(error)) if !is_last_try => return Err(error),
            Err(error) => {
                tracing::error!(position = next, %error, "keys of the log cannot be read");
                collected.is_complete = false;
                collected.head = None;
                next = store.frame_end(next).max(next) + 1;
            }
        }
    }
    Ok(collected)
}

/// Returns the last position of the frame.
fn read_frame(
    store: &FrameStore,
    secret: &LogSecret,
    from: Position,
    through: Position,
    collected: &mut Collected,
) -> Result<Position, ReadError> {
    let bytes = store.read(from)?;
    let damaged = |garbled: Garbled| ReadError::Damaged { from, reason: garbled.0 };
    let frame = Frame::decode(&bytes).map_err(damaged)?;
    let header = frame.header;
    if header.last() < from {
        return Err(damaged(Garbled("no frame holds it")));
    }
    let (mut end, mut recorded_at) = (header.after, header.last_recorded_at);
    for record in format::records(&frame).map_err(damaged)? {
        if record.position > through {
            break;
        }
        (end, recorded_at) = (record.chain, record.recorded_at);
        if record.position < from {
            continue;
        }
        let Ok(event) = record.event() else {
            collected.is_complete = false;
            continue;
        };
        // What an erased record claimed is in the record of its erasure; what a sealed one claims nobody can say.
        if record.header.kind == Kind::ERASED {
            collected.entries.extend(erased(&event.delivery.body, secret.generation));
        } else if let Some(Claim { digest, fingerprint }) = Claim::of_stored(secret, &event) {
            collected.entries.push(KeyEntry { digest, position: record.position, fingerprint });
        }
    }
    let last = header.last().min(through);
    collected.head = Some(Head { position: last, chain: end, recorded_at });
    Ok(last)
}

/// The keys of erased records, which are of earlier positions.
fn erased(body: &[u8], generation: u32) -> Vec<KeyEntry> {
    let payload = ErasedPayload::decode(body).ok().filter(|payload| payload.generation == generation);
    let records = payload.map(|payload| payload.records).unwrap_or_default();
    let entry =
        |digest, position| KeyEntry { digest: Digest::from_bytes(digest), position, fingerprint: Fingerprint::UNKNOWN };
    records.into_iter().map(|record| entry(record.digest, record.position)).collect()
}
