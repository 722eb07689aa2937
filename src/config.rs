//! The configuration: parsed, completed with defaults, checked, with its secrets loaded.
//!
//! Plain data: it starts nothing and knows no other module but the types of `event`. The environment comes as a lookup
//! function. `config.toml` at the root documents every key and is compiled in. A test checks that it matches this code.

mod check;
mod endpoint;
mod load;
mod permissions;
mod secret;
mod sections;
#[cfg(test)]
mod tests;
mod value;

pub use endpoint::Endpoint;
pub use load::ConfigError;
pub use secret::{DEVELOPMENT_SECRET, Secret};
pub use sections::{
    BODY_LIMIT_MAX, Config, Data, Grpc, Log, Operations, REQUEST_BYTES, Shutdown, Unauthenticated, Views, Webhooks,
};
pub use value::{Env, Listen};
