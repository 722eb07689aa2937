//! Owns the checkpoint format: the state at one position as bytes, so that a start need not fold the log from its
//! beginning. Derived from the log, like all state. Knows no path, and not which checkpoints are kept.
//!
//! ```text
//! file    "ccp2" ‖ u16 fold version ‖ log id ‖ epoch ‖ u64 position ‖ chain there, 32 B ‖ i64 recorded_at there, µs
//!         ‖ u32 CRC32C of all before ‖ frames, the last one empty
//! frame   u32 length, expanded ‖ u32 length ‖ u32 CRC32C ‖ sealed: entries, packed (`storage/compression.rs`)
//! entry   0 ‖ tenant ‖ u8 mode                       a realm, which owns the entries that follow
//!         1 ‖ id ‖ fields that differ from a blank   a connection, which owns the exports that follow; exports before
//!                                                    the first connection belong to none
//!         2 ‖ task id ‖ fields that differ from a blank       an open export
//!         3 ‖ task id ‖ number position of its last change    a settled export
//!         4 ‖ task id                                         an export that has moved on to another connection
//! ```

mod frames;

use std::io::{self, Read, Write};
use std::sync::Arc;

use self::frames::{FrameReader, FrameWriter};
use super::unusable::Unusable;
use crate::event::{ApiMode, Identity, Point, Timestamp};
use crate::fold::entities::{Connection, EventRef, Export, Id, Realm};
use crate::fold::format::packed_text::{put_text, take_text};
use crate::fold::format::{DeltaOrigin, Entity, FOLD_VERSION};
use crate::fold::state::{ExportSlot, MemberSlot, RestoredState, StateBuilder};
use crate::fold::views::Views;
use crate::storage::{DecodeError, Put, Take};

const MAGIC: &[u8; 4] = b"ccp2";
const HEADER_BYTES: usize = 4 + 2 + 16 + 16 + 8 + 32 + 8;
const REALM: u8 = 0;
const CONNECTION: u8 = 1;
const OPEN: u8 = 2;
const SETTLED: u8 = 3;
const MOVED: u8 = 4;

/// Log, position, chain value and time that a checkpoint belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointHeader {
    pub identity: Identity,
    pub at: Point,
}

impl CheckpointHeader {
    fn origin(&self) -> DeltaOrigin {
        EventRef { position: self.at.position, recorded_at: self.at.recorded_at }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + 4);
        bytes.put(MAGIC);
        bytes.put_u16(FOLD_VERSION);
        bytes.put(&self.identity.to_bytes());
        bytes.put_u64(self.at.position);
        bytes.put(&self.at.chain);
        bytes.put_i64(self.at.recorded_at.as_micros());
        let crc = crc32c::crc32c(&bytes);
        bytes.put_u32(crc);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (fold_version, header) = Self::decode_any(bytes)?;
        if fold_version == FOLD_VERSION { Ok(header) } else { Err(DecodeError("it has another fold version")) }
    }

    /// Decodes a header written by any version of the fold. Also returns that version.
    pub fn decode_any(bytes: &[u8]) -> Result<(u16, Self), DecodeError> {
        let mut take = Take(bytes);
        if take.array()? != *MAGIC {
            return Err(DecodeError("it has an unknown format"));
        }
        let fold_version = take.u16()?;
        let identity = Identity::from_bytes(take.array()?);
        let position = take.u64()?;
        let chain = take.array()?;
        let recorded_at = Timestamp::from_micros(take.i64()?);
        if take.u32()? != crc32c::crc32c(&bytes[..HEADER_BYTES]) {
            return Err(DecodeError("its checksum is wrong"));
        }
        Ok((fold_version, Self { identity, at: Point { position, chain, recorded_at } }))
    }
}

/// Writes the whole state of `views`.
pub fn write(views: &Views, header: &CheckpointHeader, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&header.encode())?;
    let mut frames = FrameWriter::new(out);
    for realm in &views.realms() {
        frames.write_entry(|out| {
            out.put_u8(REALM);
            put_text(out, &realm.tenant);
            out.put_u8(realm.mode.stored());
        })?;
        write_state(views, realm, &header.origin(), &mut frames)?;
    }
    frames.end()
}

fn write_state(views: &Views, realm: &Realm, origin: &DeltaOrigin, frames: &mut FrameWriter<'_>) -> io::Result<()> {
    write_exports(views, realm, &Id::Empty, origin, frames)?;
    for (id, connection) in views.connections(realm, None) {
        frames.write_entry(|out| {
            out.put_u8(CONNECTION);
            put_text(out, &connection.id);
            connection.put_difference(&Connection::blank(realm, &connection.id), out, origin);
        })?;
        write_exports(views, realm, &id, origin, frames)?;
    }
    Ok(())
}

fn write_exports(
    views: &Views,
    realm: &Realm,
    owner: &Id,
    origin: &DeltaOrigin,
    frames: &mut FrameWriter<'_>,
) -> io::Result<()> {
    for (task_id, MemberSlot { slot, has_moved }) in views.exports_of(realm, owner.clone(), None) {
        let is_owners = || views.join(realm, &task_id, &slot).map(|joined| joined.export.owner() == *owner);
        if !has_moved || is_owners().map_err(io::Error::other)? {
            frames.write_entry(|out| put_slot(out, origin, realm, &task_id, &slot))?;
        } else {
            frames.write_entry(|out| {
                out.put_u8(MOVED);
                put_text(out, &task_id.text());
            })?;
        }
    }
    Ok(())
}

fn put_slot(out: &mut Vec<u8>, origin: &DeltaOrigin, realm: &Realm, task_id: &Id, slot: &ExportSlot) {
    let text = task_id.text();
    out.put_u8(if matches!(slot, ExportSlot::Open(_)) { OPEN } else { SETTLED });
    put_text(out, &text);
    match slot {
        ExportSlot::Open(export) => export.put_difference(&Export::blank(realm, &text), out, origin),
        ExportSlot::Settled(position) => out.put_varint(*position),
    }
}

/// Reads only the header of a checkpoint.
pub fn read_header(from: &mut dyn Read) -> Result<CheckpointHeader, Unusable> {
    let mut bytes = [0; HEADER_BYTES + 4];
    from.read_exact(&mut bytes)?;
    Ok(CheckpointHeader::decode(&bytes)?)
}

/// Reads only the header of a checkpoint, written by any version of the fold.
pub fn read_any_header(from: &mut dyn Read) -> Result<CheckpointHeader, Unusable> {
    let mut bytes = [0; HEADER_BYTES + 4];
    from.read_exact(&mut bytes)?;
    Ok(CheckpointHeader::decode_any(&bytes)?.1)
}

/// Reads the state that follows a header.
pub fn read_state(header: &CheckpointHeader, from: &mut dyn Read) -> Result<RestoredState, Unusable> {
    let mut loading = Loading { origin: header.origin(), restored: RestoredState::default(), current: None };
    let mut frames = FrameReader::new(from);
    while let Some(frame) = frames.next()? {
        let mut take = Take(&frame);
        while !take.0.is_empty() {
            loading.take_entry(&mut take)?;
        }
    }
    loading.finish_realm();
    Ok(loading.restored)
}

struct Loading {
    origin: DeltaOrigin,
    restored: RestoredState,
    current: Option<(Realm, StateBuilder)>,
}

impl Loading {
    fn take_entry(&mut self, from: &mut Take<'_>) -> Result<(), DecodeError> {
        let kind = from.u8()?;
        let id = take_text(from)?;
        if kind == REALM {
            self.finish_realm();
            let mode = ApiMode::from_stored(from.u8()?).ok_or(DecodeError("unknown mode"))?;
            self.current = Some((Realm { tenant: id, mode }, StateBuilder::default()));
            return Ok(());
        }
        let (realm, state) = self.current.as_mut().ok_or(DecodeError("an entity belongs to no realm"))?;
        match kind {
            CONNECTION => {
                let mut connection = Connection::blank(realm, &id).take_difference(from, &self.origin)?;
                connection.share(&mut self.restored.interner);
                state.add_connection(Arc::new(connection));
            }
            OPEN => {
                let mut export = Export::blank(realm, &id).take_difference(from, &self.origin)?;
                export.share(&mut self.restored.interner);
                state.add_export(Id::of(&id), ExportSlot::Open(Arc::new(export)));
            }
            SETTLED => state.add_export(Id::of(&id), ExportSlot::Settled(from.varint()?)),
            MOVED => state.add_moved(Id::of(&id)),
            _ => return Err(DecodeError("unknown entry")),
        }
        Ok(())
    }

    fn finish_realm(&mut self) {
        if let Some((realm, state)) = self.current.take() {
            self.restored.realms.push((realm, state.finish()));
        }
    }
}
