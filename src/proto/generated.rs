//! Code that the build makes of `proto/cleat/v1`. Kept apart: no lint applies to it.
#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    unused_qualifications,
    reason = "generated code"
)]

tonic::include_proto!("cleat.v1");
