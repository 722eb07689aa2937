//! `cleat.v1`: messages, servers and clients. `proto/cleat/v1` documents their meaning. Uses no other
//! module of cleat.

mod batches;
mod generated;
mod once;

pub use batches::{ChangeBatch, Changes, EventBatch, Events};
pub use generated::*;
pub use once::Once;

/// File descriptors of `cleat.v1` and its imports, with comments. For reflection and JSON.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("descriptor");
