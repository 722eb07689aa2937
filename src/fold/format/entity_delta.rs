//! Owns the encoding of entities: only the fields that differ from a base which both sides know, with one bit a field
//! that says whether it follows. Knows no record, no checkpoint and no file.
//!
//! ```text
//! entity  u32 bits, one a field in the order below ‖ the fields whose bits are set
//! time, position  zigzag, against the origin                  numbers and texts: `packed_text.rs`
//! ```
//!
//! A list of fields serves both directions. A change of it is a new format of the change log and of checkpoints, so
//! `FOLD_VERSION` must grow.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::packed_text::{put_plain, put_text, take_count, take_text, unzigzag, zigzag};
use crate::event::{Attempt, Facts, Link, Stats, Text, Timestamp};
use crate::fold::entities::{Connection, EventRef, Export, ExportStatus, Lineage, Realm, RelativePosition, Status};
use crate::storage::{DecodeError, Put, Take};

/// Reference of times and positions: those near it take few bytes.
pub type DeltaOrigin = EventRef;

/// Value of one field.
trait FieldValue: PartialEq + Sized {
    fn put(&self, out: &mut Vec<u8>, origin: &DeltaOrigin);
    fn take(from: &mut Take<'_>, origin: &DeltaOrigin) -> Result<Self, DecodeError>;
}

/// An entity that is stored as its difference from another one of its kind.
pub trait Entity: Sized {
    fn id(&self) -> &Arc<str>;

    /// Returns a blank entity, the base if there is no better one.
    fn blank(realm: &Realm, id: &Arc<str>) -> Self;

    /// Returns the base in a change record at `origin`: a blank entity, plus the fields that the record only refers to.
    fn base(&self, realm: &Realm, origin: &DeltaOrigin) -> Self;

    fn put_id(&self, out: &mut Vec<u8>);

    /// Appends the fields that differ from `base`.
    fn put_difference(&self, base: &Self, out: &mut Vec<u8>, origin: &DeltaOrigin);

    /// Takes the fields that were put. `self` must equal the base that they were put against.
    fn take_difference(self, from: &mut Take<'_>, origin: &DeltaOrigin) -> Result<Self, DecodeError>;
}

/// Implements [`Entity`]. `@` after a field: its time is stored relative to the given time of the same entity, not to
/// the origin. That time must come before it in the list.
macro_rules! entity {
    (@ $origin:ident, $value:expr) => { *$origin };
    (@ $origin:ident, $value:expr, $other:expr) => { $other(&$value) };
    ($entity:ty, $id:ident, $put_id:ident, $blank:expr, $base:expr, $($($field:ident).+ $(@ $other:expr)?),+ $(,)?) => {
        impl Entity for $entity {
            fn id(&self) -> &Arc<str> {
                &self.$id
            }

            fn blank(realm: &Realm, id: &Arc<str>) -> Self {
                $blank(realm, id)
            }

            fn base(&self, realm: &Realm, origin: &DeltaOrigin) -> Self {
                $base(self, Self::blank(realm, &self.$id), origin)
            }

            fn put_id(&self, out: &mut Vec<u8>) {
                $put_id(out, &self.$id);
            }

            fn put_difference(&self, base: &Self, out: &mut Vec<u8>, origin: &DeltaOrigin) {
                let at = out.len();
                out.put_u32(0);
                let mut bits = 0_u32;
                let mut bit = (0..32).map(|n| 1_u32 << n);
                $({
                    let bit = bit.next().unwrap_or_default();
                    if base.$($field).+ != self.$($field).+ {
                        bits |= bit;
                        self.$($field).+.put(out, &entity!(@ origin, *self $(, $other)?));
                    }
                })+
                out[at..at + 4].copy_from_slice(&bits.to_be_bytes());
            }

            fn take_difference(mut self, from: &mut Take<'_>, origin: &DeltaOrigin) -> Result<Self, DecodeError> {
                let bits = from.u32()?;
                let mut bit = (0..32).map(|n| 1_u32 << n);
                $(if bits & bit.next().unwrap_or_default() != 0 {
                    self.$($field).+ = FieldValue::take(from, &entity!(@ origin, self $(, $other)?))?;
                })+
                Ok(self)
            }
        }
    };
}

entity!(
    Connection,
    id,
    put_text,
    |realm, id| Connection::new(realm, id, Lineage::NONE),
    |connection: &Connection, blank, origin: &DeltaOrigin| {
        let mut base: Connection = blank;
        if connection.described_at.0 != origin.position {
            base.describe_as(connection);
        }
        base
    },
    lineage.first,
    status,
    reported_status,
    status_recorded_at @ |connection: &Connection| connection.lineage.first,
    facts,
    attempt,
    described_at,
    was_revoked,
    reconnect_count,
    last_reconnected_at,
    needs_reconnect,
    status_date @ |connection: &Connection| connection.lineage.first,
    order_ambiguous,
    last_was_late,
    lineage.version,
    lineage.last,
    last_export_at @ |connection: &Connection| connection.lineage.last,
);

// The task id occurs again in the links, so it is stored plain.
entity!(
    Export,
    task_id,
    put_plain,
    |realm, task_id| Export::new(realm, task_id, Lineage::NONE.last),
    |_: &Export, blank, _: &DeltaOrigin| blank,
    status,
    failure_reason,
    connection_id,
    org_id,
    links,
    stats,
    deadline,
    after_revocation,
    reported_at,
    lineage.version,
    lineage.first,
    lineage.last,
);

/// Several texts as one value: a bit for each, then those that are present.
impl FieldValue for Arc<Facts> {
    fn put(&self, out: &mut Vec<u8>, origin: &DeltaOrigin) {
        let Facts { external_id, platform_type, endpoint_id, brand_id, portal_id, tefca_directory_id, org_id } =
            &**self;
        let all = [external_id, platform_type, endpoint_id, brand_id, portal_id, tefca_directory_id, org_id];
        put_texts(out, &all, origin);
    }

    fn take(from: &mut Take<'_>, origin: &DeltaOrigin) -> Result<Self, DecodeError> {
        let [external_id, platform_type, endpoint_id, brand_id, portal_id, tefca_directory_id, org_id] =
            take_texts(from, origin)?;
        let facts = Facts { external_id, platform_type, endpoint_id, brand_id, portal_id, tefca_directory_id, org_id };
        Ok(Self::new(facts))
    }
}

impl FieldValue for Arc<Attempt> {
    fn put(&self, out: &mut Vec<u8>, origin: &DeltaOrigin) {
        let Attempt { request_id, external_state, scope, consent_expires_at } = &**self;
        put_texts(out, &[request_id, external_state, scope], origin);
        consent_expires_at.put(out, &Lineage::NONE.first);
    }

    fn take(from: &mut Take<'_>, origin: &DeltaOrigin) -> Result<Self, DecodeError> {
        let [request_id, external_state, scope] = take_texts(from, origin)?;
        let consent_expires_at = FieldValue::take(from, &Lineage::NONE.first)?;
        Ok(Self::new(Attempt { request_id, external_state, scope, consent_expires_at }))
    }
}

/// Appends a byte with a bit for each text that is present, then these texts.
fn put_texts(out: &mut Vec<u8>, texts: &[&Text], origin: &DeltaOrigin) {
    let bits = texts.iter().enumerate().fold(0, |bits, (at, text)| bits | u8::from(text.is_some()) << at);
    out.put_u8(bits);
    for text in texts.iter().copied().flatten() {
        text.put(out, origin);
    }
}

fn take_texts<const N: usize>(from: &mut Take<'_>, origin: &DeltaOrigin) -> Result<[Text; N], DecodeError> {
    let bits = from.u8()?;
    let mut texts = [const { None }; N];
    for (at, text) in texts.iter_mut().enumerate() {
        if bits & 1 << at != 0 {
            *text = Some(Arc::<str>::take(from, origin)?);
        }
    }
    Ok(texts)
}

impl FieldValue for u64 {
    fn put(&self, out: &mut Vec<u8>, _: &DeltaOrigin) {
        out.put_varint(*self);
    }

    fn take(from: &mut Take<'_>, _: &DeltaOrigin) -> Result<Self, DecodeError> {
        from.varint()
    }
}

impl FieldValue for u32 {
    fn put(&self, out: &mut Vec<u8>, _: &DeltaOrigin) {
        out.put_varint(u64::from(*self));
    }

    fn take(from: &mut Take<'_>, _: &DeltaOrigin) -> Result<Self, DecodeError> {
        u32::try_from(from.varint()?).map_err(|_| DecodeError("a number is too large"))
    }
}

impl FieldValue for bool {
    fn put(&self, out: &mut Vec<u8>, _: &DeltaOrigin) {
        out.put_u8(u8::from(*self));
    }

    fn take(from: &mut Take<'_>, _: &DeltaOrigin) -> Result<Self, DecodeError> {
        Ok(from.u8()? != 0)
    }
}

impl FieldValue for Status {
    fn put(&self, out: &mut Vec<u8>, _: &DeltaOrigin) {
        out.put_u8(*self as u8);
    }

    fn take(from: &mut Take<'_>, _: &DeltaOrigin) -> Result<Self, DecodeError> {
        Self::from_stored(from.u8()?).ok_or(DecodeError("unknown status"))
    }
}

impl FieldValue for ExportStatus {
    fn put(&self, out: &mut Vec<u8>, _: &DeltaOrigin) {
        out.put_u8(*self as u8);
    }

    fn take(from: &mut Take<'_>, _: &DeltaOrigin) -> Result<Self, DecodeError> {
        Self::from_stored(from.u8()?).ok_or(DecodeError("unknown status of an export"))
    }
}

impl FieldValue for Timestamp {
    fn put(&self, out: &mut Vec<u8>, origin: &DeltaOrigin) {
        out.put_varint(zigzag(self.as_micros().wrapping_sub(origin.recorded_at.as_micros())));
    }

    fn take(from: &mut Take<'_>, origin: &DeltaOrigin) -> Result<Self, DecodeError> {
        let difference = unzigzag(from.varint()?);
        Ok(Self::from_micros(origin.recorded_at.as_micros().wrapping_add(difference)))
    }
}

impl FieldValue for EventRef {
    fn put(&self, out: &mut Vec<u8>, origin: &DeltaOrigin) {
        RelativePosition(self.position).put(out, origin);
        self.recorded_at.put(out, origin);
    }

    fn take(from: &mut Take<'_>, origin: &DeltaOrigin) -> Result<Self, DecodeError> {
        let RelativePosition(position) = RelativePosition::take(from, origin)?;
        Ok(Self { position, recorded_at: Timestamp::take(from, origin)? })
    }
}

impl FieldValue for RelativePosition {
    fn put(&self, out: &mut Vec<u8>, origin: &DeltaOrigin) {
        out.put_varint(zigzag(self.0.wrapping_sub(origin.position).cast_signed()));
    }

    fn take(from: &mut Take<'_>, origin: &DeltaOrigin) -> Result<Self, DecodeError> {
        Ok(Self(origin.position.wrapping_add(unzigzag(from.varint()?).cast_unsigned())))
    }
}

impl FieldValue for Arc<str> {
    fn put(&self, out: &mut Vec<u8>, _: &DeltaOrigin) {
        put_text(out, self);
    }

    fn take(from: &mut Take<'_>, _: &DeltaOrigin) -> Result<Self, DecodeError> {
        take_text(from)
    }
}

/// A byte that says whether the value is present, then the value. An entity stores `None` only where the base has a
/// value, so the byte mostly repeats the field's own bit.
impl<T: FieldValue> FieldValue for Option<T> {
    fn put(&self, out: &mut Vec<u8>, origin: &DeltaOrigin) {
        out.put_u8(u8::from(self.is_some()));
        if let Some(value) = self {
            value.put(out, origin);
        }
    }

    fn take(from: &mut Take<'_>, origin: &DeltaOrigin) -> Result<Self, DecodeError> {
        if from.u8()? == 0 { Ok(None) } else { T::take(from, origin).map(Some) }
    }
}

impl FieldValue for Arc<[Link]> {
    fn put(&self, out: &mut Vec<u8>, origin: &DeltaOrigin) {
        out.put_varint(self.len() as u64);
        for Link { url, export_type, content_type } in self.iter() {
            put_text(out, url);
            export_type.put(out, origin);
            content_type.put(out, origin);
        }
    }

    fn take(from: &mut Take<'_>, origin: &DeltaOrigin) -> Result<Self, DecodeError> {
        let count = take_count(from)?;
        let link = |_| {
            Ok(Link {
                url: take_text(from)?,
                export_type: <Text as FieldValue>::take(from, origin)?,
                content_type: <Text as FieldValue>::take(from, origin)?,
            })
        };
        (0..count).map(link).collect()
    }
}

impl FieldValue for Arc<Stats> {
    fn put(&self, out: &mut Vec<u8>, origin: &DeltaOrigin) {
        self.total_resources.put(out, origin);
        out.put_varint(self.total_by_resource_type.len() as u64);
        for (kind, count) in &self.total_by_resource_type {
            put_text(out, kind);
            out.put_varint(*count);
        }
    }

    fn take(from: &mut Take<'_>, origin: &DeltaOrigin) -> Result<Self, DecodeError> {
        let total_resources = <Option<u64> as FieldValue>::take(from, origin)?;
        let count = take_count(from)?;
        let entry = |_| Ok((take_text(from)?.as_ref().to_owned(), from.varint()?));
        let total_by_resource_type = (0..count).map(entry).collect::<Result<BTreeMap<_, _>, DecodeError>>()?;
        Ok(Self::new(Stats { total_resources, total_by_resource_type }))
    }
}
