//! A duplicate that tells something else than the first of its key: it is kept, under a key of its own, and changes nothing.

use super::reader::Reader;
use super::record::Prepared;
use crate::blocklog::ReadError;
use crate::event::{Delivery, EventKey, Position, gist};

/// The record's delivery under the key of a conflict with the event at `position`; None if both tell the same. Blocks.
pub(super) fn find(reader: &Reader, position: Position, record: Prepared) -> Result<Option<Delivery>, ReadError> {
    let damaged = |reason| ReadError::Damaged { from: position, reason };
    let first = reader.get(position)?.ok_or(damaged("no block holds it"))?;
    let again = record.into_delivery().map_err(|garbled| damaged(garbled.0))?;
    if again.body == first.delivery.body {
        return Ok(None);
    }
    let told = gist(&again.body);
    let key = Some(EventKey::of_conflict(position, &told));
    Ok((told != gist(&first.delivery.body)).then_some(Delivery { key, ..again }))
}
