//! The generated code of `cleat.v1`: messages, servers, clients. What it means is said in `proto/cleat/v1`.
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

/// All of `cleat.v1` and what it imports, with comments: for reflection and JSON.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("descriptor");
