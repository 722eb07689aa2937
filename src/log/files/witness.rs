//! `<data>/witness`: the acknowledged end of the log, in two slots. Owns their bytes and decides which of them counts.
//! The keeper decides when each is written and synced. Never ahead of the log.
//!
//! ```text
//! 0 and 4096   "cleatwit" ‖ u8 format 1 ‖ u64 number of the write ‖ log id, 16 B ‖ epoch, 16 B ‖ u64 journal
//!              ‖ u64 position ‖ chain there, 32 B ‖ i64 recorded_at, µs ‖ zeros ‖ u32 CRC32C, see `sector.rs`
//! ```
//!
//! A file of zeros was created and not written yet. Bytes between the slots are not read.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use super::file::{FileError, Undecodable, failed, read_file};
use super::sector::{self, BLOCK, Sector};
use crate::event::{Identity, Point, Timestamp};
use crate::storage::{DecodeError, Put, StoreError, Take, write_private};

const MAGIC: [u8; 8] = *b"cleatwit";
const FORMAT: u8 = 1;
pub const SLOTS: usize = 2;
const FILE_BYTES: usize = SLOTS * BLOCK;

/// Head that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Witness {
    pub identity: Identity,
    /// Sequence of the journal that was written. 0 before the first journal.
    pub journal: u64,
    pub head: Point,
}

/// Witness as it is in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WitnessSlot {
    /// Number of the write. Grows with every write: the highest number counts.
    pub number: u64,
    pub witness: Witness,
}

/// Slot and number for the next witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextSlot {
    pub slot: usize,
    pub number: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WitnessState {
    /// Each slot that was written is whole, as far as can be seen.
    Whole,
    /// A slot is damaged, or torn by a power cut. It may have seen up to two seconds more than the newest whole slot.
    OneSlotDamaged,
    /// No slot is whole.
    Lost,
    /// The file has only zeros.
    Unwritten,
    Missing,
    /// A slot has a newer format. Nothing may be written here, and the other slot does not count.
    Newer {
        format: u32,
    },
}

/// State and content of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WitnessRead {
    /// Newest whole slot. `None` unless the state is `Whole` or `OneSlotDamaged`.
    pub newest: Option<Witness>,
    pub state: WitnessState,
    pub next: NextSlot,
}

impl WitnessSlot {
    pub fn encode(&self) -> Sector {
        let Witness { identity, journal, head } = self.witness;
        let mut fields = Vec::with_capacity(sector::BYTES);
        fields.put_u64(self.number);
        fields.put(&identity.to_bytes());
        fields.put_u64(journal);
        fields.put_u64(head.position);
        fields.put(&head.chain);
        fields.put_i64(head.recorded_at.as_micros());
        sector::seal(MAGIC, FORMAT, &fields)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        let fields = Take(sector::open(bytes, MAGIC, FORMAT)?);
        Self::take(fields).map_err(|DecodeError(reason)| Undecodable::Damaged(reason))
    }

    fn take(mut fields: Take<'_>) -> Result<Self, DecodeError> {
        let number = fields.u64()?;
        let identity = Identity::from_bytes(fields.array()?);
        let journal = fields.u64()?;
        let head = Point {
            position: fields.u64()?,
            chain: fields.array()?,
            recorded_at: Timestamp::from_micros(fields.i64()?),
        };
        Ok(Self { number, witness: Witness { identity, journal, head } })
    }
}

/// Returns the bytes of a file that holds only a first witness. All zeros if `witness` is `None`.
pub fn first_file(witness: Option<Witness>) -> Vec<u8> {
    let mut file = vec![0; FILE_BYTES];
    if let Some(witness) = witness {
        file[..sector::BYTES].copy_from_slice(&WitnessSlot { number: 1, witness }.encode());
    }
    file
}

/// Reads the file as the system has it, and changes nothing.
pub fn read(path: &Path) -> Result<WitnessRead, FileError> {
    let first = NextSlot { slot: 0, number: 1 };
    let missing = WitnessRead { newest: None, state: WitnessState::Missing, next: first };
    Ok(read_file(path, FILE_BYTES)?.map_or(missing, |bytes| decode(&bytes)))
}

pub(super) fn decode(bytes: &[u8]) -> WitnessRead {
    let nothing = |state| WitnessRead { newest: None, state, next: NextSlot { slot: 0, number: 1 } };
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    if bytes.len() == FILE_BYTES && is_zero(bytes) {
        return nothing(WitnessState::Unwritten);
    }
    let mut newest: Option<(usize, WitnessSlot)> = None;
    let mut is_damaged = bytes.len() != FILE_BYTES;
    for index in 0..SLOTS {
        let bytes = bytes.get(index * BLOCK..).unwrap_or_default();
        match WitnessSlot::decode(bytes) {
            Ok(slot) if newest.is_none_or(|(_, other)| other.number < slot.number) => newest = Some((index, slot)),
            Ok(_) => {}
            Err(Undecodable::Newer { format, .. }) => return nothing(WitnessState::Newer { format }),
            Err(Undecodable::Damaged(_)) => {
                is_damaged |= bytes.len() < sector::BYTES || !is_zero(&bytes[..sector::BYTES]);
            }
        }
    }
    let Some((index, slot)) = newest else { return nothing(WitnessState::Lost) };
    WitnessRead {
        newest: Some(slot.witness),
        state: if is_damaged { WitnessState::OneSlotDamaged } else { WitnessState::Whole },
        next: NextSlot { slot: 1 - index, number: slot.number.saturating_add(1) },
    }
}

/// Storage of the slots.
pub trait WitnessStore: Send + Sync + 'static {
    /// Overwrites a slot. It is durable only after [`Self::sync`].
    fn write(&self, slot: usize, bytes: &[u8]) -> Result<(), StoreError>;

    /// Makes all writes durable.
    fn sync(&self) -> Result<(), StoreError>;
}

/// Witness file, open for writing.
pub struct WitnessFile {
    file: File,
    path: PathBuf,
}

impl WitnessFile {
    /// Opens the file, or creates one of zeros, and reads it from the disk. So the slots that it finds are durable, and
    /// the slot that is not the newest may be overwritten. Leaves a file of a newer format as it is.
    pub fn open(path: &Path) -> Result<(Self, WitnessRead), FileError> {
        if !path.try_exists().map_err(failed("look for", path))? {
            write_private(path, &first_file(None)).map_err(failed("create", path))?;
        }
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed("open", path))?;
        file.sync_all().map_err(failed("sync", path))?;
        fadvise(&file, 0, None, Advice::DontNeed).map_err(io::Error::from).map_err(failed("drop pages of", path))?;
        let found = read(path)?;
        if !matches!(found.state, WitnessState::Newer { .. }) {
            set_length(&file).map_err(failed("repair the length of", path))?;
        }
        Ok((Self { file, path: path.to_owned() }, found))
    }
}

fn set_length(file: &File) -> io::Result<()> {
    let right = u64::try_from(FILE_BYTES).map_err(io::Error::other)?;
    if file.metadata()?.len() != right {
        file.set_len(right)?;
        file.sync_all()?;
    }
    Ok(())
}

impl WitnessStore for WitnessFile {
    fn write(&self, slot: usize, bytes: &[u8]) -> Result<(), StoreError> {
        let at = u64::try_from(slot * BLOCK).unwrap_or(u64::MAX);
        let fail = |error| StoreError::new(format!("write {}", self.path.display()), error);
        self.file.write_all_at(bytes, at).map_err(fail)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(|error| StoreError::new(format!("sync {}", self.path.display()), error))
    }
}
