//! The head witness: 64 bytes beside the log that say how far it was known durable. Never ahead of the log.
//!
//! sled silently shortens a damaged log; a log that ends before its witness is how we notice.
//!
//! ```text
//! 0 "clt1" ‖ 4 log id ‖ 20 epoch ‖ 36 u64 position ‖ 44 chain there, its first 16 B ‖ 60 u32 CRC32C of 0..60
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Head;
use super::poison::Poison;
use crate::blocklog::StoreError;
use crate::event::Position;
use crate::storage::Take;
use crate::token::Identity;

const MAGIC: &[u8; 4] = b"clt1";
/// How much of the witness a power cut may take: it then only notices less.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// The bytes of the head witness.
pub(super) type Mark = [u8; 64];

/// Where they are kept.
pub(super) trait MarkStore: Send + Sync + 'static {
    /// Overwrites the witness; durable only after `sync_mark`.
    fn mark(&self, mark: &Mark) -> Result<(), StoreError>;

    fn sync_mark(&self) -> Result<(), StoreError>;

    /// The witness as it is, whatever its length; None if none was ever written.
    fn marked(&self) -> Result<Option<Vec<u8>>, StoreError>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Witness {
    pub identity: Identity,
    pub position: Position,
    pub chain_prefix: [u8; 16],
}

impl Witness {
    pub fn of(identity: Identity, head: &Head) -> Self {
        let mut chain_prefix = [0; 16];
        chain_prefix.copy_from_slice(&head.chain[..16]);
        Self { identity, position: head.position, chain_prefix }
    }

    pub fn encode(&self) -> Mark {
        let mut mark = [0; 64];
        mark[..4].copy_from_slice(MAGIC);
        mark[4..20].copy_from_slice(&self.identity.log_id.to_be_bytes());
        mark[20..36].copy_from_slice(&self.identity.epoch.to_be_bytes());
        mark[36..44].copy_from_slice(&self.position.to_be_bytes());
        mark[44..60].copy_from_slice(&self.chain_prefix);
        let crc = crc32c::crc32c(&mark[..60]);
        mark[60..].copy_from_slice(&crc.to_be_bytes());
        mark
    }

    /// None if these are not the bytes of a whole witness.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let crc = crc32c::crc32c(bytes.get(..60)?);
        let mut take = Take(bytes);
        if take.array().ok()? != *MAGIC {
            return None;
        }
        let witness = Self {
            identity: Identity {
                log_id: u128::from_be_bytes(take.array().ok()?),
                epoch: u128::from_be_bytes(take.array().ok()?),
            },
            position: take.u64().ok()?,
            chain_prefix: take.array().ok()?,
        };
        (take.u32().ok()? == crc && take.end().is_ok()).then_some(witness)
    }
}

/// Writes the witness after each commit, and syncs it once a second off the commit's path.
pub(super) struct WitnessKeeper {
    store: Arc<dyn MarkStore>,
    unsynced: Arc<AtomicBool>,
    /// Dropped to end the thread.
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl WitnessKeeper {
    pub fn spawn(store: Arc<dyn MarkStore>, poison: Poison) -> std::io::Result<Self> {
        let unsynced = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = sync_channel(0);
        let thread = {
            let (store, unsynced) = (store.clone(), unsynced.clone());
            thread::Builder::new().name("cleat-witness".into()).spawn(move || {
                while stopped.recv_timeout(SYNC_EVERY) == Err(RecvTimeoutError::Timeout) {
                    sync(&*store, &unsynced, &poison);
                }
                sync(&*store, &unsynced, &poison);
            })?
        };
        Ok(Self { store, unsynced, stop, thread })
    }

    /// Only for a head that is durable.
    pub fn mark(&self, witness: &Witness) -> Result<(), StoreError> {
        self.store.mark(&witness.encode())?;
        self.unsynced.store(true, Ordering::Release);
        Ok(())
    }

    /// Syncs what is left. Returns when done.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the head witness's thread panicked");
        }
    }
}

fn sync(store: &dyn MarkStore, unsynced: &AtomicBool, poison: &Poison) {
    if unsynced.swap(false, Ordering::AcqRel)
        && let Err(error) = store.sync_mark()
    {
        poison.fail(&error);
    }
}
