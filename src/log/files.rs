//! Small files of a data directory, each with its own format and checksum, and the names of everything in the
//! directory. Knows nothing of records, and never reads the log.
//!
//! ```text
//! <data>/CLEAT     which log this is, and the format of the directory; written last by init
//! <data>/EPOCHS    the epochs of the log, and where each begins
//! <data>/SECRET    the log secret, twice
//! <data>/witness   how far the log was acknowledged, in two slots
//! data.anchor      a copy of one slot, on another volume
//! ```
//!
//! Each file is read whole and checked, and is never taken for another one. Damaged bytes are an error that says so,
//! and only an intact file says that a newer version of cleat wrote it.

pub mod anchor;
pub mod cleat_file;
pub mod epochs;
pub mod file;
pub mod layout;
pub mod secret;
mod sector;
#[cfg(test)]
mod tests;
mod text;
pub mod witness;
pub mod witness_keeper;

pub use file::FileError;
