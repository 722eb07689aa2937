//! Compiles the protos without protoc: messages, services, and the descriptor set that reflection serves.

use std::error::Error;
use std::path::PathBuf;

use protox::prost::Message as _;

const FILES: [&str; 4] =
    ["cleat/v1/admin.proto", "cleat/v1/connection.proto", "cleat/v1/event.proto", "cleat/v1/export.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    // Reflection must resolve `google.protobuf.Timestamp`. Clients that print the API need its comments.
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    let descriptors = compiler.file_descriptor_set();
    let directory = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(directory.join("descriptor.bin"), descriptors.encode_to_vec())?;
    // As `Bytes`, a body goes from the log to the wire without a copy.
    tonic_prost_build::configure()
        .bytes(".cleat.v1.Event.body")
        .bytes(".cleat.v1.ImportEventsRequest.payloads")
        // Encoded once: every watch gets the same bytes.
        .extern_path(".cleat.v1.ChangeBatch", "crate::proto::ChangeBatch")
        .extern_path(".cleat.v1.EventBatch", "crate::proto::EventBatch")
        .compile_fds(descriptors)?;
    Ok(())
}
