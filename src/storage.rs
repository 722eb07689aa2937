//! What every format on disk is made of: bytes in and out, the seal of what is private, and files that appear whole. Knows no
//! format.

mod atomic_file;
mod codec;
mod sealing;

pub use atomic_file::{sweep, write_private, write_whole};
pub use codec::{Garbled, Put, Take};
pub use sealing::{SEAL_BYTES, seal, unseal};
