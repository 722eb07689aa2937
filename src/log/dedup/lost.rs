//! Reads the keys that no run covers out of the log again. Knows the log's frames, and no file of the runs.

use super::key::{Claim, Digest, Fingerprint, KeyEntry};
use super::runs::Span;
use crate::event::{Kind, Point, Position};
use crate::log::files::secret::LogSecret;
use crate::log::format::{self, ErasedPayload};
use crate::log::frame_store::FrameStore;
use crate::segment::{Frame, ReadError};
use crate::storage::{DecodeError, StoreError};

/// The keys of a range.
pub struct Collected {
    pub entries: Vec<KeyEntry>,
    /// Head at the end of the range. `None` if the last event cannot be read.
    pub head: Option<Point>,
    /// True if every event could be read.
    pub is_complete: bool,
}

/// Reads the keys of a range, and skips events that are damaged. Fails if the system refuses to read: the events may be
/// intact. With `is_last_try`, refused events count as damaged.
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

/// Reads the keys of one frame between `from` and `through`. Returns the last position that it read.
fn read_frame(
    store: &FrameStore,
    secret: &LogSecret,
    from: Position,
    through: Position,
    collected: &mut Collected,
) -> Result<Position, ReadError> {
    let bytes = store.read(from)?;
    let damaged = |error: DecodeError| ReadError::Damaged { from, reason: error.0 };
    let frame = Frame::decode(&bytes).map_err(damaged)?;
    let header = frame.header;
    if header.last() < from {
        return Err(damaged(DecodeError("no frame holds the position")));
    }
    let mut end = header.after;
    let mut recorded_at = header.last_recorded_at;
    for record in format::records(&frame).map_err(damaged)? {
        if record.position > through {
            break;
        }
        end = record.chain;
        recorded_at = record.recorded_at;
        if record.position < from {
            continue;
        }
        let Ok(event) = record.event() else {
            collected.is_complete = false;
            continue;
        };
        // The claims of erased records are in the record of the erasure. The claim of a sealed record cannot be known.
        if record.header.kind == Kind::ERASED {
            collected.entries.extend(erased(&event.delivery.body, secret.generation));
        } else if let Some(Claim { digest, fingerprint }) = Claim::of_stored(secret, &event) {
            collected.entries.push(KeyEntry { digest, position: record.position, fingerprint });
        }
    }
    let last = header.last().min(through);
    collected.head = Some(Point { position: last, chain: end, recorded_at });
    Ok(last)
}

/// Returns the keys of erased records, which are at earlier positions. Returns none if the log secret had another
/// generation.
fn erased(body: &[u8], generation: u32) -> Vec<KeyEntry> {
    let payload = ErasedPayload::decode(body).ok().filter(|payload| payload.generation == generation);
    let records = payload.map(|payload| payload.records).unwrap_or_default();
    let entry =
        |digest, position| KeyEntry { digest: Digest::from_bytes(digest), position, fingerprint: Fingerprint::UNKNOWN };
    records.into_iter().map(|record| entry(record.digest, record.position)).collect()
}
