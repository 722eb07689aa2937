//! Private bytes P of a record, codec 0: everything that could reveal whom it is about. Made at the door, on the
//! caller's core, and only copied from then on. Knows only those fields of the header that P depends on.
//!
//! ```text
//! P  16 B random ‖ Q
//! Q  u8 flags: 1 the key is "id:" and the webhook-id · 2 the key is "whid:" and it · 4 date · 8 one v1 signature
//!              · 16 ids packed · 32 zstd · 64 the webhook-timestamp is no number of seconds
//!    ‖ [4: zigzag varint date − webhook-timestamp, s] ‖ [8: 32 B; else varint length ‖ signature] ‖ [64: varint length ‖ timestamp]
//!    ‖ [a key, and neither 1 nor 2: varint length ‖ key] ‖ [16: u8 count ‖ count × 16 B ids]
//!    ‖ varint length of the webhook-id ‖ varint length of the packed text ‖ packed text; 32: a zstd frame, see `storage/compression.rs`
//! ```
//!
//! The text is the webhook-id and then the body; `packing.rs` packs it. The random bytes keep a digest of P from
//! confirming a guess of the body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::dictionary::{self, RECORDS};
use super::header::Header;
use super::packing::{Packed, PackedId, pack, unpack};
use super::varint::{take_length, unzigzag, zigzag};
use crate::event::{Delivery, EventKey};
use crate::storage::{DecodeError, Put, Take};

const KEY_IS_ID: u8 = 1;
const KEY_IS_WEBHOOK_ID: u8 = 2;
const DATE: u8 = 4;
const SIGNATURE: u8 = 8;
const IDS: u8 = 16;
const ZSTD: u8 = 32;
const TIMESTAMP: u8 = 64;
const FLAGS: u8 = 127;

const RANDOM_BYTES: usize = 16;
/// Largest length of webhook-id and body together. Bounds the memory that a damaged record can make a reader allocate.
const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// Fields of the private bytes.
pub(super) struct PrivateFields {
    pub random: [u8; RANDOM_BYTES],
    pub webhook_id: String,
    pub webhook_timestamp: String,
    pub webhook_signature: String,
    pub key: Option<EventKey>,
    pub body: Bytes,
}

/// Encodes the private bytes of a delivery with this header.
pub(super) fn encode(delivery: &Delivery, header: &Header) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::with_capacity(256);
    out.put(&delivery.nonce);
    encode_q(&mut out, delivery, header)?;
    Ok(out)
}

/// Appends Q alone, which is the part that an encryption seals.
pub(super) fn encode_q(out: &mut Vec<u8>, delivery: &Delivery, header: &Header) -> Result<(), DecodeError> {
    let text = [delivery.webhook_id.as_bytes(), &delivery.body].concat();
    if text.len() > TEXT_BYTES_MAX {
        return Err(DecodeError("a record is too long"));
    }
    let flags_at = out.len();
    out.put_u8(0);
    let packed = pack(&text, header.entrance.organisation(), header.webhook_seconds.is_some());
    let mut flags = if packed.is_some() { IDS } else { 0 };
    let Packed { ids, date, text } = packed.unwrap_or(Packed { text, ..Packed::default() });
    if let (Some(date), Some(seconds)) = (date, header.webhook_seconds) {
        flags |= DATE;
        out.put_varint(zigzag(date.wrapping_sub(seconds)));
    }
    flags |= put_signature(out, &delivery.webhook_signature);
    if header.webhook_seconds.is_none() {
        flags |= TIMESTAMP;
        put_text(out, &delivery.webhook_timestamp);
    }
    flags |= put_key(out, delivery);
    if flags & IDS != 0 {
        // `pack` names no more ids than a byte can count.
        out.put_u8(u8::try_from(ids.len()).unwrap_or(u8::MAX));
        out.put(ids.as_flattened());
    }
    out.put_varint(delivery.webhook_id.len() as u64);
    out.put_varint(text.len() as u64);
    let compressed = RECORDS.compress(&text);
    if compressed.is_some() {
        flags |= ZSTD;
    }
    out.put(compressed.as_deref().unwrap_or(&text));
    out[flags_at] = flags;
    Ok(())
}

impl PrivateFields {
    pub fn decode(bytes: &[u8], header: &Header) -> Result<Self, DecodeError> {
        if header.dictionary != dictionary::NUMBER {
            return Err(DecodeError("a record is compressed with a dictionary of a newer version"));
        }
        let mut take = Take(bytes);
        let random = take.array()?;
        let flags = take.u8()?;
        let has = |flag| flags & flag != 0;
        if flags & !FLAGS != 0 || has(TIMESTAMP) == header.webhook_seconds.is_some() {
            return Err(DecodeError("a record's flags are invalid"));
        }
        let date = if has(DATE) { Some(take_date(&mut take, header)?) } else { None };
        let webhook_signature = if has(SIGNATURE) { print_signature(&take.array()?) } else { take_text(&mut take)? };
        let webhook_timestamp = match header.webhook_seconds {
            Some(seconds) => seconds.to_string(),
            None => take_text(&mut take)?,
        };
        let key = StoredKey::take(&mut take, header.claims_key, flags)?;
        let count = if has(IDS) { take.u8()? } else { 0 };
        let ids = (0..count).map(|_| take.array()).collect::<Result<Vec<PackedId>, _>>()?;
        let id_bytes = take_length(&mut take, TEXT_BYTES_MAX)?;
        let text_bytes = take_length(&mut take, TEXT_BYTES_MAX)?;
        let text = if has(ZSTD) {
            let expanded = RECORDS.expand(take.0, text_bytes);
            expanded.ok_or(DecodeError("a record does not expand to the stated length"))?
        } else if take.0.len() == text_bytes {
            take.0.to_vec()
        } else {
            return Err(DecodeError("a text's length is wrong"));
        };
        let packed = Packed { ids, date, text };
        let text =
            if has(IDS) { unpack(&packed, header.entrance.organisation(), TEXT_BYTES_MAX)? } else { packed.text };
        if text.len() < id_bytes {
            return Err(DecodeError("a record ends within its webhook-id"));
        }
        let mut body = Bytes::from(text);
        let webhook_id =
            String::from_utf8(body.split_to(id_bytes).into()).map_err(|_| DecodeError("a webhook-id is not UTF-8"))?;
        let key = key.into_key(&webhook_id);
        Ok(Self { random, webhook_id, webhook_timestamp, webhook_signature, key, body })
    }
}

/// Stored form of a key.
enum StoredKey {
    None,
    Id,
    WebhookId,
    Verbatim(String),
}

impl StoredKey {
    fn take(take: &mut Take<'_>, claims_key: bool, flags: u8) -> Result<Self, DecodeError> {
        match (claims_key, flags & KEY_IS_ID != 0, flags & KEY_IS_WEBHOOK_ID != 0) {
            (false, false, false) => Ok(Self::None),
            (true, true, false) => Ok(Self::Id),
            (true, false, true) => Ok(Self::WebhookId),
            (true, false, false) => Ok(Self::Verbatim(take_text(take)?)),
            _ => Err(DecodeError("the flags of a record's key contradict each other")),
        }
    }

    fn into_key(self, webhook_id: &str) -> Option<EventKey> {
        let text = match self {
            Self::None => return None,
            Self::Id => format!("id:{webhook_id}"),
            Self::WebhookId => format!("whid:{webhook_id}"),
            Self::Verbatim(text) => text,
        };
        Some(EventKey::from_text(text))
    }
}

fn put_key(out: &mut Vec<u8>, delivery: &Delivery) -> u8 {
    let Some(key) = &delivery.key else { return 0 };
    match key.as_str().split_once(':') {
        Some(("id", id)) if id == delivery.webhook_id => KEY_IS_ID,
        Some(("whid", id)) if id == delivery.webhook_id => KEY_IS_WEBHOOK_ID,
        _ => {
            put_text(out, key.as_str());
            0
        }
    }
}

fn take_date(take: &mut Take<'_>, header: &Header) -> Result<i64, DecodeError> {
    let seconds = header.webhook_seconds.ok_or(DecodeError("a date depends on a timestamp that is not a number"))?;
    Ok(seconds.wrapping_add(unzigzag(take.varint()?)))
}

const V1: &str = "v1,";

fn put_signature(out: &mut Vec<u8>, text: &str) -> u8 {
    if let Some(signature) = parse_signature(text) {
        out.put(&signature);
        return SIGNATURE;
    }
    put_text(out, text);
    0
}

/// Decodes one `v1` signature of 32 bytes. `None` if the text would be printed differently.
fn parse_signature(text: &str) -> Option<[u8; 32]> {
    let encoded = text.strip_prefix(V1)?;
    // `decoded` is as long as the decoder estimates, at most, for a text of the length of `printed`.
    let mut decoded = [0; 33];
    let mut printed = [0; 44];
    let bytes = STANDARD.decode_slice(encoded, &mut decoded).ok()?;
    let signature = decoded[..bytes].try_into().ok()?;
    STANDARD.encode_slice(signature, &mut printed).ok()?;
    (printed == *encoded.as_bytes()).then_some(signature)
}

fn print_signature(signature: &[u8; 32]) -> String {
    format!("{V1}{}", STANDARD.encode(signature))
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.put_varint(text.len() as u64);
    out.put(text.as_bytes());
}

fn take_text(take: &mut Take<'_>) -> Result<String, DecodeError> {
    let length = take_length(take, TEXT_BYTES_MAX)?;
    String::from_utf8(take.bytes(length)?.to_vec()).map_err(|_| DecodeError("text is not UTF-8"))
}
