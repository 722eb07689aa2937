//! Record as the door makes it from a delivery, without the fields that the writer assigns. Knows nothing of frames.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::columns;
use super::dictionary;
use super::header::{CLEAR, Entrance, Header};
use super::packing::{PackedId, parse_uuid};
use super::private::{self, PrivateFields};
use crate::event::{Body, Delivery, Hash, ModeVerdict};
use crate::segment::FRAME_BYTES_MAX;
use crate::storage::DecodeError;

/// Record without the fields that the writer assigns, made at the door.
#[derive(Clone)]
pub(in crate::log) struct Record {
    header: Header,
    private: Vec<u8>,
    content: Hash,
}

impl Record {
    /// Makes a record. Refuses one that is larger than a frame, and names that are too long.
    pub fn new(delivery: &Delivery) -> Result<Self, DecodeError> {
        let Delivery { tenant, endpoint, secret_label, body, .. } = delivery;
        let body = body.parsed();
        let organisation = packed_organisation(body.organisation.as_deref());
        let header = Header {
            entrance: Arc::new(Entrance::new(tenant, endpoint, secret_label, organisation)?),
            provenance: delivery.provenance,
            mode: delivery.mode,
            is_unreadable: !body.is_readable && delivery.mode != ModeVerdict::Mismatched,
            kind: body.kind,
            claims_key: delivery.key.is_some(),
            codec: CLEAR,
            dictionary: dictionary::NUMBER,
            subject: 0,
            webhook_seconds: Header::seconds_of(&delivery.webhook_timestamp),
            key_commitment: None,
        };
        let private = private::encode(delivery, &header)?;
        let content = header.content(&Sha256::digest(&private).into());
        let record = Self { header, private, content };
        if columns::FRAME_OVERHEAD_BYTES + record.size() > FRAME_BYTES_MAX {
            return Err(DecodeError("a record is too large for a frame"));
        }
        Ok(record)
    }

    /// Returns exactly the delivery from which the record was made.
    pub fn delivery(&self) -> Result<Delivery, DecodeError> {
        delivery(&self.header, &self.private)
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the private bytes.
    pub fn private(&self) -> &[u8] {
        &self.private
    }

    /// Returns the digest of the record, which the chain holds.
    pub fn content(&self) -> &Hash {
        &self.content
    }

    /// Returns an upper bound of the bytes that the record adds to a frame.
    pub fn size(&self) -> usize {
        columns::size_max(&self.header, 0) + self.private.len()
    }
}

/// Makes a delivery from a header and its private bytes in clear.
pub(super) fn delivery(header: &Header, private: &[u8]) -> Result<Delivery, DecodeError> {
    let fields = PrivateFields::decode(private, header)?;
    Ok(Delivery {
        key: fields.key,
        webhook_id: fields.webhook_id,
        webhook_timestamp: fields.webhook_timestamp,
        webhook_signature: fields.webhook_signature,
        nonce: fields.random,
        body: fields.body.into(),
        ..known(header)
    })
}

/// Returns the fields of a delivery that are known if the private bytes cannot be read.
pub(super) fn known(header: &Header) -> Delivery {
    let entrance = &header.entrance;
    Delivery {
        tenant: entrance.tenant().to_owned(),
        endpoint: entrance.endpoint().to_owned(),
        provenance: header.provenance,
        mode: header.mode,
        key: None,
        webhook_id: String::new(),
        webhook_timestamp: header.webhook_seconds.map(|seconds| seconds.to_string()).unwrap_or_default(),
        webhook_signature: String::new(),
        secret_label: entrance.secret_label().to_owned(),
        nonce: [0; 16],
        body: Body::default(),
    }
}

/// Returns the organisation's id. Zeros if it is absent, or no UUID in lower case.
fn packed_organisation(id: Option<&str>) -> PackedId {
    let id = id.filter(|id| id.len() == 36);
    id.and_then(|id| parse_uuid(id.as_bytes())).unwrap_or_default()
}
