//! The services, one method or service a file. Each goes from a request to one state, and back.

mod admin;
mod connection_events;
mod connection_summary;
mod connections;
mod events;
mod exports;
pub mod health;
mod imports;
mod read_events;

pub use admin::AdminRpc;
pub use connections::ConnectionsRpc;
pub use events::EventsRpc;
pub use exports::ExportsRpc;
pub use health::BoundedHealth;
