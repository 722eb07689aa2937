//! What every format on disk is made of: bytes in and out, and files that appear whole. Knows no format.

mod atomic_file;
mod codec;

pub use atomic_file::{sweep, write_private, write_whole};
pub use codec::{Garbled, Put, Take};
