//! Owns the encoding of entities for the fold's files. Knows no file.

mod entity_delta;
pub mod packed_text;

/// Version of the fold's results and file formats. It grows whenever the same events give another state, or a file gets
/// another format. Files of an older fold are derived again.
pub const FOLD_VERSION: u16 = 6;

pub use entity_delta::{DeltaOrigin, Entity};
