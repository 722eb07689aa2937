//! Generated code of `cleat.v1`: messages, servers and clients. `proto/cleat/v1` documents their meaning. Uses no other
//! module of cleat.
#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    unused_qualifications,
    reason = "generated code"
)]

mod batches;
mod once;

pub use batches::{ChangeBatch, Changes, EventBatch, Events};
pub use once::Once;

tonic::include_proto!("cleat.v1");

/// File descriptors of `cleat.v1` and its imports, with comments. For reflection and JSON.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("descriptor");
