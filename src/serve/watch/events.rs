//! `WatchEvents`: the events of the log as it grows. Knows nothing of the fold.

mod feeds;
mod source;
mod stream;

pub use feeds::EventFeeds;
pub use stream::{EventMessages, open};
