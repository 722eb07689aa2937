//! Canonical header of a record: the fields that stay in clear permanently, and are final when the door lets the record
//! in. Knows nothing of position, time and conflict, which the writer assigns, and of frames, which hold headers as
//! columns.
//!
//! ```text
//! H  u8 version 2 ‖ u8 provenance ‖ u8 mode: 0 none, 1 live, 2 test
//!    ‖ u8 disposition at the door: 1 taken, 2 unreadable body, 3 mode mismatched, 4 mode unknown ‖ u16 kind
//!    ‖ u8 flags: 1 claims a key, 2 first under its subject number ‖ u8 codec: 0 clear, 1 AES-256-GCM ‖ u16 dictionary
//!    ‖ u32 subject number, 0: none ‖ i64 webhook-timestamp, s; i64::MIN: verbatim, in the private bytes
//!    ‖ tenant ‖ endpoint ‖ secret label, each u8 length ‖ bytes ‖ 16 B organisation id, 0: none
//!    ‖ [flag 2: 32 B key commitment] ‖ 32 B SHA-256 of the private bytes as they were first stored
//! content = SHA-256(H)
//! ```

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::packing::PackedId;
use crate::event::{Hash, Kind, ModeVerdict, Provenance};
use crate::storage::{DecodeError, Put};

const VERSION: u8 = 2;
pub(super) const CLAIMS_KEY: u8 = 1;
pub(super) const FIRST_OF_SUBJECT: u8 = 2;
/// The private bytes are in clear.
pub(super) const CLEAR: u8 = 0;
/// The private bytes are AES-256-GCM under the subject's key.
pub(super) const AES_256_GCM: u8 = 1;
/// Stands for a webhook-timestamp that is no number of seconds.
const VERBATIM: i64 = i64::MIN;

const LIVE: u8 = 1;
const TEST: u8 = 2;
const TAKEN: u8 = 1;
const UNREADABLE: u8 = 2;
const MISMATCHED: u8 = 3;
const UNKNOWN: u8 = 4;

/// Origin of records: tenant, endpoint, secret label and organisation. Few differ from one another, so they are shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::log) struct Entrance {
    tenant: String,
    endpoint: String,
    secret_label: String,
    organisation: PackedId,
}

impl Entrance {
    /// Makes an entrance. Refuses a name of more than 255 bytes.
    pub fn new(tenant: &str, endpoint: &str, secret_label: &str, organisation: PackedId) -> Result<Self, DecodeError> {
        if [tenant, endpoint, secret_label].iter().any(|name| u8::try_from(name.len()).is_err()) {
            return Err(DecodeError("a tenant, an endpoint or a secret label is too long"));
        }
        let [tenant, endpoint, secret_label] = [tenant, endpoint, secret_label].map(str::to_owned);
        Ok(Self { tenant, endpoint, secret_label, organisation })
    }

    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub fn secret_label(&self) -> &str {
        &self.secret_label
    }

    /// Returns the organisation's id. `None` if the body named none, or one that is no UUID in lower case.
    pub fn organisation(&self) -> Option<PackedId> {
        (self.organisation != PackedId::default()).then_some(self.organisation)
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for name in [&self.tenant, &self.endpoint, &self.secret_label] {
            // `new` refuses a longer name.
            out.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
            out.put(name.as_bytes());
        }
        out.put(&self.organisation);
    }

    /// Returns the number of bytes of its encoding.
    pub(super) fn size(&self) -> usize {
        3 + self.tenant.len() + self.endpoint.len() + self.secret_label.len() + self.organisation.len()
    }
}

/// Clear fields of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::log) struct Header {
    pub entrance: Arc<Entrance>,
    pub provenance: Provenance,
    pub mode: ModeVerdict,
    /// True if the body was no JSON object.
    pub is_unreadable: bool,
    pub kind: Kind,
    pub claims_key: bool,
    pub codec: u8,
    pub dictionary: u16,
    /// Subject number. 0 if the record has none.
    pub subject: u32,
    /// Webhook-timestamp in seconds. `None` if it is no such number: the private bytes have it verbatim.
    pub webhook_seconds: Option<i64>,
    /// Commitment to the subject's key, in the first record of a subject number.
    pub key_commitment: Option<Hash>,
}

impl Header {
    /// Returns the mode and the disposition at the door, as bytes.
    pub(super) fn stored_mode(&self) -> StoredMode {
        let (mode, disposition) = match (self.mode, self.is_unreadable) {
            (ModeVerdict::Live, false) => (LIVE, TAKEN),
            (ModeVerdict::Test, false) => (TEST, TAKEN),
            (ModeVerdict::Live, true) => (LIVE, UNREADABLE),
            (ModeVerdict::Test, true) => (TEST, UNREADABLE),
            (ModeVerdict::Unknown, true) => (0, UNREADABLE),
            // A body that names a mode is readable.
            (ModeVerdict::Mismatched, _) => (0, MISMATCHED),
            (ModeVerdict::Unknown, false) => (0, UNKNOWN),
        };
        StoredMode { mode, disposition }
    }

    pub(super) fn flags(&self) -> u8 {
        let claims_key = if self.claims_key { CLAIMS_KEY } else { 0 };
        claims_key | if self.key_commitment.is_some() { FIRST_OF_SUBJECT } else { 0 }
    }

    /// Encodes the canonical header up to the digest of the private bytes. An encryption authenticates these bytes
    /// together with the private bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let StoredMode { mode, disposition } = self.stored_mode();
        let mut out = Vec::with_capacity(22 + self.entrance.size() + 64);
        out.put(&[VERSION, self.provenance as u8, mode, disposition]);
        out.put_u16(self.kind.stored());
        out.put(&[self.flags(), self.codec]);
        out.put_u16(self.dictionary);
        out.put_u32(self.subject);
        out.put_i64(self.webhook_seconds.unwrap_or(VERBATIM));
        self.entrance.encode(&mut out);
        if let Some(commitment) = &self.key_commitment {
            out.put(commitment);
        }
        out
    }

    /// Returns the digest of the record, which the chain holds. `private_digest` is the SHA-256 of its private bytes as
    /// they were first stored.
    pub fn content(&self, private_digest: &Hash) -> Hash {
        let mut header = self.encode();
        header.put(private_digest);
        Sha256::digest(&header).into()
    }

    /// Returns the seconds of a webhook-timestamp. `None` if they would not be printed as the same text.
    pub(super) fn seconds_of(webhook_timestamp: &str) -> Option<i64> {
        let seconds = webhook_timestamp.parse::<i64>().ok().filter(|seconds| *seconds != VERBATIM)?;
        (seconds.to_string() == webhook_timestamp).then_some(seconds)
    }
}

/// Mode and disposition at the door, as bytes.
pub(super) struct StoredMode {
    pub mode: u8,
    pub disposition: u8,
}

/// What the door found out about a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DoorVerdict {
    pub mode: ModeVerdict,
    pub is_unreadable: bool,
}

impl StoredMode {
    pub fn verdict(&self) -> Result<DoorVerdict, DecodeError> {
        let (mode, is_unreadable) = match (self.mode, self.disposition) {
            (LIVE, TAKEN) => (ModeVerdict::Live, false),
            (TEST, TAKEN) => (ModeVerdict::Test, false),
            (LIVE, UNREADABLE) => (ModeVerdict::Live, true),
            (TEST, UNREADABLE) => (ModeVerdict::Test, true),
            (0, UNREADABLE) => (ModeVerdict::Unknown, true),
            (0, MISMATCHED) => (ModeVerdict::Mismatched, false),
            (0, UNKNOWN) => (ModeVerdict::Unknown, false),
            _ => return Err(DecodeError("unknown mode or disposition")),
        };
        Ok(DoorVerdict { mode, is_unreadable })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERDICTS: [ModeVerdict; 4] =
        [ModeVerdict::Live, ModeVerdict::Test, ModeVerdict::Mismatched, ModeVerdict::Unknown];

    fn header(mode: ModeVerdict, is_unreadable: bool) -> Header {
        Header {
            entrance: Arc::new(Entrance::new("t", "e", "l", [1; 16]).unwrap()),
            provenance: Provenance::Webhook,
            mode,
            is_unreadable,
            kind: Kind::UNKNOWN,
            claims_key: false,
            codec: CLEAR,
            dictionary: 1,
            subject: 0,
            webhook_seconds: Some(7),
            key_commitment: None,
        }
    }

    #[test]
    fn mode_and_disposition_give_the_verdict_back() {
        for (mode, is_unreadable) in VERDICTS.into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
            let back = header(mode, is_unreadable).stored_mode().verdict().unwrap();
            let is_unreadable = is_unreadable && mode != ModeVerdict::Mismatched;
            assert_eq!(back, DoorVerdict { mode, is_unreadable });
        }
        for (mode, disposition) in [(0, 0), (0, 1), (1, 3), (2, 4), (3, 1), (1, 5)] {
            assert!(StoredMode { mode, disposition }.verdict().is_err());
        }
    }

    #[test]
    fn every_field_is_in_the_content() {
        let base = header(ModeVerdict::Live, false);
        let entrance =
            |tenant, endpoint, label, id| Arc::new(Entrance::new(tenant, endpoint, label, [id; 16]).unwrap());
        let others = [
            Header { entrance: entrance("te", "", "l", 1), ..base.clone() },
            Header { entrance: entrance("t", "el", "", 1), ..base.clone() },
            Header { entrance: entrance("t", "e", "l", 2), ..base.clone() },
            Header { provenance: Provenance::Import, ..base.clone() },
            Header { mode: ModeVerdict::Test, ..base.clone() },
            Header { is_unreadable: true, ..base.clone() },
            Header { kind: Kind::from_stored(0x0100), ..base.clone() },
            Header { claims_key: true, ..base.clone() },
            Header { codec: AES_256_GCM, ..base.clone() },
            Header { dictionary: 2, ..base.clone() },
            Header { subject: 1, ..base.clone() },
            Header { webhook_seconds: None, ..base.clone() },
            Header { webhook_seconds: Some(8), ..base.clone() },
            Header { key_commitment: Some([0; 32]), ..base.clone() },
        ];
        let mut contents: Vec<_> = others.iter().map(|header| header.content(&[3; 32])).collect();
        contents.extend([base.content(&[3; 32]), base.content(&[4; 32])]);
        contents.sort_unstable();
        contents.dedup();
        assert_eq!(contents.len(), others.len() + 2);
    }

    #[test]
    fn a_name_of_more_than_255_bytes_is_refused() {
        let longest = "x".repeat(255);
        let longer = "x".repeat(256);
        assert_eq!(Entrance::new(&longest, &longest, &longest, [0; 16]).unwrap().size(), 3 * 256 + 16);
        for names in [[&*longer, "", ""], ["", &longer, ""], ["", "", &longer]] {
            assert!(Entrance::new(names[0], names[1], names[2], [0; 16]).is_err());
        }
    }

    #[test]
    fn only_a_timestamp_that_prints_the_same_is_stored_as_a_number() {
        for text in ["", "+5", "007", "-0", " 1", "1.0", "9223372036854775808", "-9223372036854775808", "١"] {
            assert_eq!(Header::seconds_of(text), None, "{text}");
        }
        for seconds in [0, -7, 1_777_903_391, i64::MAX, i64::MIN + 1] {
            assert_eq!(Header::seconds_of(&seconds.to_string()), Some(seconds));
        }
    }
}
