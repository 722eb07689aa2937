//! What every format on disk is made of: bytes in and out, the seal of what is private, files that appear whole, and the pace of
//! writing them. Knows no format.

mod atomic_file;
mod codec;
mod pacing;
mod sealing;

pub use atomic_file::{sweep, write_private, write_whole};
pub use codec::{Garbled, Put, Take};
pub use pacing::{AtOnce, PIECE_BYTES, Pace, Pacer};
pub use sealing::{SEAL_BYTES, seal, unseal};
