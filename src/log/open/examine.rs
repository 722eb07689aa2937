//! Examines a data directory: which log it holds, which parts of the log its files hold, and whether they agree. Must
//! not write, so it serves a read-only open, too.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use super::error::OpenError;
use super::identity::{self, Naming};
use super::notes::{Notes, SeenPoint};
use super::sealed::{self, LogName, SealedLog};
use super::unsealed::{self, Unsealed};
use crate::event::{Event, Hash, Identity, Point, Position};
use crate::log::dedup::key::RunOrigin;
use crate::log::files::anchor::{self, AnchorRead};
use crate::log::files::file::FileError;
use crate::log::files::layout::DataFiles;
use crate::log::files::secret::{self, LogSecret, SecretRead};
use crate::log::files::witness::{self, Witness, WitnessRead, WitnessState};
use crate::log::frame_store::FrameStore;
use crate::log::{format, journal};
use crate::segment::Frame;
use crate::storage::StoreError;
use crate::telemetry::with_causes;

/// Time that a start waits for the anchor's volume.
const ANCHOR_PATIENCE: Duration = Duration::from_secs(2);

/// Content of a data directory.
pub(in crate::log) struct Examined {
    pub named: Naming,
    /// Secret of the log. `None` if it is lost.
    pub secret: Option<LogSecret>,
    pub is_secret_damaged: bool,
    pub witness: Option<Witness>,
    pub is_witness_damaged: bool,
    pub sealed: SealedLog,
    pub unsealed: Unsealed,
    /// Frames of `sealed` and `unsealed`.
    pub store: Arc<FrameStore>,
    pub next_sequence: u64,
    pub notes: Notes,
}

/// Reads the data directory. Refuses it only if it cannot be read as a log at all: [`Examined::check`] compares the
/// files.
pub(in crate::log) fn gather(files: &DataFiles) -> Result<Examined, OpenError> {
    let log = files.log();
    if !log.try_exists().map_err(|error| StoreError::new("look for the log", error))? {
        return Err(OpenError::Missing(log));
    }
    let mut notes = Notes::default();
    let WitnessRead { newest: witness, state: witness_state, .. } = witness::read(&files.witness())?;
    match witness_state {
        WitnessState::Whole => {}
        WitnessState::Newer { format } => return Err(newer(&files.witness(), format)),
        _ => notes.note("the file `witness` is not whole: a start writes it again from the log".to_owned()),
    }
    let named = identity::find(files, witness.as_ref(), &mut notes)?;
    let FoundSecret { secret, is_damaged: is_secret_damaged } = read_secret(files, &mut notes)?;
    let mut sealed = sealed::open(&log, LogName { log_id: named.log_id, epochs: &named.epochs }, &mut notes)?;
    let sequences = journal::list(&log).map_err(|error| StoreError::new("list the journals", error))?;
    let sources = sealed.segments().map(|segment| segment.header().source);
    let highest = journal::highest(&log).map_err(|error| StoreError::new("list the journals", error))?;
    let known = sources.chain([highest]).chain(witness.map(|witness| witness.journal));
    let exhausted = || StoreError::new("number the next journal", "a journal has the highest possible number");
    let next_sequence = known.max().unwrap_or(0).checked_add(1).ok_or_else(exhausted)?;
    let unsealed = unsealed::read(&log, &sequences, &mut sealed, witness.as_ref(), secret.as_ref(), &mut notes)?;
    Ok(Examined {
        named,
        secret,
        is_secret_damaged,
        witness,
        is_witness_damaged: witness_state != WitnessState::Whole,
        store: Arc::new(FrameStore::new(sealed.sealed.clone(), unsealed.frames())),
        sealed,
        unsealed,
        next_sequence,
        notes,
    })
}

impl Examined {
    pub fn identity(&self) -> Identity {
        self.named.identity()
    }

    pub fn head(&self) -> Point {
        self.unsealed.head
    }

    /// Refuses a log of which the witness, the anchor or another file has seen more, or another history.
    pub fn check(&mut self, anchor: Option<&Path>, seen: &[SeenPoint]) -> Result<(), OpenError> {
        if let Some(refusal) = self.sealed.refusal.take().or_else(|| self.unsealed.refusal.take()) {
            return Err(refusal);
        }
        let witness = self.witness.map(|Witness { identity, head, .. }| SeenPoint {
            by: "its witness (file `witness`)".to_owned(),
            identity,
            head,
        });
        let anchor = anchor.map_or(Ok(None), |path| self.read_anchor(path))?;
        let all: Vec<&SeenPoint> = witness.iter().chain(&anchor).chain(seen).collect();
        all.iter().try_for_each(|seen| self.check_seen(seen))?;
        self.restore_hidden_chain(&all)
    }

    /// Takes the chain value at the head from another file, if damage hides it. Without it nothing can be appended.
    fn restore_hidden_chain(&mut self, seen: &[&SeenPoint]) -> Result<(), OpenError> {
        let head = &mut self.unsealed.head;
        if !self.unsealed.is_chain_hidden {
            return Ok(());
        }
        let mut naming = seen.iter().filter(|seen| seen.head.position == head.position);
        let Some(named) = naming.next() else {
            let reason = "damage hides the chain there, and no other file names it".to_owned();
            return Err(OpenError::Damaged { range: head.position..=head.position, reason });
        };
        if let Some(other) = naming.find(|other| other.head.chain != named.head.chain) {
            return Err(OpenError::OtherHistory { position: head.position, by: other.by.clone() });
        }
        *head = named.head;
        Ok(())
    }

    /// Returns the point that the anchor has seen. A missing, damaged or unreadable anchor does not stop the start; one
    /// of another log or of a newer format does.
    fn read_anchor(&mut self, path: &Path) -> Result<Option<SeenPoint>, OpenError> {
        let shown = path.display();
        let note = match read_in_time(path) {
            None => format!("the volume of the anchor {shown} does not answer: nothing is compared with it"),
            Some(Ok(AnchorRead::Whole(Witness { identity, .. }))) if identity.log_id != self.named.log_id => {
                return Err(OpenError::ForeignAnchor { anchor: shown.to_string() });
            }
            Some(Ok(AnchorRead::Whole(Witness { identity, head, .. }))) => {
                return Ok(Some(SeenPoint { by: format!("the anchor ({shown})"), identity, head }));
            }
            Some(Ok(AnchorRead::Newer { format })) => return Err(newer(path, format)),
            Some(Ok(AnchorRead::Missing)) => format!("there is no anchor {shown}: one is written"),
            Some(Ok(AnchorRead::Damaged(reason))) => {
                format!("the anchor {shown} is damaged ({reason}): it is written again")
            }
            Some(Err(error)) => format!("nothing is compared with the anchor: {}", with_causes(&error)),
        };
        self.notes.note(note);
        Ok(None)
    }

    /// Checks that the log reaches the point that another file has seen, on the same chain.
    pub fn check_seen(&self, seen: &SeenPoint) -> Result<(), OpenError> {
        if seen.identity.log_id != self.named.log_id {
            return Err(OpenError::Foreign { what: seen.by.clone() });
        }
        let ends = self.head().position;
        let position = seen.head.position;
        if position > ends {
            return Err(OpenError::Shorter { ends, seen: position, by: seen.by.clone() });
        }
        match self.chain_at(position) {
            Some(chain) if chain != seen.head.chain => Err(OpenError::OtherHistory { position, by: seen.by.clone() }),
            _ => Ok(()),
        }
    }

    /// Returns the chain value at a position. `None` if damage hides it. Later reads of that position find the damage
    /// again.
    fn chain_at(&self, position: Position) -> Option<Hash> {
        if position == 0 {
            return Some(format::genesis(self.named.log_id));
        }
        let bytes = self.store.read(position).ok()?;
        let frame = Frame::decode(&bytes).ok()?;
        if position == frame.header.last() {
            return Some(frame.header.after);
        }
        let records = format::records(&frame).ok()?;
        records.iter().find(|record| record.position == position).map(|record| record.chain)
    }

    /// Returns the event at a position. `None` if it cannot be read.
    pub fn event(&self, position: Position) -> Option<Event> {
        let bytes = self.store.read(position).ok()?;
        let records = format::records(&Frame::decode(&bytes).ok()?).ok()?;
        records.iter().find(|record| record.position == position)?.event().ok()
    }

    /// Returns the origin that dedup runs of this log must have.
    pub fn run_origin(&self, secret: &LogSecret) -> RunOrigin {
        RunOrigin { identity: self.identity(), generation: secret.generation }
    }
}

/// Reads an anchor. `None` if its volume does not answer in time. The thread is then left behind.
pub(super) fn read_in_time(path: &Path) -> Option<Result<AnchorRead, FileError>> {
    let (sender, receiver) = sync_channel(1);
    let path = path.to_owned();
    let read = move || {
        // The receiver may be gone already.
        drop(sender.send(anchor::read(&path)));
    };
    thread::Builder::new().name("cleat-anchor".into()).spawn(read).ok()?;
    receiver.recv_timeout(ANCHOR_PATIENCE).ok()
}

pub(super) fn newer(path: &Path, format: u32) -> OpenError {
    OpenError::Newer { what: path.display().to_string(), format }
}

/// Secret as the file SECRET has it.
struct FoundSecret {
    /// Secret of the log. `None` if no copy is whole.
    secret: Option<LogSecret>,
    /// True if the secret must be written again.
    is_damaged: bool,
}

fn read_secret(files: &DataFiles, notes: &mut Notes) -> Result<FoundSecret, OpenError> {
    match secret::read(&files.secret())? {
        SecretRead::Whole(secret) => Ok(FoundSecret { secret: Some(secret), is_damaged: false }),
        SecretRead::Damaged(secret) => {
            notes.note(
                "a copy of the secret in the file SECRET is damaged: a start writes it again from the other".to_owned(),
            );
            Ok(FoundSecret { secret: Some(secret), is_damaged: true })
        }
        SecretRead::Newer { format } => Err(newer(&files.secret(), format)),
        SecretRead::Lost | SecretRead::Missing => {
            notes.note(
                "the file SECRET is lost: a start makes a new one, and reads all keys from the log again".to_owned(),
            );
            Ok(FoundSecret { secret: None, is_damaged: true })
        }
    }
}
