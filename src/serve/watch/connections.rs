//! `WatchConnections`: changes of connections and exports, after a snapshot of them if the caller asks for one. Knows
//! nothing of how changes are stored.

mod feeds;
mod query;
mod render;
mod snapshot;
mod source;
mod stream;
#[cfg(test)]
mod tests;

pub use feeds::ChangeFeeds;
pub use stream::{ConnectionMessages, open};
