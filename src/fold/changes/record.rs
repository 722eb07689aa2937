//! Owns the encoding of one position's changes: of each entity the state after the position, and of the state before
//! only the fields that differ. Fields of a connection that an event of an export leaves unchanged are only in the
//! record of the event that changed them last; later records store its position instead. So a record needs at most one
//! other for each of its connections. Knows no frame and no file.
//!
//! ```text
//! record  number changes ‖ tenant ‖ u8 mode ‖ connections ‖ exports ‖ changes
//! connections, exports   number count, of each: id ‖ number base: 0 none, n: n-th before ‖ differences from the base
//! change  0 ‖ previous ‖ current                      a connection; numbers are 1 for the first, 0 for none
//!         1 ‖ previous ‖ its connection ‖ current ‖ its connection                                      an export
//! ```

use std::sync::Arc;

use crate::event::ApiMode;
use crate::fold::entities::{Change, Connection, Export, JoinedExport, Realm};
use crate::fold::format::packed_text::{put_text, take_count, take_text};
use crate::fold::format::{DeltaOrigin, Entity};
use crate::segment::ReadError;
use crate::storage::{DecodeError, Put, Take};

const CONNECTION: u8 = 0;
const EXPORT: u8 = 1;

/// Completes a connection whose record only refers to another one.
pub type Describe<'a> = dyn Fn(&mut Connection) -> Result<(), ReadError> + 'a;

/// Entities in the order of their first mention, each once.
#[derive(Default)]
struct Mentioned<'a> {
    connections: Vec<&'a Arc<Connection>>,
    exports: Vec<&'a Arc<Export>>,
}

/// Adds an entity, unless it is there already. Returns its number, from 1.
fn mention<'a, T>(known: &mut Vec<&'a Arc<T>>, entity: &'a Arc<T>) -> u64 {
    let at = known.iter().position(|other| Arc::ptr_eq(other, entity)).unwrap_or_else(|| {
        known.push(entity);
        known.len() - 1
    });
    at as u64 + 1
}

impl<'a> Mentioned<'a> {
    fn mention_connection(&mut self, connection: Option<&'a Arc<Connection>>) -> u64 {
        connection.map_or(0, |connection| mention(&mut self.connections, connection))
    }

    /// Returns the numbers of an export and of its connection.
    fn mention_export(&mut self, joined: &'a JoinedExport) -> [u64; 2] {
        [mention(&mut self.exports, &joined.export), self.mention_connection(joined.connection.as_ref())]
    }

    /// Appends a change. Mentions the current state first, so that the previous one needs only the fields that differ.
    fn put_change(&mut self, change: &'a Change, out: &mut Vec<u8>) {
        let put_numbers = |out: &mut Vec<u8>, numbers: &[u64]| {
            for number in numbers {
                out.put_varint(*number);
            }
        };
        match change {
            Change::Connection { previous, current } => {
                let current = self.mention_connection(Some(current));
                out.put_u8(CONNECTION);
                put_numbers(out, &[self.mention_connection(previous.as_ref()), current]);
            }
            Change::Export { previous, current } => {
                let current = self.mention_export(current);
                out.put_u8(EXPORT);
                put_numbers(out, &previous.as_ref().map_or([0, 0], |previous| self.mention_export(previous)));
                put_numbers(out, &current);
            }
        }
    }
}

/// Appends the record of `changes`, all of `realm`.
pub fn put(out: &mut Vec<u8>, origin: &DeltaOrigin, realm: &Realm, changes: &[Change]) {
    out.put_varint(changes.len() as u64);
    put_text(out, &realm.tenant);
    out.put_u8(realm.mode.stored());
    let mut mentioned = Mentioned::default();
    let mut list = Vec::new();
    for change in changes {
        mentioned.put_change(change, &mut list);
    }
    put_all(out, origin, realm, &mentioned.connections);
    put_all(out, origin, realm, &mentioned.exports);
    out.put(&list);
}

fn put_all<T: Entity>(out: &mut Vec<u8>, origin: &DeltaOrigin, realm: &Realm, all: &[&Arc<T>]) {
    out.put_varint(all.len() as u64);
    for (at, entity) in all.iter().enumerate() {
        entity.put_id(out);
        let base = all[..at].iter().position(|earlier| earlier.id() == entity.id());
        out.put_varint(base.map_or(0, |base| base as u64 + 1));
        match base {
            Some(base) => entity.put_difference(all[base], out, origin),
            None => entity.put_difference(&entity.base(realm, origin), out, origin),
        }
    }
}

fn take_all<T: Entity + Clone>(
    from: &mut Take<'_>,
    origin: &DeltaOrigin,
    realm: &Realm,
    complete: impl Fn(&mut T) -> Result<(), ReadError>,
) -> Result<Vec<Arc<T>>, TakeError> {
    let count = take_count(from)?;
    let mut all: Vec<Arc<T>> = Vec::with_capacity(count);
    for _ in 0..count {
        let id = take_text(from)?;
        let base = from.varint()?;
        let entity = if let Some(base) = referred(&all, base)? {
            (*base).clone().take_difference(from, origin)?
        } else {
            let mut entity = T::blank(realm, &id).take_difference(from, origin)?;
            complete(&mut entity)?;
            entity
        };
        all.push(Arc::new(entity));
    }
    Ok(all)
}

/// Reason why a record cannot be taken.
#[derive(Debug)]
pub enum TakeError {
    DecodeError(DecodeError),
    /// Another record, to which this one refers, cannot be read.
    Referred(ReadError),
}

impl From<DecodeError> for TakeError {
    fn from(error: DecodeError) -> Self {
        Self::DecodeError(error)
    }
}

impl From<ReadError> for TakeError {
    fn from(error: ReadError) -> Self {
        Self::Referred(error)
    }
}

/// Takes the changes and their realm. `describe` sets the fields of a connection that another record holds.
pub fn take(
    from: &mut Take<'_>,
    origin: &DeltaOrigin,
    describe: &Describe<'_>,
) -> Result<(Realm, Vec<Change>), TakeError> {
    let count = take_count(from)?;
    let tenant = take_text(from)?;
    let mode = ApiMode::from_stored(from.u8()?).ok_or(DecodeError("unknown mode"))?;
    let realm = Realm { tenant, mode };
    let complete = |connection: &mut Connection| {
        if connection.described_at.0 == origin.position { Ok(()) } else { describe(connection) }
    };
    let connections = take_all(from, origin, &realm, complete)?;
    let exports = take_all(from, origin, &realm, |_| Ok(()))?;
    let change = |_| take_change(from, &connections, &exports);
    let changes = (0..count).map(change).collect::<Result<_, DecodeError>>()?;
    Ok((realm, changes))
}

fn take_change(
    from: &mut Take<'_>,
    connections: &[Arc<Connection>],
    exports: &[Arc<Export>],
) -> Result<Change, DecodeError> {
    const MISSING: DecodeError = DecodeError("a change names no entity");
    match from.u8()? {
        CONNECTION => {
            let previous = from.varint()?;
            let current = from.varint()?;
            let current = referred(connections, current)?.ok_or(MISSING)?;
            Ok(Change::Connection { previous: referred(connections, previous)?, current })
        }
        EXPORT => {
            let mut take_joined = || {
                let export = from.varint()?;
                let connection = from.varint()?;
                let connection = referred(connections, connection)?;
                Ok(referred(exports, export)?.map(|export| JoinedExport { export, connection }))
            };
            let previous = take_joined()?;
            let current = take_joined()?.ok_or(MISSING)?;
            Ok(Change::Export { previous, current })
        }
        _ => Err(DecodeError("a change has an unknown kind")),
    }
}

/// Returns the entity of a number. `None` if the number is 0.
fn referred<T>(known: &[Arc<T>], number: u64) -> Result<Option<Arc<T>>, DecodeError> {
    let Some(at) = number.checked_sub(1) else { return Ok(None) };
    let found = usize::try_from(at).ok().and_then(|at| known.get(at));
    found.cloned().map(Some).ok_or(DecodeError("a record refers to an entity that it does not hold"))
}
